//! Ways to a host through others: jump hosts and commands.

pub(crate) mod chain;
pub(crate) mod connection;
pub(crate) mod direct_tcpip;
pub(crate) mod jump_host;
pub(crate) mod proxy_command;
