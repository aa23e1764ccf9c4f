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
    /// The methods of authentication that are tried, in this order.
    pub methods: Vec<Method>,
    /// What its key is checked with, and what there is to log in with.
    pub credentials: Arc<Credentials>,
    /// How long TCP connection, banner, key exchange and authentication may take together.
    pub connect_timeout: Duration,
    /// How it is found out that the host has vanished.
    pub keepalive: Keepalive,
    /// The fewest bits that an RSA host key may have (RequiredRSASize).
    pub rsa_bits: u32,
    /// Whether its key is not checked if it is this machine (NoHostAuthenticationForLocalhost, without a HostKeyAlias).
    pub trusts_loopback: bool,
    /// Which addresses of the name are connected to.
    pub family: ssh_config::AddressFamily,
    /// The address to connect from.
    pub bind: Option<SocketAddr>,
    /// How often the host is tried, in all, if that is said of it (ConnectionAttempts).
    pub attempts: Option<u32>,
    /// The pause between two attempts, if that is said of it.
    pub retry_delay: Option<Duration>,
    /// Whether what is done for it is to be told (LogLevel VERBOSE and beyond).
    pub is_verbose: bool,
    /// How long the command may run; `None` is as long as it likes.
    pub command_timeout: Option<Duration>,
    /// How long the command's output may be silent; `None` is as long as it likes.
    pub silence_timeout: Option<Duration>,
    /// What it is offered in the key exchange.
    pub algorithms: Algorithms,
    /// How the host is reached, if not directly. Of a jump host, this counts where no other is before it.
    pub proxy: Option<Proxy>,
    /// Whether its session is to be as small as it can be ([`Settings::saves_memory`](crate::plan::settings::Settings::saves_memory)).
    pub saves_memory: bool,
    /// What is asked of it before a command. A jump host is asked nothing.
    pub requests: Requests,
    /// As the user has written it, of a jump host.
    pub hop: Option<Hop>,
}

impl fmt::Display for Destination {
    /// `user@host[:port]`, the port if it is not the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, port) = self.shown();
        write_entry(f, Some(&self.user), name, port)
    }
}

impl Destination {
    /// The name and the port, if it is not the usual one, as messages have them: those of a jump host as the user has written them.
    pub fn shown(&self) -> (&str, Option<u16>) {
        match &self.hop {
            Some(hop) => (&hop.name, hop.port.filter(|port| *port != DEFAULT_PORT)),
            None => (&self.name, self.unusual_port()),
        }
    }

    /// The port, if it is not the usual one.
    pub fn unusual_port(&self) -> Option<u16> {
        (self.port != DEFAULT_PORT).then_some(self.port)
    }
}

/// A way to authenticate (RFC 4252 section 5).
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
    /// The methods in the order in which they are tried: ssh(1)'s (ssh_config(5), PreferredAuthentications).
    pub const PREFERRED: [Method; 3] = [Method::PublicKey, Method::KeyboardInteractive, Method::Password];

    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Method::PublicKey => "publickey",
            Method::KeyboardInteractive => "keyboard-interactive",
            Method::Password => "password",
        }
    }
}

/// The port of SSH (RFC 4253 section 4.1).
pub(crate) const DEFAULT_PORT: u16 = 22;
