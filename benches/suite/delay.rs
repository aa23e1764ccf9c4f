//! A link with a round trip: connections are joined with a server, and what passes is held back for a while.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Bytes of one read.
const CHUNK: usize = 64 * 1024;
/// Reads that may be on their way at once in one direction: far more than the product of a usual link's bandwidth and its delay.
const IN_FLIGHT: usize = 1024;
/// tokio wakes up at the next full millisecond, half of one too late in the mean.
const LATE: Duration = Duration::from_micros(500);

/// Listens on one port of all `addresses`, and joins each connection with `port` of the same address. Each direction takes `delay`.
/// The TCP handshake itself is not delayed: the kernel makes it.
pub(crate) fn listen(addresses: &[IpAddr], port: u16, delay: Duration) -> Result<u16> {
    let mut shared = 0;
    for &address in addresses {
        let socket = TcpSocket::new_v4().context("no socket")?;
        socket
            .bind(SocketAddr::new(address, shared))
            .with_context(|| format!("cannot bind {address} port {shared}"))?;
        let listener = socket.listen(4096).with_context(|| format!("cannot listen on {address}"))?;
        shared = listener.local_addr()?.port();
        tokio::spawn(accept(listener, SocketAddr::new(address, port), delay.saturating_sub(LATE)));
    }
    Ok(shared)
}

async fn accept(listener: TcpListener, target: SocketAddr, delay: Duration) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(join(client, target, delay));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn join(client: TcpStream, target: SocketAddr, delay: Duration) {
    // A client whose target is gone reads an end of file, and says so.
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        // Without it the kernel would hold small packets back as well.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(carry(from_client, to_server, delay), carry(from_server, to_client, delay));
}

/// Carries one direction to its end, whose FIN is as late as everything else.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let is_end = !matches!(from.read_buf(&mut chunk).await, Ok(1..));
            if sender.send((Instant::now() + delay, chunk)).await.is_err() || is_end {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The other side may be gone already.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
