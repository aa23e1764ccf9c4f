//! The keywords with one value: their types and defaults, defined once for parsing, precedence and --explain.

use std::time::Duration;

use super::Origin;
use super::algorithms::{Algorithms, Ciphers, KeyExchanges, KeyTypes, Macs};
use super::line::{Words, Wrong};
use super::values::{
    AddressFamily, CanonicalizeHostname, CommandLine, Compression, Files, LogLevel, PubkeyAuthentication, RequestTty,
    Socket, StrictHostKeyChecking, Timeout, Value,
};

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// The origin.
    pub origin: Origin,
}

impl<T> Setting<T> {
    pub(super) fn new(value: T, origin: &Origin) -> Setting<T> {
        Setting { value, origin: origin.clone() }
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $keyword:literal, $default:expr;)*) => {
        /// The effective values of all keywords that have one value; in the order of `ssh -G`.
        #[derive(Debug, Clone)]
        pub struct Settings { $($(#[$doc])* pub $field: Setting<$type>,)* }

        /// A value for one of them.
        #[derive(Debug, Clone)]
        #[expect(non_camel_case_types, reason = "they are the names of the fields")]
        pub(super) enum Assignment { $($field($type),)* }

        impl Assignment {
            /// The keywords, in lower case.
            pub(super) const KEYWORDS: &[&str] = &[$($keyword,)*];

            /// Parses the arguments of `keyword`; `None` if it isn't one of them.
            pub(super) fn read(keyword: &str, words: &mut Words<'_>) -> Option<Result<Option<Assignment>, Wrong>> {
                match keyword {
                    $($keyword => Some(<$type>::read(words).map(|value| value.map(Assignment::$field))),)*
                    _ => None,
                }
            }
        }

        /// The values so far, each with its origin.
        #[derive(Default)]
        pub(super) struct Chosen<'a> { $(pub(super) $field: Option<(&'a $type, &'a Origin)>,)* }

        impl<'a> Chosen<'a> {
            /// Sets a value, unless there is one.
            pub(super) fn offer(&mut self, assignment: &'a Assignment, origin: &'a Origin) {
                match assignment {
                    $(Assignment::$field(value) => { self.$field.get_or_insert((value, origin)); })*
                }
            }

            /// Whether the assignment would come too late.
            pub(super) fn has(&self, assignment: &Assignment) -> bool {
                match assignment { $(Assignment::$field(_) => self.$field.is_some(),)* }
            }

            /// Returns the values as written, and the defaults.
            pub(super) fn settle(&self) -> Settings {
                Settings {
                    $($field: match self.$field {
                        Some((value, origin)) => Setting::new(value.clone(), origin),
                        None => Setting { value: $default, origin: Origin::Default },
                    },)*
                }
            }
        }

        impl Settings {
            /// Returns keyword, value and origin as `ssh -G` spells them.
            pub(super) fn explain(&self) -> Vec<(&'static str, String, Origin)> {
                let lines = [$(($keyword, self.$field.value.show(), &self.$field.origin),)*];
                lines.into_iter().filter_map(|(keyword, value, origin)| Some((keyword, value?, origin.clone()))).collect()
            }
        }
    };
}

/// OpenSSH's default files, as in its pathnames.h.
const USER_KNOWN_HOSTS: [&str; 2] = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];
const GLOBAL_KNOWN_HOSTS: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];

