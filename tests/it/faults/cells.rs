//! The cells of the matrix: a fault in a phase, and the expected report.

use super::proxy::{Point, Strike};
use crate::raw::{KEX_REPLY, KEXINIT};

/// Seconds that connecting may take, authentication and the exec request included.
pub(super) const CONNECT: u64 = 10;
/// Seconds of silence after which a peer is asked for a sign of life, and how many times in a row (ServerAliveInterval and
/// ServerAliveCountMax).
pub(super) const ALIVE: (u64, u64) = (2, 2);
/// The same for jump hosts. One that has vanished is logged in to once more, all within the time for connecting.
pub(super) const HOP_ALIVE: (u64, u64) = (1, 1);
/// Seconds that the command may take where it never ends.
pub(super) const COMMAND: u64 = 3;
/// Seconds that a slow machine may need on top of a deadline.
const SLACK: u64 = 10;

/// A part of a job that something can happen in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Banner,
    KeyExchange,
    HostKey,
    Auth,
    ChannelOpen,
    Exec,
    Output,
    ExitStatus,
    Close,
    Sftp,
    Hop,
}

impl Phase {
    pub(super) const ALL: [Phase; 13] = [
        Phase::Resolve,
        Phase::Connect,
        Phase::Banner,
        Phase::KeyExchange,
        Phase::HostKey,
        Phase::Auth,
        Phase::ChannelOpen,
        Phase::Exec,
        Phase::Output,
        Phase::ExitStatus,
        Phase::Close,
        Phase::Sftp,
        Phase::Hop,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::Banner => "banner",
            Phase::KeyExchange => "key exchange",
            Phase::HostKey => "host key",
            Phase::Auth => "auth",
            Phase::ChannelOpen => "channel open",
            Phase::Exec => "exec",
            Phase::Output => "output",
            Phase::ExitStatus => "exit status",
            Phase::Close => "close",
            Phase::Sftp => "SFTP",
            Phase::Hop => "proxy hop",
        }
    }

    /// Where the proxy strikes.
    pub(super) fn point(self) -> Point {
        match self {
            Phase::Resolve | Phase::Connect => Point::Accepted,
            Phase::Banner => Point::Banner,
            Phase::KeyExchange => Point::Packet(KEXINIT),
            Phase::HostKey => Point::Packet(KEX_REPLY),
            // The client's packets: service request, key, signature, channel open, exec.
            Phase::Auth => Point::Answer(3),
            Phase::ChannelOpen | Phase::Hop => Point::Answer(4),
            Phase::Exec => Point::Answer(5),
            Phase::Output => Point::Output,
            Phase::ExitStatus => Point::ExitStatus,
            Phase::Close => Point::Close,
            Phase::Sftp => Point::Sent(100_000),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Refuse,
    Stall,
    Reset,
    Garbage,
    Truncate,
    Delay,
    Close,
    Flood,
    Vanish,
}

impl Fault {
    pub(super) const ALL: [Fault; 9] = [
        Fault::Refuse,
        Fault::Stall,
        Fault::Reset,
        Fault::Garbage,
        Fault::Truncate,
        Fault::Delay,
        Fault::Close,
        Fault::Flood,
        Fault::Vanish,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Fault::Refuse => "refuse",
            Fault::Stall => "stall",
            Fault::Reset => "reset",
            Fault::Garbage => "garbage",
            Fault::Truncate => "truncate",
            Fault::Delay => "delay",
            Fault::Close => "close",
            Fault::Flood => "flood",
            Fault::Vanish => "vanish",
        }
    }
}

/// What stands for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// A sshd, reached by a name that the test's name server answers for in its own way.
    Name,
    /// An address without a listener.
    Nobody,
    /// A sshd behind the fault proxy.
    Proxy(Strike),
    /// A sshd whose key is not the known one.
    OtherKey,
    /// A user whom the sshd does not know.
    OtherUser,
    /// A server that does not open channels.
    NoChannel,
    /// A server that does not run commands.
    NoCommand,
    /// A server that opens channels to us without an end, and not ours.
    Channels,
    /// A server that closes the channel in mid-output.
    ClosedOutput,
    /// A server that closes the channel after the output, without an exit status.
    NoStatus,
    /// A sshd, with a command that never stops to print.
    Endless,
    /// A sshd whose SFTP server takes nothing.
    ReadOnly,
    /// A jump host that does not forward.
    NoForwarding,
}

/// The latest end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// At once: before any deadline.
    Itself,
    /// By the time that connecting may take, and not before.
    ConnectTimeout,
    /// When the peer has given no sign of life for too long, and not before.
    Keepalive,
    /// The same of the jump host.
    HopKeepalive,
    /// By the time that the command may take, and not before.
    Timeout,
}

