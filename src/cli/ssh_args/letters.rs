//! The letters of ssh(1) and scp(1), and what each of them is here.

use super::{Protocol, Tool};

/// What a letter is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It changes nothing here.
    Nothing,
    /// Nor does this one, which has a value.
    NothingOf,
    /// An option; of several for a keyword the last counts, and beats `-o`.
    Flag(&'static str),
    /// The same with a value.
    Last(&'static str),
    /// A keyword for a value; the first counts, among those of `-o` too.
    First(&'static str),
    /// `-l`.
    User,
    /// Nobody is asked for anything.
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
    /// `-t`; twice is more.
    Terminal,
    /// `-T`.
    NoTerminal,
    /// scp's `-r`.
    Recursive,
    /// scp's `-p`.
    Preserve,
    /// scp's `-O` and `-s`.
    Protocol(Protocol),
    /// Only the value `none` is what is done here anyway; the reason.
    OnlyNone(&'static str),
    /// It is not there.
    Refused {
        /// Whether a value follows.
        takes_value: bool,
        /// Why, and what to do instead.
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

const NO_FORWARDING: &str = "no ports are forwarded here; ssh itself does that, one host at a time";
const NO_X11: &str = "X11 is not forwarded here; ssh itself does that, one host at a time";
const NO_MASTER: &str = "no connection is shared with ssh (ControlMaster); each host gets one of its own";
const NO_QUESTION: &str = "there is no ssh here that could answer; --explain shows what holds for each host";
const FIRST_PROTOCOL: &str = "protocol 1 is known to nobody any more";

/// What a letter is to a tool; `None` if it has no such option.
///
/// The letters are those of OpenSSH 9.2 and later.
pub(super) fn meaning(tool: Tool, letter: u8) -> Option<Meaning> {
    both(letter).or_else(|| match tool {
        Tool::Ssh => of_ssh(letter),
        Tool::Scp => of_scp(letter),
    })
}

/// The letters that scp hands on to ssh.
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
        // Standard input is not read unless -I says so; there is no GSSAPI and no X11 that could be switched off.
        b'n' | b'k' | b'x' => Nothing,
        b'D' | b'L' | b'R' | b'W' | b'w' => no_value(NO_FORWARDING),
        b'g' => no(NO_FORWARDING),
        b'X' | b'Y' => no(NO_X11),
        b'M' => no(NO_MASTER),
        b'O' => no_value(NO_MASTER),
        b'S' => OnlyNone(NO_MASTER),
        b'E' => no_value("what there is to say goes to standard error: 2>FILE"),
        b'G' => no(NO_QUESTION),
        b'Q' => no_value(NO_QUESTION),
        b'V' => no("there is no ssh here; --version tells which program this is"),
        b'I' => no_value("keys on a token come from an agent here: ssh-add -s LIBRARY"),
        b'K' => no("there is no GSSAPI here, but keys, certificates and passwords"),
        b'N' => no("there is always a command here; true only connects"),
        b'P' => {
            no("it is nothing to one version of ssh and a tag to another; a port is -p, and tags are not known here")
        }
        b'e' => OnlyNone("nothing is typed at hosts here, so that there is no escape character"),
        b'f' => no("a run stays in the foreground; the shell's & puts it into the background"),
        b's' => no("commands are run here, not subsystems"),
        b'y' => no("what there is to say goes to standard error; logger takes it to the system's log"),
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
        b'D' => no_value("copies are made over the connection, not by a local sftp-server"),
        b'M' => no_value(NO_MASTER),
        b'S' => no_value("no program makes the connections here; --proxy-command names one that carries them"),
        b'l' => no_value("copies are not slowed down here; -p says how many hosts are copied to at once"),
        b'd' | b'f' | b't' => no("it is between scp and its other end"),
        _ => return None,
    })
}
