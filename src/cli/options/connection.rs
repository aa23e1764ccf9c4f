//! Options of connections and logins.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueHint};

use super::ExtraOpts;
use crate::hosts;
use crate::hosts::options::HostKeyCheck;
use crate::hosts::proxy::{Hop, Proxy, Via};
use crate::system::password_source::PromptPattern;
use crate::text::duration;

/// Options of connections and logins.
#[derive(Debug, Default, Args)]
pub struct ConnectionOpts {
    /// Use this ssh_config file instead, or `none`
    ///
    /// It replaces ~/.ssh/config and /etc/ssh/ssh_config; `none` disables them.
    #[arg(short = 'F', long = "config-file", value_name = "FILE", help_heading = "Connection",
          value_hint = ValueHint::FilePath)]
    pub config: Option<OsString>,

    /// Set an ssh_config option
    ///
    /// OPTION is a keyword and its value, such as Compression=yes. May be repeated.
    #[arg(short = 'O', long = "option", visible_alias = "ssh-option", value_name = "OPTION", help_heading = "Connection",
          action = ArgAction::Append, allow_hyphen_values = true)]
    pub option: Vec<String>,

    /// Options of ssh itself.
    #[command(flatten)]
    pub extra: ExtraOpts,

    /// Give up connecting after TIME [default: 120]
    ///
    /// TIME limits each attempt to connect and log in.
    #[arg(long = "connect-timeout", value_name = "TIME", help_heading = "Connection", value_parser = positive)]
    pub connect_timeout: Option<Duration>,

    /// Try to connect at most N times [default: 3]
    ///
    /// The first attempt counts. A busy host gets three times as many. No command is sent twice.
    #[arg(long = "num-retries", value_name = "N", help_heading = "Connection",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub num_retries: Option<u32>,

    /// Wait TIME between two attempts [default: 5]
    ///
    /// The pause varies by up to a fifth.
    #[arg(long = "retry-delay", value_name = "TIME", help_heading = "Connection", value_parser = duration::parse)]
    pub retry_delay: Option<Duration>,

    /// Log in with this key instead of the default ones
    ///
    /// May be repeated.
    #[arg(long = "identity", value_name = "FILE", help_heading = "Connection", action = ArgAction::Append,
          value_hint = ValueHint::FilePath)]
    pub identity: Vec<PathBuf>,

    /// Use this agent instead of $SSH_AUTH_SOCK
    #[arg(long = "agent", value_name = "SOCKET", help_heading = "Connection", value_hint = ValueHint::FilePath,
          conflicts_with = "no_agent")]
    pub agent: Option<PathBuf>,

    /// Do not use an agent
    #[arg(long = "no-agent", help_heading = "Connection")]
    pub no_agent: bool,

    /// Connect to IPv4 addresses only
    #[arg(short = '4', help_heading = "Connection", overrides_with = "ipv6")]
    pub ipv4: bool,

    /// Connect to IPv6 addresses only
    #[arg(short = '6', help_heading = "Connection", overrides_with = "ipv4")]
    pub ipv6: bool,

    /// Compress the connection
    #[arg(short = 'C', long = "compression", help_heading = "Connection")]
    pub compression: bool,

    /// Ask once for a password; it also unlocks encrypted keys
    #[arg(short = 'A', long = "askpass", help_heading = "Passwords",
          conflicts_with_all = ["password_file", "password_fd", "password_command"])]
    pub askpass: bool,

    /// Read the password from a file that others cannot read
    #[arg(long = "password-file", value_name = "FILE", help_heading = "Passwords", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["password_fd", "password_command"])]
    pub password_file: Option<PathBuf>,

    /// Read the password from a file descriptor, such as 3 with 3<FILE
    #[arg(long = "password-fd", value_name = "N", help_heading = "Passwords", conflicts_with = "password_command")]
    pub password_fd: Option<u32>,

    /// Read the password from the output of a shell command
    ///
    /// The command can be a password manager's.
    #[arg(long = "password-command", value_name = "COMMAND", help_heading = "Passwords",
          value_hint = ValueHint::CommandString)]
    pub password_command: Option<OsString>,

    /// Also send the password to prompts that match REGEX
    #[arg(long = "password-prompt", hide_short_help = true, value_name = "REGEX", help_heading = "Passwords", value_parser = PromptPattern::parse)]
    pub password_prompt: Option<PromptPattern>,

    /// Check host keys this way [default: strict]
    #[arg(long = "host-key-check", value_name = "MODE", help_heading = "Connection", value_enum)]
    pub host_key_check: Option<HostKeyCheck>,

    /// Read host keys from this file only, or `none`
    ///
    /// May be repeated.
    #[arg(long = "known-hosts", value_name = "FILE", help_heading = "Connection", action = ArgAction::Append,
          value_hint = ValueHint::FilePath)]
    pub known_hosts: Vec<PathBuf>,

    /// Connect through these jump hosts, or `none`
    ///
    /// They are passed in this order; `none` disables jump hosts.
    #[arg(short = 'J', long = "jump", value_name = "HOP[,HOP...]", help_heading = "Jump hosts", value_parser = jump,
          conflicts_with_all = ["proxy_host", "proxy_command"], value_hint = ValueHint::Hostname)]
    pub jump: Option<Via>,

    /// Connect through this jump host
    #[arg(long = "proxy-host", hide_short_help = true, value_name = "HOST", help_heading = "Jump hosts", conflicts_with = "proxy_command",
          value_parser = proxy_host, value_hint = ValueHint::Hostname)]
    pub proxy_host: Option<Hop>,

    /// Use this port of the jump host [default: 22]
    #[arg(long = "proxy-port", hide_short_help = true, value_name = "PORT", help_heading = "Jump hosts", requires = "proxy_host", conflicts_with_all = ["jump", "proxy_command"],
          value_parser = clap::value_parser!(u16).range(1..))]
    pub proxy_port: Option<u16>,

    /// Log in to the jump host as USER [default: yours]
    #[arg(long = "proxy-user", hide_short_help = true, value_name = "USER", help_heading = "Jump hosts", requires = "proxy_host", conflicts_with_all = ["jump", "proxy_command"],
          value_parser = proxy_user, value_hint = ValueHint::Username)]
    pub proxy_user: Option<String>,

    /// Try this key first, on the jump host only
    #[arg(long = "proxy-identity", hide_short_help = true, value_name = "FILE", help_heading = "Jump hosts", requires = "proxy_host", conflicts_with_all = ["jump", "proxy_command"],
          value_hint = ValueHint::FilePath)]
    pub proxy_identity: Option<PathBuf>,

    /// Read the jump host's password from this file
    ///
    /// The jump host gets no other password, and no other host gets this one.
    #[arg(long = "proxy-password-file", hide_short_help = true, value_name = "FILE", help_heading = "Passwords", requires = "proxy_host", conflicts_with_all = ["jump", "proxy_command"],
          value_hint = ValueHint::FilePath)]
    pub proxy_password_file: Option<PathBuf>,

    /// Open up to N jump host connections [default: 8]
    ///
    /// N is per jump host. More than one connection is opened only while hosts wait for theirs.
    #[arg(long = "proxy-connections", hide_short_help = true, value_name = "N", help_heading = "Jump hosts", value_parser = proxy_connections)]
    pub proxy_connections: Option<usize>,

    /// Connect through this local command, or `none`
    ///
    /// %h, %p and %r are the host's name, port and user; `none` disables it.
    #[arg(long = "proxy-command", value_name = "CMD", help_heading = "Jump hosts", value_parser = proxy_command,
          value_hint = ValueHint::CommandString)]
    pub proxy_command: Option<Via>,
}

fn jump(text: &str) -> Result<Via, String> {
    Proxy::jump(text).map(Via)
}

fn proxy_command(text: &str) -> Result<Via, String> {
    Proxy::command(text).map(Via)
}

fn proxy_host(text: &str) -> Result<Hop, String> {
    let (user, name, port) = hosts::parse_entry(text)?;
    Ok(Hop { user, name, port })
}

fn proxy_user(text: &str) -> Result<String, String> {
    hosts::check_login(text).map(|()| text.to_owned()).map_err(str::to_owned)
}

/// Reads a number of connections.
///
/// # Errors
/// It is not a number, or 0.
pub fn proxy_connections(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(0) => Err("at least one connection is needed".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a whole number, such as 8".to_owned()),
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("cannot be 0: a host that never answers would never be reported".to_owned()),
        time => Ok(time),
    }
}
