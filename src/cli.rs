//! The command line: pssh's letters with pssh's meaning, long names for all else. Definitions and texts only.

mod abbreviations;
mod extra;
mod reports;

pub use extra::ExtraOpts;
pub use reports::ReportOpts;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, StyledStr, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Parser, ValueHint};
use encoding_rs::Encoding;

use crate::command::Shell;
use crate::duration;
use crate::generate::Artefact;
use crate::hosts;
use crate::output::{self, Format, Template, When};
use crate::proxy::{Hop, Proxy};
use crate::settings::HostKeyCheck;
use crate::sudo;
use crate::tolerance::Tolerance;

/// What is shown when nothing was asked for.
pub const SHORT_HELP: &str = "\
Usage: pssh [OPTIONS] COMMAND...

  pssh -H 'web1 root@web2:2222' uptime    two hosts
  pssh -h hosts.txt -p 32 df -h /         the hosts of a file, 32 at once
  pssh -w 'web[01-20]' -t 1m ./deploy     a range, a minute for each command
  pssh -H web1 -- 'cd /srv && ls | wc'    one shell line

--help shows all options.
";

/// The order of the help: what somebody in a hurry looks for comes first.
const HELP: &str = "\
{about}

{usage-heading} {usage}

Examples:
  pssh -H 'web1 root@web2:2222' uptime              two hosts
  pssh -h hosts.txt -p 32 -t 1m df -h /             the hosts of a file, 32 at once, a minute for each command
  pssh -h hosts.txt 'cd /srv && ls | wc -l'         one shell line, quoted once for our shell
  pssh -h hosts.txt --host-args v.csv 'deploy %q'   each host with its own value, quoted
  pssh -h hosts.txt -I 'cat > /etc/motd' < motd     standard input, to every host
  pssh -J bastion -h hosts.txt --sudo id            as root, behind a jump host

{all-args}{after-help}";

const AFTER_HELP: &str = "\
Values for each host (--host-args, --host-arg):
  %q  %(name)q  the next value, or the one named so, quoted: one word for the shell, whatever is in it. No quotes round it
  %s  %(name)s  the same as it is: the shell acts on what it finds there
  %d  %(name)d  the same as it is, if it is a whole number
  %%            a percent sign
  %(host)s, %(user)s, %(port)s and %(index)s are known for all hosts, the index from 0.
  Without these options, % is an ordinary character.
  FILE has a row for each host: CSV, TSV (by its name), a JSON array or JSON Lines of values, arrays or objects.
  The first line of CSV is a header if the command takes all values by name, and data otherwise.
  If rows have a \"host\", it says whose row it is; else they stand in the order of the hosts.

Exit status:
  0  every host: exit status 0       3  some host: signal, timeout or cancelled
  1  our own failure                 4  some host: not reached, or lost
  2  usage; nothing was connected to 5  some host: another exit status
  3 beats 4, which beats 5.";

