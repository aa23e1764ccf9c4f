//! Options of the hosts and limits of the run.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueHint};

use crate::hosts::Shard;
use crate::plan::failure_limit::StopOnErrors;
use crate::text::duration;

/// Options of the hosts.
#[derive(Debug, Default, Args)]
pub struct HostOpts {
    /// Read hosts from FILE; - reads standard input
    ///
    /// Each line has one `[user@]host[:port] [user] [key=value]...`. May be repeated.
    #[arg(short = 'h', long = "hosts", value_name = "FILE", help_heading = "Hosts", action = ArgAction::Append,
          allow_hyphen_values = true, value_hint = ValueHint::FilePath)]
    pub hosts: Vec<PathBuf>,

    /// Add hosts, separated by blanks: 'web1 root@web2'
    ///
    /// Each is `[user@]host[:port]`, a range, web[1-9], or a @group. May be repeated.
    #[arg(short = 'H', long = "host", value_name = "HOSTS", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::Hostname)]
    pub host: Vec<String>,

    /// Add hosts, separated by commas: 'web[1-9],@db'
    ///
    /// LIST has names, ranges and @groups; `!` removes hosts, and `&` keeps only those that are in both. May be repeated.
    #[arg(short = 'w', long = "nodes", value_name = "LIST", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::Hostname)]
    pub nodes: Vec<String>,

    /// Run only on these hosts: names, 'web*', '/^db/'
    ///
    /// LIST has names, ranges, @groups, patterns, 'web*', and regular expressions, '/^db/'. They match the name of a host or its alias. May
    /// be repeated.
    #[arg(long = "only", value_name = "LIST", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::Hostname)]
    pub only: Vec<String>,

    /// Leave out these hosts, in the format of --only
    ///
    /// May be repeated.
    #[arg(long = "exclude", value_name = "LIST", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::Hostname)]
    pub exclude: Vec<String>,

    /// Run on a share of all hosts, such as 3/8 or slurm
    ///
    /// K/N is the K-th of N shares, which take turns in the list; slurm, k8s/N, aws, gitlab and nomad/N are the share of the task that
    /// runs; hash: before any of them deals hosts out by name.
    #[arg(long = "shard", value_name = "SHARE", help_heading = "Hosts", value_parser = Shard::parse)]
    pub shard: Option<Shard>,

    /// Of the hosts in files, run only on those that match
    ///
    /// GLOB is a pattern such as 'web[0-9]*', which the name or the alias matches. --only chooses among all hosts.
    #[arg(short = 'g', long = "host-glob", value_name = "GLOB", help_heading = "Hosts", allow_hyphen_values = true)]
    pub host_glob: Option<String>,

    /// Log in as USER on hosts without a user of their own
    #[arg(short = 'l', long = "user", value_name = "USER", help_heading = "Hosts", value_hint = ValueHint::Username)]
    pub user: Option<String>,

    /// Read settings of hosts from this TOML file
    ///
    /// The file has a table for each host, `[host."web1"]`, range, `web[1-9]`, or pattern, `*.example.com`. May be
    /// repeated.
    #[arg(long = "host-config", value_name = "FILE", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::FilePath)]
    pub host_config: Vec<PathBuf>,
}

impl HostOpts {
    /// Returns whether the options select only some hosts of the lists.
    pub fn are_chosen(&self) -> bool {
        self.host_glob.is_some() || !self.only.is_empty() || !self.exclude.is_empty() || self.shard.is_some()
    }
}

/// Limits of the run.
#[derive(Debug, Default, Args)]
pub struct RunOpts {
    /// Run at most N hosts at once [default: 10]
    #[arg(short = 'p', long = "par", visible_alias = "pool-size", value_name = "N", help_heading = "Running",
          value_parser = pool_size)]
    pub par: Option<usize>,

    /// Stop a command after TIME [default: no limit]
    ///
    /// TIME is in seconds, or has units: 1m30s, 2h. 0 means no limit.
    #[arg(short = 't', long = "timeout", value_name = "TIME", help_heading = "Running", value_parser = duration::parse)]
    pub timeout: Option<Duration>,

    /// Stop a command silent for TIME [default: none]
    ///
    /// It stops a command that prints nothing for this time. 0 means no limit.
    #[arg(long = "channel-timeout", value_name = "TIME", help_heading = "Running", value_parser = duration::parse)]
    pub channel_timeout: Option<Duration>,

    /// Stop the whole run after TIME [default: none]
    ///
    /// 0 means no limit.
    #[arg(long = "total-timeout", value_name = "TIME", help_heading = "Running", value_parser = duration::parse)]
    pub total_timeout: Option<Duration>,

    /// Stop the run once N hosts, or N%, have failed [without =N: 1]
    ///
    /// N:now also stops running hosts, N:wait lets them end: nothing more is started, and no command is sent to a host that is still being
    /// connected to. The default is now, and with --batch 1:wait. none never stops the run.
    #[arg(long = "stop-on-errors", value_name = "N", help_heading = "Running", num_args = 0..=1, require_equals = true,
          default_missing_value = "1", value_parser = StopOnErrors::parse)]
    pub stop_on_errors: Option<StopOnErrors>,
}

/// Reads a pool size.
///
/// # Errors
/// It is not a number, or 0.
pub fn pool_size(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(0) => Err("at least one host must run at a time".to_owned()),
        Ok(size) => Ok(size),
        Err(_) => Err("expected a whole number, such as 32".to_owned()),
    }
}
