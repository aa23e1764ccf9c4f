//! The letters of ssh(1) and scp(1), and their meanings here.

use super::{Protocol, Tool};

/// The meaning of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A switch without effect.
    Nothing,
    /// An option with a value and without effect.
    NothingOf,
    /// A switch; the last one for a keyword counts, and overrides `-o`.
    Flag(&'static str),
    /// Like `Flag`, with a value.
    Last(&'static str),
    /// A keyword with a value; the first one counts, including those of `-o`.
    First(&'static str),
    /// `-l`.
    User,
    /// scp's `-B`: no prompts.
    Batch,
    /// scp's port.
    Port,
    /// `-o`.
    Option,
    /// `-F`.
    ConfigFile,
    /// `-J`.
    Jump,
    /// `-v`.
    Verbose,
    /// `-t`; twice forces a terminal.
    Terminal,
    /// `-T`.
    NoTerminal,
    /// scp's `-r`.
    Recursive,
    /// scp's `-p`.
    Preserve,
    /// scp's `-O` and `-s`.
    Protocol(Protocol),
    /// Only the value `none` is accepted; the reason.
    OnlyNone(&'static str),
    /// The option is not supported.
    Refused {
        /// Whether a value follows.
        takes_value: bool,
        /// The reason, and what to use instead.
        reason: &'static str,
    },
}

impl Meaning {
    pub(super) fn takes_value(self) -> bool {
        use Meaning::*;
        match self {
            NothingOf | Last(_) | First(_) | User | Port | Option | ConfigFile | Jump | OnlyNone(_) => true,
            Nothing | Flag(_) | Batch | Verbose | Terminal | NoTerminal | Recursive | Preserve | Protocol(_) => false,
            Refused { takes_value, .. } => takes_value,
        }
    }
}

const fn no(reason: &'static str) -> Meaning {
    Meaning::Refused { takes_value: false, reason }
}

const fn no_value(reason: &'static str) -> Meaning {
    Meaning::Refused { takes_value: true, reason }
}

const NO_FORWARDING: &str = "port forwarding is not supported; use ssh, one host at a time";
const NO_X11: &str = "X11 forwarding is not supported; use ssh, one host at a time";
const NO_MASTER: &str = "connections are not shared with ssh (ControlMaster); each host has its own";
const NO_QUESTION: &str = "no ssh runs here; --explain shows the settings of each host";
const FIRST_PROTOCOL: &str = "SSH protocol 1 is obsolete";

/// Returns the meaning of a letter for a tool; `None` if it has no such option.
///
/// The letters are those of OpenSSH 9.2 and later.
pub(super) fn meaning(tool: Tool, letter: u8) -> Option<Meaning> {
    both(letter).or_else(|| match tool {
        Tool::Ssh => of_ssh(letter),
        Tool::Scp => of_scp(letter),
    })
}

/// Returns the meaning of letters that scp passes to ssh.
fn both(letter: u8) -> Option<Meaning> {
    use Meaning::*;
    Some(match letter {
        b'1' => no(FIRST_PROTOCOL),
        b'2' => Nothing,
        b'4' => Flag("AddressFamily=inet"),
        b'6' => Flag("AddressFamily=inet6"),
        b'A' => Flag("ForwardAgent=yes"),
        b'C' => Flag("Compression=yes"),
        b'F' => ConfigFile,
        b'J' => Jump,
        b'c' => Last("Ciphers"),
        b'i' => First("IdentityFile"),
        b'o' => Option,
        b'q' => Flag("LogLevel=QUIET"),
        b'v' => Verbose,
        _ => return None,
    })
}

fn of_ssh(letter: u8) -> Option<Meaning> {
    use Meaning::*;
    Some(match letter {
        b'B' => Last("BindInterface"),
        b'a' => Flag("ForwardAgent=no"),
        b'b' => Last("BindAddress"),
        b'l' => User,
        b'm' => Last("MACs"),
        b'p' => First("Port"),
        b't' => Terminal,
        b'T' => NoTerminal,
        // Standard input is read only with -I, and there is no GSSAPI and no X11 to turn off.
        b'n' | b'k' | b'x' => Nothing,
        b'D' | b'L' | b'R' | b'W' | b'w' => no_value(NO_FORWARDING),
        b'g' => no(NO_FORWARDING),
        b'X' | b'Y' => no(NO_X11),
        b'M' => no(NO_MASTER),
        b'O' => no_value(NO_MASTER),
        b'S' => OnlyNone(NO_MASTER),
        b'E' => no_value("messages go to standard error: use 2>FILE"),
        b'G' => no(NO_QUESTION),
        b'Q' => no_value(NO_QUESTION),
        b'V' => no("no ssh runs here; --version prints the version of this program"),
        b'I' => no_value("for keys on a token use an agent: ssh-add -s LIBRARY"),
        b'K' => no("GSSAPI is not supported; use keys, certificates or passwords"),
        b'N' => no("every login here runs a command; pssh --ping only logs in"),
        b'P' => no("its meaning depends on the version of ssh; for a port use -p; tags are not supported"),
        b'e' => OnlyNone("escape characters are not supported"),
        b'f' => no("a run stays in the foreground; for the background use the shell's &"),
        b's' => no("subsystems are not supported; give a command"),
        b'y' => no("messages go to standard error; logger sends them to the system log"),
        _ => return None,
    })
}

fn of_scp(letter: u8) -> Option<Meaning> {
    use Meaning::*;
    Some(match letter {
        b'B' => Batch,
        b'O' => Protocol(super::Protocol::Scp),
        b's' => Protocol(super::Protocol::Sftp),
        b'P' => Port,
        b'p' => Preserve,
        b'r' => Recursive,
        // Copies between two hosts; names that a server sends are always checked; sizes of SFTP's requests.
        b'3' | b'R' | b'T' => Nothing,
        b'X' => NothingOf,
        b'D' => no_value("copies go over the connection, not through a local sftp-server"),
        b'M' => no_value(NO_MASTER),
        b'S' => no_value("no other program makes the connections; for a tunnel use --proxy-command"),
        b'l' => no_value("bandwidth limits are not supported; -p limits the number of hosts at once"),
        b'd' | b'f' | b't' => no("it is internal to scp"),
        _ => return None,
    })
}