/// The options and the command.
#[derive(Debug, Parser)]
#[command(
    name = "pssh",
    version,
    about = "Runs a command on many hosts over SSH in parallel.",
    override_usage = "pssh [OPTIONS] COMMAND...",
    help_template = HELP,
    after_help = AFTER_HELP,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    infer_long_args = true,
    max_term_width = 110
)]
pub struct Opts {
    /// File with hosts, one `[user@]host[:port] [user] [key=value]...` a line; - is standard input; may be repeated
    #[arg(short = 'h', long = "hosts", value_name = "FILE", help_heading = "Hosts", action = ArgAction::Append,
          allow_hyphen_values = true, value_hint = ValueHint::FilePath)]
    pub hosts: Vec<PathBuf>,

    /// Hosts, separated by blanks: `[user@]host[:port]`, web[1-9] or @group; may be repeated
    #[arg(short = 'H', long = "host", value_name = "HOSTS", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::Hostname)]
    pub host: Vec<String>,

    /// Hosts, separated by commas: ranges, web[1-9], and @groups; ! takes away, & leaves what is in both; may be repeated
    #[arg(short = 'w', long = "nodes", value_name = "LIST", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::Hostname)]
    pub nodes: Vec<String>,

    /// Of all hosts take these: names, ranges, @groups, patterns, 'web*', and regular expressions, '/^db/'; may be repeated
    #[arg(long = "only", value_name = "LIST", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::Hostname)]
    pub only: Vec<String>,

    /// Leave these hosts out, in the format of --only; may be repeated
    #[arg(long = "exclude", value_name = "LIST", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::Hostname)]
    pub exclude: Vec<String>,

    /// Login name where the host's entry has none
    #[arg(short = 'l', long = "user", value_name = "USER", help_heading = "Hosts", value_hint = ValueHint::Username)]
    pub user: Option<String>,

    /// TOML file with a table for each host, `[host."web1"]`, range, `web[1-9]`, or pattern, `*.example.com`; may be repeated
    #[arg(long = "host-config", value_name = "FILE", help_heading = "Hosts", action = ArgAction::Append,
          value_hint = ValueHint::FilePath)]
    pub host_config: Vec<PathBuf>,

    /// How many hosts run at once [default: 10]
    #[arg(short = 'p', long = "par", visible_alias = "pool-size", value_name = "N", help_heading = "Running",
          value_parser = pool_size)]
    pub par: Option<usize>,

    /// Stop a command that takes longer: 90, 1m30s; 0 is never [default: never]
    // As pssh abbreviates it: --times would take these.
    #[arg(short = 't', long = "timeout", aliases = ["ti", "tim", "time"], value_name = "TIME", help_heading = "Running", value_parser = duration::parse)]
    pub timeout: Option<Duration>,

    /// Stop a command that prints nothing for this time; 0 is never [default: never]
    #[arg(long = "channel-timeout", value_name = "TIME", help_heading = "Running", value_parser = duration::parse)]
    pub channel_timeout: Option<Duration>,

    /// Stop everything after this time; 0 is never [default: never]
    #[arg(long = "total-timeout", value_name = "TIME", help_heading = "Running", value_parser = duration::parse)]
    pub total_timeout: Option<Duration>,

    /// Stop everything once N hosts, or N% of them, have failed [default: 1 if only named]
    #[arg(long = "stop-on-errors", value_name = "N", help_heading = "Running", num_args = 0..=1, require_equals = true,
          default_missing_value = "1", value_parser = Tolerance::parse)]
    pub stop_on_errors: Option<Tolerance>,

    /// Send standard input to every command; without it, standard input is not read
    #[arg(short = 'I', long = "send-input", help_heading = "Command")]
    pub send_input: bool,

    /// Run the command by sudo; its password is asked for on the terminal once, when a host first wants it
    #[arg(long = "sudo", help_heading = "Command")]
    pub sudo: bool,

    /// Run the command as this user, by sudo
    #[arg(long = "run-as", value_name = "USER", help_heading = "Command", value_parser = run_as,
          value_hint = ValueHint::Username)]
    pub run_as: Option<String>,

    /// Read sudo's password from a file that nobody else can read
    #[arg(long = "sudo-password-file", value_name = "FILE", help_heading = "Command", value_hint = ValueHint::FilePath)]
    pub sudo_password_file: Option<PathBuf>,

    /// Run this local script, by the interpreter of its first line; the words of the command are its arguments; - is
    /// standard input
    #[arg(long = "script", value_name = "FILE", help_heading = "Command", allow_hyphen_values = true,
          conflicts_with_all = ["shell", "no_shell"], value_hint = ValueHint::FilePath)]
    pub script: Option<PathBuf>,

    /// Rows of values for the hosts, to fill in: %q in the command, or %(name)q by name. - is standard input. See below
    #[arg(long = "host-args", value_name = "FILE", help_heading = "Command", value_hint = ValueHint::FilePath)]
    pub host_args: Option<PathBuf>,

    /// A value for one host, to fill in: HOST=VALUE for %q, HOST:NAME=VALUE for %(NAME)q; may be repeated
    #[arg(long = "host-arg", value_name = "HOST=VALUE", help_heading = "Command", action = ArgAction::Append)]
    pub host_arg: Vec<OsString>,

    /// Run the command by this shell instead of the login shell, such as 'bash -c'
    #[arg(long = "shell", value_name = "SHELL", help_heading = "Command", conflicts_with = "no_shell",
          value_parser = OsStringValueParser::new().try_map(|text| Shell::named(&text)),
          value_hint = ValueHint::CommandString)]
    pub shell: Option<Shell>,

    /// Run the command as if without a shell: its words reach the program as they are, and nothing in them is expanded
    #[arg(long = "no-shell", help_heading = "Command")]
    pub no_shell: bool,

    /// Show the command of each host as it would be sent, connect to nothing and ask for no password
    #[arg(long = "dry-run", help_heading = "Command", conflicts_with = "explain")]
    pub dry_run: bool,

    /// Read this file instead of ~/.ssh/config and /etc/ssh/ssh_config; none is none
    #[arg(short = 'F', long = "config-file", value_name = "FILE", help_heading = "Connection",
          value_hint = ValueHint::FilePath)]
    pub config: Option<OsString>,

    /// Option in the format of ssh_config, such as Compression=yes; may be repeated
    #[arg(short = 'O', long = "option", visible_alias = "ssh-option", value_name = "OPTION", help_heading = "Connection",
          action = ArgAction::Append, allow_hyphen_values = true)]
    pub option: Vec<String>,

    /// Give up connecting, authentication included, after this time [default: 120]
    #[arg(long = "connect-timeout", value_name = "TIME", help_heading = "Connection", value_parser = positive)]
    pub connect_timeout: Option<Duration>,

    /// Attempts to reach a host, in all; a command that was sent is never repeated [default: 3]
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
    #[arg(long = "no-agent", help_heading = "Connection", conflicts_with = "forward_agent")]
    pub no_agent: bool,

    /// Connect to IPv4 addresses only
    #[arg(short = '4', help_heading = "Connection", overrides_with = "ipv6")]
    pub ipv4: bool,

    /// Connect to IPv6 addresses only
    #[arg(short = '6', help_heading = "Connection", overrides_with = "ipv4")]
    pub ipv6: bool,

    /// Compress what is sent and received
    #[arg(short = 'C', long = "compress", help_heading = "Connection")]
    pub compress: bool,

    /// Let the commands use your agent: whoever is root on a host can log in as you meanwhile
    #[arg(long = "forward-agent", help_heading = "Command")]
    pub forward_agent: bool,

    /// Give the commands a terminal; what they write to stderr comes with stdout then
    #[arg(long = "pty", visible_alias = "tty", help_heading = "Command")]
    pub pty: bool,

    /// Set a variable for the commands, NAME alone to its value here; hosts may refuse (AcceptEnv); may be repeated
    #[arg(long = "env", value_name = "NAME[=VALUE]", help_heading = "Command", action = ArgAction::Append,
          allow_hyphen_values = true)]
    pub env: Vec<OsString>,

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

    /// What to do with host keys that are not known [default: strict]
    #[arg(long = "host-key-check", value_name = "MODE", help_heading = "Connection", value_enum)]
    pub host_key_check: Option<HostKeyCheck>,

    /// Look for host keys in this file only; may be repeated
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
    #[arg(long = "proxy-port", value_name = "PORT", help_heading = "Connection", requires = "proxy_host",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub proxy_port: Option<u16>,

    /// Login name on the jump host [default: yours here]
    #[arg(long = "proxy-user", value_name = "USER", help_heading = "Connection", requires = "proxy_host",
          value_parser = proxy_user, value_hint = ValueHint::Username)]
    pub proxy_user: Option<String>,

    /// Private key that is tried first on the jump host, and nowhere else
    #[arg(long = "proxy-identity", value_name = "FILE", help_heading = "Connection", requires = "proxy_host",
          value_hint = ValueHint::FilePath)]
    pub proxy_identity: Option<PathBuf>,

    /// Read the password for the jump host from this file; it gets no other, and nobody else gets this one
    #[arg(long = "proxy-password-file", value_name = "FILE", help_heading = "Connection", requires = "proxy_host",
          value_hint = ValueHint::FilePath)]
    pub proxy_password_file: Option<PathBuf>,

    /// Connections to a jump host, at most, while hosts wait for theirs [default: 8]
    #[arg(long = "proxy-connections", value_name = "N", help_heading = "Connection", value_parser = proxy_connections)]
    pub proxy_connections: Option<usize>,

    /// Talk to each host by this local command; %h, %p and %r are its name, port and user; none is none
    #[arg(long = "proxy-command", value_name = "COMMAND", help_heading = "Connection", value_parser = proxy_command,
          value_hint = ValueHint::CommandString)]
    pub proxy_command: Option<Via>,

    /// How output is shown [default: lines]
    #[arg(long = "format", value_name = "FORMAT", help_heading = "Output", value_enum,
          overrides_with_all = ["print", "inline", "inline_stdout"])]
    pub format: Option<Format>,

    /// Show lines as they come; the default, and the same as --format lines
    #[arg(short = 'P', long = "print", help_heading = "Output", overrides_with_all = ["format", "inline", "inline_stdout"])]
    pub print: bool,

    /// Show the output of each host in one piece when it ends; the same as --format inline
    #[arg(short = 'i', long = "inline", help_heading = "Output", overrides_with_all = ["format", "print"])]
    pub inline: bool,

    /// The same without standard error
    #[arg(long = "inline-stdout", help_heading = "Output", overrides_with_all = ["format", "print"])]
    pub inline_stdout: bool,

    /// Show hosts in the order of the list, with --format inline
    #[arg(long = "sort", help_heading = "Output")]
    pub sort: bool,

    /// What lines start with: text with {label}, {host}, {user}, {port} and {index} [default: '{label}: ']
    #[arg(long = "prefix", value_name = "TEMPLATE", help_heading = "Output", value_parser = Template::parse,
          conflicts_with = "no_prefix", allow_hyphen_values = true)]
    pub prefix: Option<Template>,

    /// Show lines without their host
    #[arg(long = "no-prefix", help_heading = "Output")]
    pub no_prefix: bool,

    /// Pad prefixes, so that what follows them is aligned
    #[arg(long = "align", help_heading = "Output")]
    pub align: bool,

    /// Write standard output into a file for each host in this directory, besides
    #[arg(short = 'o', long = "outdir", value_name = "DIR", help_heading = "Output", value_hint = ValueHint::DirPath)]
    pub outdir: Option<PathBuf>,

    /// Write standard error into a file for each host in this directory, besides
    #[arg(short = 'e', long = "errdir", value_name = "DIR", help_heading = "Output", value_hint = ValueHint::DirPath)]
    pub errdir: Option<PathBuf>,

    /// Add to the files of hosts instead of replacing them
    #[arg(long = "fileappend", help_heading = "Output")]
    pub fileappend: bool,

    /// Show how far the run is on standard error [default: on a terminal]
    #[arg(long = "progress", value_name = "WHEN", help_heading = "Output", value_enum)]
    pub progress: Option<When>,

    /// Colour what is ours [default: on a terminal]; NO_COLOR and CLICOLOR_FORCE are known
    #[arg(long = "color", visible_alias = "colour", value_name = "WHEN", help_heading = "Output", value_enum)]
    pub color: Option<When>,

    /// Let the control sequences of hosts reach a terminal; without it, all but colours are made visible there
    #[arg(long = "raw", help_heading = "Output")]
    pub raw: bool,

    /// Show output that is in this encoding as UTF-8, such as latin1 or sjis [default: bytes as they come]
    #[arg(long = "encoding", value_name = "NAME", help_heading = "Output", value_parser = output::encoding)]
    pub encoding: Option<&'static Encoding>,

    /// How the run is shown.
    #[command(flatten)]
    pub reports: ReportOpts,

    /// Tell what is done for each host
    #[arg(short = 'v', long = "verbose", help_heading = "Output", action = ArgAction::Count)]
    pub verbose: u8,

    /// Show for each host every setting and where it comes from, and connect to nothing
    #[arg(long = "explain", help_heading = "Other")]
    pub explain: bool,

    /// Print the manual page or the completions for a shell
    #[arg(long = "generate", value_name = "WHAT", help_heading = "Other", value_enum)]
    pub generate: Option<Artefact>,

    /// Show this help
    #[arg(long = "help", help_heading = "Other", action = ArgAction::HelpShort)]
    pub help: Option<bool>,

    /// Show the version
    #[arg(short = 'V', long = "version", help_heading = "Other", action = ArgAction::Version)]
    pub version: Option<bool>,

    /// The command; its words are joined by blanks and run by the login shell of each host. Options end at its first word
    #[arg(value_name = "COMMAND", trailing_var_arg = true, value_hint = ValueHint::CommandName)]
    pub command: Vec<OsString>,
}

