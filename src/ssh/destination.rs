//! Where and how to connect to a host.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::algorithms::Algorithms;
use super::keepalive::Keepalive;
use super::session::Credentials;
use crate::hosts::proxy::{Hop, Proxy};
use crate::hosts::write_entry;
use crate::ssh::channel::requests::Requests;
use crate::ssh_config;

/// Where and how to connect.
pub struct Destination {
    /// The name or address to connect to (HostName).
    pub name: String,
    /// The port.
    pub port: u16,
    /// The login name.
    pub user: String,
    /// The name and port under which the host's key is known (HostKeyAlias, which has no port of its own).
    pub key_name: (String, u16),
    /// The authentication methods, in order of preference.
    pub methods: Vec<Method>,
    /// What checks its key, and what logs in.
    pub credentials: Arc<Credentials>,
    /// How long TCP connection, banner, key exchange and authentication may take together.
    pub connect_timeout: Duration,
    /// How to detect that the host has vanished.
    pub keepalive: Keepalive,
    /// The minimum size in bits of an RSA host key (RequiredRSASize).
    pub rsa_bits: u32,
    /// Whether to skip the host key check if the host is this machine (NoHostAuthenticationForLocalhost, without a
    /// HostKeyAlias).
    pub trusts_loopback: bool,
    /// The allowed address families.
    pub family: ssh_config::AddressFamily,
    /// The local address to connect from.
    pub bind: Option<SocketAddr>,
    /// How often to try the host in total, if set for it (ConnectionAttempts).
    pub attempts: Option<u32>,
    /// The pause between two attempts, if set for it.
    pub retry_delay: Option<Duration>,
    /// Whether to report every step (LogLevel VERBOSE and beyond).
    pub is_verbose: bool,
    /// Time limit of the command; `None` for no limit.
    pub command_timeout: Option<Duration>,
    /// Longest silence of the command's output; `None` for no limit.
    pub silence_timeout: Option<Duration>,
    /// The algorithms offered in the key exchange.
    pub algorithms: Algorithms,
    /// The proxy, if any. For a jump host, this applies only to the first one.
    pub proxy: Option<Proxy>,
    /// Whether its session saves memory ([`Settings::saves_memory`](crate::plan::settings::Settings::saves_memory)).
    pub saves_memory: bool,
    /// The channel requests before a command. A jump host gets none.
    pub requests: Requests,
    /// The jump host as the user wrote it.
    pub hop: Option<Hop>,
}

impl fmt::Display for Destination {
    /// Formats `user@host[:port]`, with the port if it is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, port) = self.shown();
        write_entry(f, Some(&self.user), name, port)
    }
}

impl Destination {
    /// Formats name and port, if it is not the default, for messages; a jump host as the user wrote it.
    pub fn shown(&self) -> (&str, Option<u16>) {
        match &self.hop {
            Some(hop) => (&hop.name, hop.port.filter(|port| *port != DEFAULT_PORT)),
            None => (&self.name, self.unusual_port()),
        }
    }

    /// Returns the port if it is not the default.
    pub fn unusual_port(&self) -> Option<u16> {
        (self.port != DEFAULT_PORT).then_some(self.port)
    }
}

/// An authentication method (RFC 4252 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// A key or certificate (RFC 4252 section 7).
    PublicKey,
    /// Questions and answers (RFC 4256).
    KeyboardInteractive,
    /// A password (RFC 4252 section 8).
    Password,
}

impl Method {
    /// The methods in ssh(1)'s order (ssh_config(5), PreferredAuthentications).
    pub const PREFERRED: [Method; 3] = [Method::PublicKey, Method::KeyboardInteractive, Method::Password];

    /// Returns its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Method::PublicKey => "publickey",
            Method::KeyboardInteractive => "keyboard-interactive",
            Method::Password => "password",
        }
    }
}

/// The default SSH port (RFC 4253 section 4.1).
pub(crate) const DEFAULT_PORT: u16 = 22;
