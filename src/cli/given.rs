//! Settings of all hosts without a keyword in ssh_config(5), with their origins, for `--explain`.
//!
//! The options come from clap's list, so a new option appears without a change here.

use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::options::Opts;
use super::settings::Configured;
use crate::plan::program::Program;
use crate::plan::settings::{Environment, Settings};
use crate::system::redact::MASK;
use crate::text::duration::seconds;

/// A line of `--explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The long name of the option, without dashes.
    pub name: String,
    /// Its value; `yes` of a switch.
    pub value: String,
    /// Where the value comes from.
    pub origin: String,
}

/// The headings of options that change what happens to a host. Options below other headings select hosts or output.
const HEADINGS: [&str; 7] = ["Running", "Rolling runs", "Command", "Connection", "Passwords", "Jump hosts", "Copying"];

/// Options that appear as a keyword of ssh_config(5).
const KEYWORDS: [&str; 18] = [
    "option",
    "ssh-args",
    "connect-timeout",
    "num-retries",
    "identity",
    "agent",
    "no-agent",
    "compression",
    "host-key-check",
    "known-hosts",
    "jump",
    "proxy-host",
    "proxy-port",
    "proxy-user",
    "proxy-command",
    "forward-agent",
    "pty",
    "env",
];
/// Options of ssh, except in prsync, where they are rsync's.
const SSH_WORDS: [&str; 2] = ["extra-args", "extra-arg"];
/// Options that have a default, or share a line.
const OWN_LINES: [&str; 10] = [
    "par",
    "timeout",
    "channel-timeout",
    "total-timeout",
    "connect-par",
    "rate",
    "retry-delay",
    "proxy-connections",
    "sudo",
    "run-as",
];

/// Sources of the password, of which a host has one.
pub const PASSWORDS: [&str; 4] = ["askpass", "password-file", "password-fd", "password-command"];

/// Returns the options of a command line.
pub fn of_command_line(command: &clap::Command, matches: &ArgMatches) -> Vec<Given> {
    let mut given = Vec::new();
    for arg in command.get_arguments() {
        let (id, Some(name)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        if !is_given || !arg.get_help_heading().is_some_and(|heading| HEADINGS.contains(&heading)) {
            continue;
        }
        let takes_value = arg.get_action().takes_values();
        let values: Vec<String> = (matches.get_raw(id).into_iter().flatten())
            .map(|value| value.to_string_lossy().into_owned())
            .map(|value| if name == "host-arg" { without_value(&value) } else { value })
            .collect();
        let value = if takes_value { values.join(" ") } else { "yes".to_owned() };
        given.push(Given { name: name.to_owned(), value, origin: format!("--{name}") });
    }
    given
}

/// Masks the value of `HOST:NAME=VALUE`, which may be a secret.
fn without_value(text: &str) -> String {
    text.split_once('=').map_or_else(|| text.to_owned(), |(name, _)| format!("{name}={MASK}"))
}

/// Returns the lines for all hosts.
pub fn lines(opts: &Opts, settings: &Settings, configured: &Configured, environment: &Environment<'_>) -> Vec<Given> {
    let given = |name: &str| opts.given.iter().find(|given| given.name == name);
    let is_set = |variable: &str| (environment.variable)(variable).is_some_and(|value| !value.is_empty());
    let origin = |name: &str, variable: &str| match configured.get(&format!("--{name}")) {
        _ if given(name).is_some() => format!("--{name}"),
        Some(place) => place.to_string(),
        None if is_set(variable) => variable.to_owned(),
        None => "default".to_owned(),
    };
    let time = |limit: Option<Duration>| limit.map_or_else(|| "none".to_owned(), |time| seconds(&time));
    let mut lines = Vec::new();
    let mut say = |name: &str, value: String, origin: String| {
        lines.push(Given { name: name.to_owned(), value, origin });
    };
    say("par", settings.pool_size.to_string(), origin("par", "PSSH_PAR"));
    say("timeout", time(settings.command_timeout), origin("timeout", "PSSH_TIMEOUT"));
    say("channel-timeout", time(settings.silence_timeout), origin("channel-timeout", ""));
    say("total-timeout", time(settings.total_timeout), origin("total-timeout", ""));
    if let Some(count) = settings.rolling.connect_par {
        say("connect-par", count.to_string(), origin("connect-par", ""));
    }
    if let Some(rate) = settings.rolling.rate {
        say("rate", rate.to_string(), origin("rate", ""));
    }
    say("retry-delay", seconds(&settings.retry.delay), origin("retry-delay", ""));
    say("proxy-connections", settings.proxy_connections.to_string(), origin("proxy-connections", ""));
    if let Some(sudo) = &settings.sudo {
        let option = if opts.sudo.run_as.is_some() { "--run-as" } else { "--sudo" };
        say("sudo", sudo.user.clone().unwrap_or_else(|| "root".to_owned()), option.to_owned());
    }
    if settings.password.is_some() && !PASSWORDS.iter().any(|name| given(name).is_some()) {
        say("askpass", "yes".to_owned(), "PSSH_ASKPASS".to_owned());
    }
    let is_ssh_word = |name: &str| opts.program != Program::Prsync && SSH_WORDS.contains(&name);
    let is_elsewhere = |name: &str| KEYWORDS.contains(&name) || OWN_LINES.contains(&name) || is_ssh_word(name);
    lines.extend(opts.given.iter().filter(|given| !is_elsewhere(&given.name)).cloned());
    lines
}