/// Reads the command line.
///
/// # Errors
/// It is wrong, or asks for help or the version; with a tip that fits, where there is one.
pub fn parse<I, T>(arguments: I) -> Result<Opts, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    Opts::try_parse_from(arguments).map_err(|mut error| {
        // clap's own tip, to put the option after a --, would make it the command.
        error.remove(ContextKind::Suggested);
        let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
        let value = error.get(ContextKind::InvalidValue).map(ToString::to_string).unwrap_or_default();
        if let Some(tip) = tip(error.kind(), &argument, &value) {
            if error.kind() == ErrorKind::UnknownArgument {
                error.remove(ContextKind::SuggestedArg);
            }
            let tip = StyledStr::from(tip.to_owned());
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        }
        error
    })
}

/// What helps somebody who takes an option for that of ssh or of pssh 2.3, or an option for another one.
fn tip(kind: ErrorKind, argument: &str, value: &str) -> Option<&'static str> {
    let option = argument.split(' ').next().unwrap_or_default();
    match (kind, option) {
        (ErrorKind::InvalidValue, "--hosts") => Some("-h takes a hosts file; help is --help"),
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, "--timeout") => {
            Some("-t takes a time, such as 90 or 1m30s; for a terminal there is --pty")
        }
        (ErrorKind::ValueValidation, "--par") => {
            Some("-p takes the number of hosts at once; a port stands after its host: -H web1:2222")
        }
        (ErrorKind::InvalidValue, "--host-key-check") if ["yes", "ask", "no"].contains(&value) => {
            Some("ssh's yes and ask are strict here, and its no is off")
        }
        (ErrorKind::UnknownArgument, "-x" | "-X") => {
            Some("options for ssh have the format of ssh_config here: -O Compression=yes")
        }
        (ErrorKind::UnknownArgument, "-g" | "--host-glob") => Some("--only 'web*' takes hosts by a pattern"),
        (ErrorKind::UnknownArgument, "--password") => {
            Some("anybody can read a command line; -A asks for the password, --password-file FILE reads it")
        }
        _ => None,
    }
}

