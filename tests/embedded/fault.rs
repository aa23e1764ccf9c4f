//! Servers that fail before a channel is open, most of them before they speak SSH.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::wire;

/// Keeps a flood of lines bounded.
const LINE_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Accepts the TCP connection and never sends anything.
    SilentBanner,
    /// Closes at once: the client reads an end of file.
    CloseAtOnce,
    /// Closes at once, with a reset.
    ResetAtOnce,
    /// Sends these bytes instead of a banner, then nothing more.
    Garbage(Vec<u8>),
    /// Sends its identification string and nothing more: the key exchange never starts.
    BannerThenSilence,
    /// Sends its identification string, waits for the client's, then resets.
    ResetAfterBanner,
    /// Sends lines that never become an identification string, 50 a second.
    EndlessPreBanner,
    /// Finishes the key exchange and never answers an authentication request.
    StallAuth,
    /// Accepts the login and never answers a channel-open request.
    StallChannelOpen,
    /// Never answers a channel-open request either, but opens channels to the client's agent, one after the other.
    FloodOfChannels,
}

impl Fault {
    /// Whether it strikes inside a real SSH session.
    pub(super) fn needs_ssh(&self) -> bool {
        matches!(self, Self::StallAuth | Self::StallChannelOpen | Self::FloodOfChannels)
    }
}

/// Plays the faults that need no SSH session. Returns when the connection may be closed.
pub(super) async fn suffer(fault: &Fault, stream: &TcpStream) {
    let sent = match fault {
        Fault::CloseAtOnce => return wire::finish(stream).await,
        Fault::ResetAtOnce => return reset(stream),
        Fault::Garbage(bytes) => send(stream, bytes).await,
        Fault::BannerThenSilence => send(stream, b"SSH-2.0-embedded_1.0\r\n").await,
        Fault::ResetAfterBanner => return banner_then_reset(stream).await,
        Fault::EndlessPreBanner => return endless_lines(stream).await,
        Fault::SilentBanner | Fault::StallAuth | Fault::StallChannelOpen | Fault::FloodOfChannels => Ok(()),
    };
    if sent.is_ok() {
        wire::discard(stream).await;
    }
}

fn reset(stream: &TcpStream) {
    // It fails only if the connection is gone already.
    let _ = stream.set_zero_linger();
}

async fn banner_then_reset(stream: &TcpStream) {
    // Peeking waits for bytes; `readable` takes an accepted stream for readable from the start.
    if send(stream, b"SSH-2.0-embedded_1.0\r\n").await.is_ok() && stream.peek(&mut [0]).await.is_ok() {
        reset(stream);
    }
}

async fn endless_lines(stream: &TcpStream) {
    let lines = async {
        while send(stream, b"This line is not an identification string.\r\n").await.is_ok() {
            tokio::time::sleep(LINE_INTERVAL).await;
        }
    };
    tokio::select! {
        () = lines => {}
        () = wire::discard(stream) => {}
    }
}

async fn send(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
