//! A TCP proxy that lets an SSH connection come as far as one point, and then does to it what networks, kernels and broken
//! servers do.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, SockFilter, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::cells::Fault;
use super::packets::{DISCONNECT, Kind, Piece, Pieces};
use crate::raw::{self, IGNORE, PLAIN_BLOCK, padded};

/// How late something comes that is delayed: long enough to be seen, short enough to be in time.
pub(super) const DELAY: Duration = Duration::from_secs(1);
/// After this time without anything from the server, all that it has sent is through.
const QUIET: Duration = Duration::from_millis(100);
/// How often it is looked whether the command has come to its place.
const TICK: Duration = Duration::from_millis(20);
/// Longer than any test runs.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// How far a connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// The kernel has not answered yet.
    Connecting,
    /// It is accepted.
    Accepted,
    /// The server's identification string is on its way.
    Banner,
    /// The first packet in plain text with this number is on its way from the server.
    Packet(u8),
    /// The answer to the client's encrypted packet of this number, from 1, is on its way.
    Answer(usize),
    /// The command has come to its place and waits, and all of its output is through.
    Output,
    /// The exit status is on its way, and nothing else was since.
    ExitStatus,
    /// The server closes the channel; the exit status and the end of output are through.
    Close,
    /// So many bytes have come from the client.
    Sent(usize),
}

/// What is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strike {
    pub(super) at: Point,
    pub(super) fault: Fault,
}

/// The files by which the command of a cell and the proxy before it speak with each other.
#[derive(Clone)]
pub(super) struct Signs {
    /// Written by the command: it has come to its place.
    pub(super) here: PathBuf,
    /// Awaited by the command: it may end.
    pub(super) go: PathBuf,
}

impl Signs {
    pub(super) fn of(directory: &Path, cell: &str) -> Signs {
        Signs { here: directory.join(format!("{cell}.here")), go: directory.join(format!("{cell}.go")) }
    }

    pub(super) fn let_go(&self) {
        fs::write(&self.go, "").expect("a file in a temporary directory");
    }
}

/// All proxies of a test. Dropping it closes their connections.
pub(super) struct JumpHosts {
    runtime: Runtime,
}

impl JumpHosts {
    pub(super) fn new() -> JumpHosts {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("fault-proxy").enable_all().build();
        JumpHosts { runtime: runtime.expect("threads for the proxies") }
    }

    /// A proxy on address `at` before `target`, with the same fault for every connection.
    pub(super) fn start(&self, at: Ipv4Addr, target: SocketAddr, strike: Strike, signs: Signs) -> SocketAddr {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddrV4::new(at, 0).into()).expect("a free port");
        if strike.at == Point::Connecting {
            vanish(&SockRef::from(&socket));
        }
        socket.listen(1024).expect("a listener");
        socket.set_nonblocking(true).expect("a mode");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let _context = self.runtime.enter();
        let listener = TcpListener::from_std(socket.into()).expect("a listener");
        self.runtime.spawn(accept(listener, target, strike, signs));
        address
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, strike: Strike, signs: Signs) {
    if strike.at == Point::Connecting {
        if strike.fault != Fault::Delay {
            return sleep(FOR_EVER).await;
        }
        // The client's kernel knocks again after a second.
        sleep(DELAY / 2).await;
        SockRef::from(&listener).detach_filter().expect("a filter");
    }
    while let Ok((client, _)) = listener.accept().await {
        let signs = signs.clone();
        // Errors say that one of the ends was faster.
        tokio::spawn(async move { drop(serve(client, target, strike, &signs).await) });
    }
}

/// No packet for this socket arrives any more: as after the power of its machine has failed.
fn vanish(socket: &SockRef<'_>) {
    const RETURN_NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    socket.attach_filter(&[RETURN_NOTHING]).expect("a filter");
}