/// Reads a pool size.
///
/// # Errors
/// It is no number, or 0.
pub fn pool_size(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(0) => Err("at least one host has to run at once".to_owned()),
        Ok(size) => Ok(size),
        Err(_) => Err("a whole number is needed, such as 32".to_owned()),
    }
}

/// What `--jump` or `--proxy-command` says: a proxy, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via(pub Option<Proxy>);

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

fn run_as(text: &str) -> Result<String, String> {
    sudo::check_user(text).map(|()| text.to_owned()).map_err(str::to_owned)
}

/// Reads a number of connections.
///
/// # Errors
/// It is no number, or 0.
pub fn proxy_connections(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(0) => Err("at least one connection is needed".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("a whole number is needed, such as 8".to_owned()),
    }
}

/// Reads a variable that turns something on: set, but not to 0, no, false or off.
///
/// # Errors
/// Never; any other text is a yes.
pub fn truthy(text: &str) -> Result<bool, String> {
    Ok(!["0", "no", "false", "off"].iter().any(|no| text.trim().eq_ignore_ascii_case(no)))
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("it cannot be 0: a host that never answers would never be reported".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Opts::command().debug_assert();
    }

    #[test]
    fn slips_get_a_tip_that_fits() {
        let complaint = |words: &[&str]| parse(words).expect_err("a slip").to_string();
        assert!(complaint(&["pssh", "-h"]).contains("help is --help"));
        let bogus = complaint(&["pssh", "--host-key-chek", "off", "x"]);
        assert!(bogus.contains("'--host-key-check'") && !bogus.contains("-- --"), "{bogus}");
    }

    #[test]
    fn a_password_has_one_source() {
        let sources: [&[&str]; 4] =
            [&["-A"], &["--password-file", "f"], &["--password-fd", "3"], &["--password-command", "c"]];
        for (place, first) in sources.iter().enumerate() {
            assert!(parse([&["pssh"], *first, &["x"]].concat()).is_ok());
            for second in &sources[place + 1..] {
                assert!(parse([&["pssh"], *first, *second, &["x"]].concat()).is_err(), "{first:?} {second:?}");
            }
        }
    }

    #[test]
    fn options_end_at_the_first_word_of_the_command() {
        let opts = Opts::try_parse_from(["pssh", "-Ha b", "-p32", "--time=1m", "ls", "-l", "-p", "--", "x"]);
        let opts = opts.expect("a good command line");
        assert_eq!(opts.host, ["a b"]);
        assert_eq!(opts.par, Some(32));
        assert_eq!(opts.timeout, Some(Duration::from_secs(60)));
        assert_eq!(opts.command, ["ls", "-l", "-p", "--", "x"]);
        let opts =
            Opts::try_parse_from(["pssh", "-H", "a", "--", "-weird"]).expect("a command that looks like an option");
        assert_eq!(opts.command, ["-weird"]);
        assert!(Opts::try_parse_from(["pssh", "--bogus", "-H", "a", "uptime"]).is_err());
        assert!(Opts::try_parse_from(["pssh", "-H", "a", "-p", "0", "uptime"]).is_err());
        let last = Opts::try_parse_from(["pssh", "-p", "1", "-p", "2", "x"]).expect("the last one counts");
        assert_eq!(last.par, Some(2));
    }
}
