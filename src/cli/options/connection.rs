//! The options that say how hosts are reached and logged in to.

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

/// How hosts are reached and logged in to.
#[derive(Debug, Default, Args)]
pub struct ConnectionOpts {
    /// Read this file instead of ~/.ssh/config and /etc/ssh/ssh_config; none is none
    #[arg(short = 'F', long = "config-file", value_name = "FILE", help_heading = "Connection",
          value_hint = ValueHint::FilePath)]
    pub config: Option<OsString>,

    /// Option in the format of ssh_config, such as Compression=yes; may be repeated
    #[arg(short = 'O', long = "option", visible_alias = "ssh-option", value_name = "OPTION", help_heading = "Connection",
          action = ArgAction::Append, allow_hyphen_values = true)]
    pub option: Vec<String>,

    /// Options of ssh itself.
    #[command(flatten)]
    pub extra: ExtraOpts,

    /// Time limit of each attempt to connect and log in [default: 120]
    #[arg(long = "connect-timeout", value_name = "TIME", help_heading = "Connection", value_parser = positive)]
    pub connect_timeout: Option<Duration>,

    /// Attempts to reach a host, including the first; three times as many if it is busy; no command is sent twice [default: 3]
    #[arg(long = "num-retries", value_name = "N", help_heading = "Connection",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub num_retries: Option<u32>,

    /// Pause between two attempts, give or take a fifth [default: 5]
    #[arg(long = "retry-delay", value_name = "TIME", help_heading = "Connection", value_parser = duration::parse)]
    pub retry_delay: Option<Duration>,

    /// Private key to authenticate with, instead of the default ones; may be repeated
    #[arg(long = "identity", value_name = "FILE", help_heading = "Connection", action = ArgAction::Append,
          value_hint = ValueHint::FilePath)]
    pub identity: Vec<PathBuf>,

    /// Ask this agent for keys instead of $SSH_AUTH_SOCK
    #[arg(long = "agent", value_name = "SOCKET", help_heading = "Connection", value_hint = ValueHint::FilePath,
          conflicts_with = "no_agent")]
    pub agent: Option<PathBuf>,

    /// Ask no agent for keys
    #[arg(long = "no-agent", help_heading = "Connection")]
    pub no_agent: bool,

    /// Connect to IPv4 addresses only
    #[arg(short = '4', help_heading = "Connection", overrides_with = "ipv6")]
    pub ipv4: bool,

    /// Connect to IPv6 addresses only
    #[arg(short = '6', help_heading = "Connection", overrides_with = "ipv4")]
    pub ipv6: bool,

    /// Compress what is sent and received
    #[arg(short = 'C', long = "compression", help_heading = "Connection")]
    pub compression: bool,

    /// Ask once for a password; it also opens encrypted keys
    #[arg(short = 'A', long = "askpass", help_heading = "Connection",
          conflicts_with_all = ["password_file", "password_fd", "password_command"])]
    pub askpass: bool,

    /// Read the password from a file that nobody else can read
    #[arg(long = "password-file", value_name = "FILE", help_heading = "Connection", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["password_fd", "password_command"])]
    pub password_file: Option<PathBuf>,

    /// Read the password from an open file descriptor, such as 3 with 3<FILE
    #[arg(long = "password-fd", value_name = "N", help_heading = "Connection", conflicts_with = "password_command")]
    pub password_fd: Option<u32>,

    /// Take the password from the output of a shell command, such as a password manager's
    #[arg(long = "password-command", value_name = "COMMAND", help_heading = "Connection",
          value_hint = ValueHint::CommandString)]
    pub password_command: Option<OsString>,

    /// Also answer a server's questions that match this regular expression with the password
    #[arg(long = "password-prompt", value_name = "REGEX", help_heading = "Connection", value_parser = PromptPattern::parse)]
    pub password_prompt: Option<PromptPattern>,

    /// What to do with host keys that are not known [default: strict]
    #[arg(long = "host-key-check", value_name = "MODE", help_heading = "Connection", value_enum)]
    pub host_key_check: Option<HostKeyCheck>,

    /// Look for host keys in this file only, or in `none`; may be repeated
    #[arg(long = "known-hosts", value_name = "FILE", help_heading = "Connection", action = ArgAction::Append,
          value_hint = ValueHint::FilePath)]
    pub known_hosts: Vec<PathBuf>,

    /// Reach the hosts through these jump hosts, the first first; none is none
    #[arg(short = 'J', long = "jump", value_name = "HOP[,HOP...]", help_heading = "Connection", value_parser = jump,
          conflicts_with_all = ["proxy_host", "proxy_command"], value_hint = ValueHint::Hostname)]
    pub jump: Option<Via>,

    /// Reach the hosts through this jump host
    #[arg(long = "proxy-host", value_name = "HOST", help_heading = "Connection", conflicts_with = "proxy_command",
          value_parser = proxy_host, value_hint = ValueHint::Hostname)]
    pub proxy_host: Option<Hop>,

    /// Port of the jump host [default: 22]
    #[arg(long = "proxy-port", value_name = "PORT", help_heading = "Connection", requires = "proxy_host", conflicts_with_all = ["jump", "proxy_command"],
          value_parser = clap::value_parser!(u16).range(1..))]
    pub proxy_port: Option<u16>,

    /// Login name on the jump host [default: yours here]
    #[arg(long = "proxy-user", value_name = "USER", help_heading = "Connection", requires = "proxy_host", conflicts_with_all = ["jump", "proxy_command"],
          value_parser = proxy_user, value_hint = ValueHint::Username)]
    pub proxy_user: Option<String>,

    /// Private key that is tried first on the jump host, and nowhere else
    #[arg(long = "proxy-identity", value_name = "FILE", help_heading = "Connection", requires = "proxy_host", conflicts_with_all = ["jump", "proxy_command"],
          value_hint = ValueHint::FilePath)]
    pub proxy_identity: Option<PathBuf>,

    /// Read the password for the jump host from this file; it gets no other, and nobody else gets this one
    #[arg(long = "proxy-password-file", value_name = "FILE", help_heading = "Connection", requires = "proxy_host", conflicts_with_all = ["jump", "proxy_command"],
          value_hint = ValueHint::FilePath)]
    pub proxy_password_file: Option<PathBuf>,

    /// Connections to a jump host, at most, while hosts wait for theirs [default: 8]
    #[arg(long = "proxy-connections", value_name = "N", help_heading = "Connection", value_parser = proxy_connections)]
    pub proxy_connections: Option<usize>,

    /// Talk to each host by this local command; %h, %p and %r are its name, port and user; none is none
    #[arg(long = "proxy-command", value_name = "COMMAND", help_heading = "Connection", value_parser = proxy_command,
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
        Err(_) => Err("a whole number is needed, such as 8".to_owned()),
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("it cannot be 0: a host that never answers would never be reported".to_owned()),
        time => Ok(time),
    }
}