/// Passes on what comes until the strike, and does it.
async fn serve(mut client: TcpStream, target: SocketAddr, strike: Strike, signs: &Signs) -> io::Result<()> {
    client.set_nodelay(true)?;
    if strike.at == Point::Accepted {
        return do_to(&mut client, strike, None).await;
    }
    let mut server = TcpStream::connect(target).await?;
    server.set_nodelay(true)?;
    if waits(strike.at) {
        // Of an earlier connection.
        let _ = (fs::remove_file(&signs.here), fs::remove_file(&signs.go));
    }
    let requests = AtomicUsize::new(0);
    let sent = AtomicUsize::new(0);
    let held = {
        let (from_client, mut to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut answers = Answers { pieces: Pieces::new(from_server), strike, requests: &requests, sent: &sent, signs };
        let asking = async {
            ask(from_client, to_server, &requests, &sent).await?;
            // The server may still have something to say.
            sleep(FOR_EVER).await;
            io::Result::Ok(())
        };
        tokio::select! {
            held = answers.pass(&mut to_client) => held?,
            passed = asking => return passed,
        }
    };
    let Some(held) = held else {
        // The server has ended it.
        client.shutdown().await?;
        return discard(&mut client).await;
    };
    do_to(&mut client, strike, Some(&held)).await
}

/// Whether the command waits for the proxy.
pub(super) fn waits(point: Point) -> bool {
    matches!(point, Point::Output | Point::ExitStatus | Point::Close)
}

/// From the client to the server, counting.
async fn ask(
    from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    requests: &AtomicUsize,
    sent: &AtomicUsize,
) -> io::Result<()> {
    let mut pieces = Pieces::new(from);
    while let Some(piece) = pieces.next().await? {
        if piece.kind == Kind::Sealed {
            requests.fetch_add(1, Ordering::SeqCst);
        }
        to.write_all(&piece.bytes).await?;
        sent.fetch_add(piece.bytes.len(), Ordering::SeqCst);
    }
    to.shutdown().await
}

/// From the server to the client.
struct Answers<'a, R> {
    pieces: Pieces<R>,
    strike: Strike,
    requests: &'a AtomicUsize,
    sent: &'a AtomicUsize,
    signs: &'a Signs,
}

impl<R: AsyncRead + Unpin> Answers<'_, R> {
    /// Passes on what comes before the point; gives the piece that is held back there, empty where there is none. Nothing if the
    /// server has ended the connection before. A delay is over when this returns: what remains is a connection as any other.
    async fn pass(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<Option<Piece>> {
        let mut is_armed = !waits(self.strike.at);
        let (mut has_begun, mut seen_status) = (false, false);
        loop {
            let piece = if is_armed {
                self.pieces.next().await?
            } else {
                match timeout(TICK.max(QUIET), self.pieces.next()).await {
                    Ok(piece) => piece?,
                    Err(_) if !has_begun || !self.signs.here.exists() => continue,
                    Err(_) => {
                        is_armed = true;
                        let held = self.arm(to).await?;
                        if held.is_some() {
                            return Ok(held);
                        }
                        continue;
                    }
                }
            };
            let Some(piece) = piece else { return Ok(None) };
            let strikes = is_armed
                && match self.strike.at {
                    Point::Connecting | Point::Accepted => false,
                    Point::Banner => piece.kind == Kind::Banner,
                    Point::Packet(number) => piece.kind == Kind::Plain(number),
                    Point::Answer(number) => {
                        piece.kind == Kind::Sealed && self.requests.load(Ordering::SeqCst) >= number
                    }
                    Point::Output => true,
                    Point::ExitStatus => piece.is_as_long_as_an_exit_status(),
                    Point::Close => seen_status && !piece.is_as_long_as_an_exit_status(),
                    Point::Sent(bytes) => self.sent.load(Ordering::SeqCst) >= bytes,
                };
            has_begun |= piece.is_as_long_as_the_beginning();
            seen_status |= is_armed && piece.is_as_long_as_an_exit_status();
            if strikes {
                if self.strike.fault != Fault::Delay {
                    return Ok(Some(piece));
                }
                sleep(DELAY).await;
                self.strike.at = Point::Connecting;
            }
            to.write_all(&piece.bytes).await?;
        }
    }

    /// The command has come to its place. Where the fault is in its output, it strikes now, unless it is about something that
    /// has to come first.
    async fn arm(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<Option<Piece>> {
        to.flush().await?;
        if self.strike.at == Point::Output && !matches!(self.strike.fault, Fault::Truncate | Fault::Delay) {
            return Ok(Some(Piece { kind: Kind::Sealed, bytes: Vec::new() }));
        }
        self.signs.let_go();
        Ok(None)
    }
}

/// Does it. `held` is what the server has sent and the client is still to get.
async fn do_to(client: &mut TcpStream, strike: Strike, held: Option<&Piece>) -> io::Result<()> {
    let bytes = held.map_or(&[][..], |piece| &piece.bytes);
    if waits(strike.at) {
        // A kernel that is told of a reset forgets what it has received and nobody has read, and libssh2 what came in one piece
        // with noise.
        all_read(client).await?;
        sleep(QUIET).await;
    }
    match strike.fault {
        Fault::Refuse => client.write_all(&refusal(strike.at)).await?,
        Fault::Stall => {}
        Fault::Reset => {
            SockRef::from(&*client).set_linger(Some(Duration::ZERO))?;
            return Ok(());
        }
        Fault::Garbage => client.write_all(&garbage(strike.at, bytes)).await?,
        Fault::Truncate => client.write_all(&bytes[..bytes.len() / 2]).await?,
        Fault::Delay => unreachable!("a delay ends by itself"),
        Fault::Close => {}
        Fault::Flood => return flood(client, strike.at).await,
        Fault::Vanish => {
            vanish(&SockRef::from(&*client));
            sleep(FOR_EVER).await;
        }
    }
    if matches!(strike.fault, Fault::Refuse | Fault::Truncate | Fault::Close) {
        client.shutdown().await?;
    }
    discard(client).await
}

/// Waits until the client has read all that was sent to it. Its kernel is ours: proc_net_tcp(5) tells.
async fn all_read(client: &TcpStream) -> io::Result<()> {
    let [theirs, ours] = [client.peer_addr()?, client.local_addr()?].map(|address| format!(":{:04X}", address.port()));
    loop {
        let sockets = fs::read_to_string("/proc/net/tcp")?;
        let unread = sockets.lines().find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let is_it = fields.next()?.ends_with(&theirs) && fields.next()?.ends_with(&ours);
            let (_, unread) = fields.nth(1)?.split_once(':')?;
            is_it.then(|| unread.bytes().any(|digit| digit != b'0'))
        });
        if unread != Some(true) {
            return Ok(());
        }
        sleep(TICK).await;
    }
}

