//! Where and how to connect to a host.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::DEFAULT_PORT;
use super::algorithms::Algorithms;
use super::config;
use super::keepalive::Keepalive;
use super::requests::Requests;
use super::session::Credentials;
use crate::hosts::write_entry;
use crate::proxy::Proxy;
use crate::settings::Method;

/// Where and how to connect.
pub struct Host {
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
    pub family: config::AddressFamily,
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
    /// Whether its session is to be as small as it can be ([`Settings::saves_memory`](crate::settings::Settings::saves_memory)).
    pub saves_memory: bool,
    /// What is asked of it before a command. A jump host is asked nothing.
    pub requests: Requests,
}

/// Which of the hosts of the list one is.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// Its number, from 0.
    pub number: usize,
    /// How many there are.
    pub count: usize,
    /// Its name in the list.
    pub name: &'a str,
}

impl fmt::Display for Host {
    /// `user@host[:port]`, the port if it is not the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_entry(f, Some(&self.user), &self.name, self.unusual_port())
    }
}

impl Host {
    /// The port, if it is not the usual one.
    pub fn unusual_port(&self) -> Option<u16> {
        (self.port != DEFAULT_PORT).then_some(self.port)
    }
}