impl By {
    /// Seconds that it takes at least and at most.
    pub(super) fn bounds(self) -> (u64, u64) {
        match self {
            By::Itself => (0, CONNECT + SLACK),
            By::ConnectTimeout => (CONNECT, CONNECT + SLACK),
            By::Keepalive => (ALIVE.0 * (ALIVE.1 + 1), ALIVE.0 * (ALIVE.1 + 1) + SLACK),
            By::HopKeepalive => (HOP_ALIVE.0 * (HOP_ALIVE.1 + 1), CONNECT + SLACK),
            By::Timeout => (COMMAND, COMMAND + SLACK),
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            By::Itself => "at once",
            By::ConnectTimeout => "connect timeout",
            By::Keepalive => "keepalive",
            By::HopKeepalive => "keepalive of the jump host",
            By::Timeout => "command timeout",
        }
    }
}

/// One field of the matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) phase: Phase,
    pub(super) fault: Fault,
    pub(super) made: Made,
    /// The outcome, with its phase where it has one. More than one where the kernel decides.
    pub(super) ends: &'static [&'static str],
    pub(super) by: By,
}

impl Cell {
    /// The label of its host.
    pub(super) fn label(&self) -> String {
        format!("{}-{}", self.phase.word().replace(' ', "-"), self.fault.word()).to_lowercase()
    }

    /// The exit status of pssh that it makes.
    pub(super) fn status(&self) -> i32 {
        match self.ends[0].split(' ').next() {
            Some("ok") => 0,
            Some("timeout") => 3,
            _ => 4,
        }
    }
}

/// The cell, or why there is none.
pub(super) fn cell(phase: Phase, fault: Fault) -> Result<Cell, &'static str> {
    let (made, ends, by) = found(phase, fault)?;
    Ok(Cell { phase, fault, made, ends, by })
}

type Found = (Made, &'static [&'static str], By);

fn found(phase: Phase, fault: Fault) -> Result<Found, &'static str> {
    use Fault as F;
    use Phase as P;
    let proxy = Made::Proxy(Strike { at: phase.point(), fault });
    let connecting = Made::Proxy(Strike { at: Point::Connecting, fault });
    let (itself, late, alive) = (By::Itself, By::ConnectTimeout, By::Keepalive);
    let found: Found = match (phase, fault) {
        (P::Resolve, F::Vanish) => return Err("same as stall: UDP has no connection to a name server"),
        (P::Resolve, F::Delay | F::Flood) => (Made::Name, &["ok"], itself),
        (P::Resolve, F::Stall | F::Garbage) => (Made::Name, &["dns"], late),
        (P::Resolve, _) => (Made::Name, &["dns"], itself),

        (P::Connect, F::Garbage | F::Truncate | F::Flood) => {
            return Err("no data flows before the connection is established; see banner");
        }
        (P::Connect, F::Vanish) => return Err("same as stall: there is no peer yet"),
        (P::Connect, F::Refuse) => (Made::Nobody, &["connect"], itself),
        (P::Connect, F::Stall) => (connecting, &["timeout connect"], late),
        (P::Connect, F::Delay) => (connecting, &["ok"], itself),
        // It depends on whether the reset comes before pssh has looked.
        (P::Connect, F::Reset) => (proxy, &["connect", "ssh"], itself),
        (P::Connect, F::Close) => (proxy, &["ssh"], itself),

        (P::HostKey, F::Refuse) => (Made::OtherKey, &["hostkey"], itself),
        (P::Banner, F::Garbage) => (proxy, &["timeout connect"], late),
        (P::Banner | P::KeyExchange | P::HostKey, F::Stall | F::Vanish) => (proxy, &["timeout connect"], late),
        (P::Banner | P::KeyExchange | P::HostKey, F::Delay) => (proxy, &["ok"], itself),
        (P::Banner | P::KeyExchange | P::HostKey, _) => (proxy, &["ssh"], itself),

        (P::Auth, F::Refuse) => (Made::OtherUser, &["auth"], itself),
        (P::Auth, F::Stall | F::Vanish) => (proxy, &["timeout auth"], late),
        (P::ChannelOpen, F::Refuse) => (Made::NoChannel, &["ssh"], itself),
        (P::ChannelOpen | P::Exec, F::Stall | F::Vanish) => (proxy, &["timeout connect"], late),
        (P::ChannelOpen, F::Flood) => (Made::Channels, &["timeout connect"], late),
        (P::Auth | P::ChannelOpen | P::Exec, F::Delay) => (proxy, &["ok"], itself),
        (P::Auth | P::ChannelOpen, _) => (proxy, &["ssh"], itself),
        (P::Exec, F::Refuse) => (Made::NoCommand, &["ssh"], itself),
        // The command may have been started.
        (P::Exec, _) => (proxy, &["lost"], itself),

        (P::Output, F::Refuse) => (Made::ClosedOutput, &["lost"], itself),
        (P::Output, F::Flood) => (Made::Endless, &["timeout command"], By::Timeout),
        (P::ExitStatus, F::Refuse) => (Made::NoStatus, &["lost"], itself),
        (P::Output | P::ExitStatus | P::Sftp, F::Stall | F::Vanish) => (proxy, &["lost"], alive),
        (P::Output | P::ExitStatus | P::Sftp, F::Delay) => (proxy, &["ok"], itself),
        (P::Close, F::Refuse) => return Err("there is nothing to refuse: the server closes"),
        // The exit status and the end of the output were received: how the command ended is known.
        (P::Close, _) => (proxy, &["ok"], itself),
        (P::Sftp, F::Refuse) => (Made::ReadOnly, &["copy"], itself),
        (P::Output | P::ExitStatus | P::Sftp, _) => (proxy, &["lost"], itself),

        (P::Hop, F::Refuse) => (Made::NoForwarding, &["proxy"], itself),
        // One that has vanished is logged in to once more, which a slow machine may not do in time.
        (P::Hop, F::Stall | F::Vanish) => (proxy, &["proxy", "timeout connect"], By::HopKeepalive),
        (P::Hop, F::Delay) => (proxy, &["ok"], itself),
        (P::Hop, _) => (proxy, &["proxy"], itself),
    };
    Ok(found)
}