/// What a server says that is willing to speak, but not with us.
fn refusal(at: Point) -> Vec<u8> {
    if at == Point::Banner {
        return b"Exceeded MaxStartups\r\n".to_vec();
    }
    // SSH_DISCONNECT_TOO_MANY_CONNECTIONS, with a text and no language.
    let text = b"no room";
    let head = [DISCONNECT, 0, 0, 0, 12, 0, 0, 0, 7];
    padded(&[&head[..], text, &[0; 4]].concat(), PLAIN_BLOCK)
}

/// Noise where something else was expected; of the key exchange the real answer with a few bits turned over.
fn garbage(at: Point, real: &[u8]) -> Vec<u8> {
    match at {
        Point::Packet(raw::KEX_REPLY) => {
            let mut bytes = real.to_vec();
            // In the signature, which is the last thing but the padding.
            let place = bytes.len() - 24;
            bytes[place] ^= 0x55;
            bytes
        }
        _ => noise(4096),
    }
}

/// Bytes that mean nothing, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // No newline, so that it is never a line.
        ((state >> 56) as u8) | 0x80
    };
    (0..length).map(next).collect()
}

/// More and more of what may come at that point, as fast as it is taken, without an end.
async fn flood(client: &mut TcpStream, at: Point) -> io::Result<()> {
    let wave = match at {
        Point::Banner => b"This line is not an identification string.\r\n".repeat(500),
        Point::Packet(_) => padded(&[&[IGNORE, 0, 0, 1, 0], &[b'x'; 256][..]].concat(), PLAIN_BLOCK).repeat(100),
        // Packets of a length that may be, which are none.
        _ => [&[0, 0, 0x40, 0][..], &noise(0x4010)].concat(),
    };
    let (mut from, mut to) = client.split();
    let mut buffer = vec![0; 16 << 10];
    let drain = async {
        while from.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    let pour = async {
        loop {
            to.write_all(&wave).await?;
        }
    };
    tokio::select! {
        drained = drain => drained,
        poured = pour => poured,
    }
}

/// Reads what still comes from the client until it has had enough.
async fn discard(client: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    while client.read(&mut buffer).await? > 0 {}
    Ok(())
}