settings! {
    /// The login name on the remote side.
    user: String = "user", String::new();
    /// The host to connect to: a name in lower case, or an address.
    host_name: String = "hostname", String::new();
    /// The port.
    port: u16 = "port", 22;
    /// The allowed address families.
    address_family: AddressFamily = "addressfamily", AddressFamily::Any;
    /// Whether questions are forbidden.
    batch_mode: bool = "batchmode", false;
    /// Whether names are completed; never in effect without `ssh -G`.
    canonicalize_hostname: CanonicalizeHostname = "canonicalizehostname", CanonicalizeHostname::No;
    /// Compression.
    compression: Compression = "compression", Compression::No;
    /// Whether to hash names added to known_hosts.
    hash_known_hosts: bool = "hashknownhosts", false;
    /// Whether only those of the agent's keys are used that are configured too.
    identities_only: bool = "identitiesonly", false;
    /// Whether to try keyboard-interactive.
    kbd_interactive_authentication: bool = "kbdinteractiveauthentication", true;
    /// Whether to skip the host key check for this machine's own servers.
    no_host_authentication_for_localhost: bool = "nohostauthenticationforlocalhost", false;
    /// Whether to try passwords.
    password_authentication: bool = "passwordauthentication", true;
    /// Whether to try keys.
    pubkey_authentication: PubkeyAuthentication = "pubkeyauthentication", PubkeyAuthentication::Yes;
    /// Whether to request a terminal.
    request_tty: RequestTty = "requesttty", RequestTty::Auto;
    /// What to do with unknown host keys.
    strict_host_key_checking: StrictHostKeyChecking = "stricthostkeychecking", StrictHostKeyChecking::Ask;
    /// Whether TCP checks the connection.
    tcp_keep_alive: bool = "tcpkeepalive", true;
    /// Connection attempts.
    connection_attempts: u32 = "connectionattempts", 1;
    /// Password attempts.
    number_of_password_prompts: u32 = "numberofpasswordprompts", 3;
    /// Unanswered keepalives before the connection ends.
    server_alive_count_max: u32 = "serveralivecountmax", 3;
    /// The silence before a keepalive; zero disables it.
    server_alive_interval: Duration = "serveraliveinterval", Duration::ZERO;
    /// The minimum size of an RSA key.
    required_rsa_size: u32 = "requiredrsasize", 1024;
    /// The local address to connect from.
    bind_address: Option<String> = "bindaddress", None;
    /// The local interface to connect from.
    bind_interface: Option<String> = "bindinterface", None;
    /// Ciphers.
    ciphers: Option<Algorithms<Ciphers>> = "ciphers", None;
    /// Host key types and signatures.
    host_key_algorithms: Option<Algorithms<KeyTypes>> = "hostkeyalgorithms", None;
    /// The name under which the host's key is known, in lower case.
    host_key_alias: Option<String> = "hostkeyalias", None;
    /// The agent's socket, `none`, `SSH_AUTH_SOCK` or `$NAME`; [`Resolved::agent`](super::Resolved::agent) interprets
    /// it.
    identity_agent: Option<Socket> = "identityagent", None;
    /// Keywords that may be unknown.
    ignore_unknown: Option<String> = "ignoreunknown", None;
    /// Key exchanges.
    kex_algorithms: Option<Algorithms<KeyExchanges>> = "kexalgorithms", None;
    /// Signatures that certificate authorities may use.
    ca_signature_algorithms: Option<Algorithms<KeyTypes>> = "casignaturealgorithms", None;
    /// A command that prints lines of known_hosts;
    /// [`Resolved::known_hosts_command`](super::Resolved::known_hosts_command) has its words.
    known_hosts_command: Option<CommandLine> = "knownhostscommand", None;
    /// ssh's verbosity.
    log_level: LogLevel = "loglevel", LogLevel::Info;
    /// Message authentication codes.
    macs: Option<Algorithms<Macs>> = "macs", None;
    /// The order of the methods, with commas.
    preferred_authentications: Option<String> = "preferredauthentications", None;
    /// Key types and signatures to authenticate with.
    pubkey_accepted_algorithms: Option<Algorithms<KeyTypes>> = "pubkeyacceptedalgorithms", None;
    /// A file of host keys to refuse.
    revoked_host_keys: Option<String> = "revokedhostkeys", None;
    /// Known hosts of the machine.
    global_known_hosts_file: Files = "globalknownhostsfile", Files::of(&GLOBAL_KNOWN_HOSTS);
    /// Known hosts of the user.
    user_known_hosts_file: Files = "userknownhostsfile", Files::of(&USER_KNOWN_HOSTS);
    /// Whether to forward the agent; [`Resolved::forwarded_agent`](super::Resolved::forwarded_agent) returns which.
    forward_agent: bool = "forwardagent", false;
    /// The agent to forward, if ForwardAgent names one. (It has no keyword of its own: no line has one in upper case.)
    forward_agent_socket: Option<Socket> = "ForwardAgent", None;
    /// Time limit for connecting.
    connect_timeout: Timeout = "connecttimeout", Timeout(None);
    /// Whether a ProxyCommand passes a connected socket.
    proxy_use_fdpass: bool = "proxyusefdpass", false;
}