/// All cells that there are.
pub(super) fn all() -> Vec<Cell> {
    let pairs = Phase::ALL.into_iter().flat_map(|phase| Fault::ALL.map(|fault| (phase, fault)));
    pairs.filter_map(|(phase, fault)| cell(phase, fault).ok()).collect()
}

/// How a fault is made, in words for the table.
pub(super) fn how(cell: &Cell) -> &'static str {
    match (cell.made, cell.phase, cell.fault) {
        (Made::Name, _, Fault::Refuse) => "the name server replies that the name does not exist",
        (Made::Name, _, Fault::Stall) => "the name server does not reply",
        (Made::Name, _, Fault::Reset) => "the name server requests TCP, and resets the connection",
        (Made::Name, _, Fault::Garbage) => "the name server replies with garbage",
        (Made::Name, _, Fault::Truncate) => "the name server's reply ends in the middle of an address",
        (Made::Name, _, Fault::Delay) => "the name server replies a second later",
        (Made::Name, _, Fault::Close) => "the name server requests TCP, and closes the connection",
        (Made::Name, _, _) => "a thousand replies to other queries come first",
        (Made::Nobody, ..) => "nothing listens on the port",
        (Made::OtherKey, ..) => "known_hosts has another key",
        (Made::OtherUser, ..) => "the user does not exist",
        (Made::NoChannel, ..) => "the server does not open the channel",
        (Made::NoCommand, ..) => "the server does not run the command",
        (Made::Channels, ..) => "endless agent channels instead of the reply",
        (Made::ClosedOutput, ..) => "the server closes the channel in the middle of the output",
        (Made::NoStatus, ..) => "the server closes the channel without an exit status",
        (Made::Endless, ..) => "the command never stops printing",
        (Made::ReadOnly, ..) => "the SFTP server is read-only",
        (Made::NoForwarding, ..) => "the jump host does not forward",
        (Made::Proxy(_), Phase::Connect, Fault::Stall) => "no packet gets a reply",
        (Made::Proxy(_), Phase::Connect, Fault::Delay) => "the first packet is lost",
        (Made::Proxy(_), Phase::Connect, Fault::Reset) => "accepted, then reset at once",
        (Made::Proxy(_), Phase::Connect, _) => "accepted, then closed at once",
        (Made::Proxy(_), Phase::Banner, Fault::Refuse) => "`Exceeded MaxStartups`, then the connection ends",
        (Made::Proxy(_), Phase::Banner, Fault::Flood) => "endless other lines, as fast as pssh reads them",
        (Made::Proxy(_), Phase::KeyExchange, Fault::Refuse) => "SSH_MSG_DISCONNECT instead of the server's proposal",
        (Made::Proxy(_), Phase::KeyExchange | Phase::HostKey, Fault::Flood) => {
            "endless SSH_MSG_IGNORE, as fast as pssh reads it"
        }
        (Made::Proxy(_), Phase::HostKey, Fault::Garbage) => "one bit of the signature is flipped",
        (Made::Proxy(_), _, Fault::Refuse) => "refused",
        (Made::Proxy(_), _, Fault::Stall) => "no more data; TCP still acknowledges",
        (Made::Proxy(_), _, Fault::Reset) => "TCP reset",
        (Made::Proxy(_), _, Fault::Garbage) => "garbage instead of the packet, then no more data",
        (Made::Proxy(_), _, Fault::Truncate) => "half of the packet, then the connection closes",
        (Made::Proxy(_), _, Fault::Delay) => "the packet arrives a second later",
        (Made::Proxy(_), _, Fault::Close) => "the connection closes instead of the packet",
        (Made::Proxy(_), _, Fault::Flood) => "endless packets that cannot be decrypted",
        (Made::Proxy(_), _, Fault::Vanish) => "the peer vanishes: no data, no acknowledgement, no close",
    }
}
