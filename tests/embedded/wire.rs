//! A TCP connection that can be frozen or cut under a running SSH session.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::lock;

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client reads an end of file. It is an orderly end for TCP, but not for SSH.
    Fin,
    /// The client reads ECONNRESET.
    Reset,
}

const OPEN: u8 = 0;
const FROZEN: u8 = 1;
const ENDED: u8 = 2;

/// The controls of a connection; clones control the same one.
#[derive(Clone)]
pub(super) struct Line(Arc<Inner>);

struct Inner {
    stream: TcpStream,
    state: AtomicU8,
    /// Bytes that the kernel took.
    written: AtomicU64,
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl Line {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Inner {
            stream,
            state: AtomicU8::new(OPEN),
            written: AtomicU64::new(0),
            reader: Mutex::new(None),
            writer: Mutex::new(None),
        }))
    }

    /// The byte stream for the SSH session.
    pub(super) fn wire(&self) -> Wire {
        Wire(self.clone())
    }

    /// Neither reads nor writes any more, with the TCP connection open, until the client gives up.
    pub(super) async fn freeze(&self) {
        self.settle().await;
        self.switch(FROZEN);
        peer_closed(&self.0.stream).await;
        self.switch(ENDED);
    }

    /// Cuts the connection after what was sent so far reached the kernel.
    pub(super) async fn end(&self, end: End) {
        self.settle().await;
        match end {
            End::Reset => {
                // The reset goes out when the last owner of the socket lets go of it. That fails only if it is closed already.
                let _ = self.0.stream.set_zero_linger();
                self.switch(ENDED);
            }
            End::Fin => {
                self.switch(ENDED);
                finish(&self.0.stream).await;
            }
        }
    }

    /// Returns when the client has closed its side.
    pub(super) async fn peer_closed(&self) {
        peer_closed(&self.0.stream).await;
    }

    /// Waits until the session stops to write: russh has no way to ask whether its queue is flushed.
    async fn settle(&self) {
        let mut quiet = 0;
        let mut written = self.0.written.load(Ordering::SeqCst);
        while quiet < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = self.0.written.load(Ordering::SeqCst);
            quiet = if now == written { quiet + 1 } else { 0 };
            written = now;
        }
    }

    fn switch(&self, state: u8) {
        self.0.state.store(state, Ordering::SeqCst);
        for waker in [&self.0.reader, &self.0.writer] {
            if let Some(waker) = lock(waker).take() {
                waker.wake();
            }
        }
    }

    /// The state, read after the waker is stored so that no change is missed.
    fn state(&self, waker: &Mutex<Option<Waker>>, context: &Context<'_>) -> u8 {
        let mut waker = lock(waker);
        if !waker.as_ref().is_some_and(|old| old.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        self.0.state.load(Ordering::SeqCst)
    }
}

/// Sends FIN, then discards what still comes until the client closes: closing a socket with unread data would be a reset.
pub(super) async fn finish(stream: &TcpStream) {
    // An error means that the client was faster.
    let _ = rustix::net::shutdown(stream, Shutdown::Write);
    discard(stream).await;
}

/// Reads to the end of the client's data.
pub(super) async fn discard(stream: &TcpStream) {
    let mut buffer = [0; 4096];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Returns when the client has closed its side, without reading anything.
async fn peer_closed(stream: &TcpStream) {
    while let Ok(ready) = stream.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        // Data that nobody will read are pending; claim otherwise in order to be woken by the next change only.
        let _ = stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
}

/// The session's end of a [`Line`].
pub(super) struct Wire(Line);

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &self.0.0;
        loop {
            match self.0.state(&inner.reader, context) {
                OPEN => {}
                FROZEN => return Poll::Pending,
                _ => return Poll::Ready(Ok(())),
            }
            ready!(inner.stream.poll_read_ready(context))?;
            match inner.stream.try_read(buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let inner = &self.0.0;
        loop {
            match self.0.state(&inner.writer, context) {
                OPEN => {}
                FROZEN => return Poll::Pending,
                _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
            ready!(inner.stream.poll_write_ready(context))?;
            match inner.stream.try_write(bytes) {
                Ok(length) => {
                    inner.written.fetch_add(length as u64, Ordering::SeqCst);
                    return Poll::Ready(Ok(length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error means that the client closed first.
        let _ = rustix::net::shutdown(&self.0.0.stream, Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}
