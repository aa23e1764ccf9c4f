//! What a server is asked to be.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use russh::{ChannelOpenFailure, Limits, MethodKind, MethodSet, Preferred, SshId, kex, server};

use super::{Behaviour, Fault, Key};

/// What a server does. `Config::default()` runs commands for anybody whose key is in `authorised`, which is empty.
pub(crate) struct Config {
    /// Where to listen: one listener per address, all on the same port. Addresses outside 127.0.0.0/8 are refused.
    pub(crate) addresses: Vec<IpAddr>,
    /// One listener for all addresses, on the loopback device: as many as there are need one descriptor. Only on Linux.
    pub(crate) is_one_listener: bool,
    /// 0 takes a free port.
    pub(crate) port: u16,
    /// Threads of the runtime.
    pub(crate) threads: usize,
    /// The software version that follows `SSH-2.0-` in the identification string.
    pub(crate) version: String,
    /// Empty means one fresh ed25519 key.
    pub(crate) host_keys: Vec<Key>,
    /// Offers no other key exchange than curve25519-sha256, which every client knows, instead of all that russh has.
    pub(crate) only_curve25519: bool,
    /// Exchanges keys again after so many bytes; `None` means after a GiB.
    pub(crate) rekey_after: Option<usize>,

    /// Public keys that may log in, as lines of an authorized_keys file without options.
    pub(crate) authorised: Vec<String>,
    /// Users that exist; `None` accepts every name.
    pub(crate) users: Option<Vec<String>>,
    /// Accepts this password and offers the method.
    pub(crate) password: Option<String>,
    /// Rounds of prompts for keyboard-interactive, which is offered unless this is empty. A round may have no prompts.
    pub(crate) keyboard_interactive: Vec<Vec<Prompt>>,
    /// A public key alone is answered with partial success; a password or keyboard-interactive has to follow.
    pub(crate) second_factor: bool,
    /// Lets everybody in who asks for the method `none`.
    pub(crate) allow_none: bool,
    /// Sent before authentication.
    pub(crate) banner: Option<String>,
    /// Like sshd's MaxAuthTries, with one difference: sshd disconnects in answer to the failure number N, this server in
    /// answer to the attempt after it. The client's opening `none` is not counted.
    pub(crate) max_auth_tries: usize,

    /// The window that the client gets for its standard input, per channel.
    pub(crate) window_size: u32,
    /// The largest packet that the client may send.
    pub(crate) max_packet_size: u32,
    /// Answers every session channel with this failure.
    pub(crate) reject_channel_open: Option<ChannelOpenFailure>,
    /// Slept before each answer to an authentication, channel-open and exec request.
    pub(crate) delay: Duration,
    /// What happens below or before SSH's connection layer.
    pub(crate) fault: Option<Fault>,
    /// Only this many first connections suffer `fault`; `None` means all of them.
    pub(crate) faulty_connections: Option<usize>,

    /// What an exec request does.
    pub(crate) behaviour: Behaviour,
    /// Exceptions, by the exact bytes of the command.
    pub(crate) commands: HashMap<String, Behaviour>,
    /// Bytes of extended data, of types that no client knows, which every command and every tunnel says before its output, in the
    /// middle of it, and after it. In front of each comes an empty packet.
    pub(crate) noise: [u64; 3],
    /// Exported to every command, like sshd's SetEnv.
    pub(crate) env: Vec<(String, String)>,
    /// The home and working directory of commands; `None` means the user's.
    pub(crate) home: Option<PathBuf>,

    /// Accepts direct-tcpip channels, that is: serves as a jump host. Targets outside 127.0.0.0/8 are refused.
    pub(crate) allow_forwarding: bool,
    /// Names that only this server can resolve, for direct-tcpip.
    pub(crate) inside_names: HashMap<String, IpAddr>,
    /// Answers requests about variables and terminals. russh does not, unless it is told to.
    pub(crate) answers_requests: bool,
    /// Accepts agent forwarding requests. They are logged either way.
    pub(crate) allow_agent_forwarding: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            is_one_listener: false,
            port: 0,
            threads: 2,
            version: "embedded_1.0".to_owned(),
            host_keys: Vec::new(),
            only_curve25519: false,
            rekey_after: None,
            authorised: Vec::new(),
            users: None,
            password: None,
            keyboard_interactive: Vec::new(),
            second_factor: false,
            allow_none: false,
            banner: None,
            max_auth_tries: 6,
            // sshd's numbers for a session channel.
            window_size: 2 * 1024 * 1024,
            max_packet_size: 32 * 1024,
            reject_channel_open: None,
            delay: Duration::ZERO,
            fault: None,
            faulty_connections: None,
            behaviour: Behaviour::Run,
            commands: HashMap::new(),
            noise: [0; 3],
            env: Vec::new(),
            home: None,
            allow_forwarding: true,
            inside_names: HashMap::new(),
            answers_requests: true,
            allow_agent_forwarding: true,
        }
    }
}

impl Config {
    /// The behaviour for one exact command, everything else unchanged.
    pub(crate) fn on(mut self, command: &str, behaviour: Behaviour) -> Self {
        self.commands.insert(command.to_owned(), behaviour);
        self
    }

    pub(super) fn methods(&self) -> MethodSet {
        let mut methods = MethodSet::empty();
        if !self.authorised.is_empty() {
            methods.push(MethodKind::PublicKey);
        }
        if self.password.is_some() {
            methods.push(MethodKind::Password);
        }
        if !self.keyboard_interactive.is_empty() {
            methods.push(MethodKind::KeyboardInteractive);
        }
        methods
    }

    pub(super) fn transport(&self) -> server::Config {
        let mut preferred = Preferred::default();
        if self.only_curve25519 {
            // Strict key exchange is an extension that stands in the same list.
            let kept = [kex::CURVE25519, kex::EXTENSION_SUPPORT_AS_SERVER, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER];
            preferred.kex = kept.to_vec().into();
        }
        let limits = self.rekey_after.map(|bytes| Limits::new(bytes, bytes, Duration::from_secs(3600)));
        server::Config {
            preferred,
            limits: limits.unwrap_or_default(),
            server_id: SshId::Standard(format!("SSH-2.0-{}", self.version).into()),
            methods: self.methods(),
            auth_rejection_time: Duration::ZERO,
            keys: self.host_keys.iter().map(|key| key.private().clone()).collect(),
            window_size: self.window_size,
            maximum_packet_size: self.max_packet_size,
            // The client's opening `none` counts as an attempt in russh, and it must not here.
            max_auth_attempts: self.max_auth_tries.saturating_add(1),
            // A test that waits must end by the client's deadline, not by the server's.
            inactivity_timeout: None,
            ..server::Config::default()
        }
    }

    /// The fault of connection number `number`, counted from 0.
    pub(super) fn fault_of(&self, number: usize) -> Option<&Fault> {
        self.fault.as_ref().filter(|_| self.faulty_connections.is_none_or(|first| number < first))
    }
}

/// One question of keyboard-interactive authentication and the answer that passes.
#[derive(Clone)]
pub(crate) struct Prompt {
    pub(crate) text: String,
    pub(crate) echo: bool,
    pub(crate) answer: String,
}
