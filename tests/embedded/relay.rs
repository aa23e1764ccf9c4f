//! direct-tcpip: the server as a jump host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Config;
use super::channel::{Inbound, Inlet, Outlet};

/// Where a client wants to go, if it is allowed to.
pub(super) fn target(host: &str, port: u32, config: &Config) -> Option<SocketAddr> {
    let address = match config.inside_names.get(host) {
        Some(address) => *address,
        None if host == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        None => host.parse().ok()?,
    };
    let port = u16::try_from(port).ok()?;
    Some(SocketAddr::new(address, port)).filter(|_| config.allow_forwarding && address.is_loopback())
}

/// Connects, answers the channel-open request, and copies both ways until both ends are done.
pub(super) async fn run(target: SocketAddr, reply: ChannelOpenHandle, outlet: Outlet, inlet: Inlet, noise: [u64; 3]) {
    let Ok(stream) = TcpStream::connect(target).await else {
        return reply.reject(ChannelOpenFailure::ConnectFailed).await;
    };
    // Small packets of handshakes go through here; an error would only make them slow.
    let _ = stream.set_nodelay(true);
    reply.accept().await;
    let (reader, writer) = stream.into_split();
    tokio::join!(from_target(reader, &outlet, noise), to_target(writer, inlet));
    outlet.close().await;
}

async fn from_target(mut reader: OwnedReadHalf, outlet: &Outlet, [before, mut between, after]: [u64; 3]) {
    // An error is the client's end, which the rest finds out, too.
    let _ = outlet.noise(before).await;
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = tokio::select! {
            read = reader.read(&mut buffer) => read,
            () = outlet.gone.wait() => return,
        };
        match read {
            Ok(length @ 1..) if outlet.data(None, buffer[..length].to_vec()).await.is_ok() => {
                let _ = outlet.noise(std::mem::take(&mut between)).await;
            }
            _ => {
                let _ = outlet.noise(after).await;
                return outlet.eof().await;
            }
        }
    }
}

async fn to_target(mut writer: OwnedWriteHalf, mut inlet: Inlet) {
    // The end of the loop drops the writer, which sends FIN to the target.
    while let Some(Inbound::Data(bytes)) = inlet.inbox.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
