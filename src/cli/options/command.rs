//! Options of the command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, ValueHint};

use crate::command::Shell;
use crate::command::sudo;

/// Options of sudo.
#[derive(Debug, Default, Args)]
pub struct SudoOpts {
    /// Run the command with sudo
    ///
    /// The password is asked for on the terminal once, when a host first wants it.
    #[arg(long = "sudo", help_heading = "Command")]
    pub sudo: bool,

    /// Run the command as USER with sudo
    #[arg(long = "run-as", value_name = "USER", help_heading = "Command", value_parser = run_as,
          value_hint = ValueHint::Username)]
    pub run_as: Option<String>,

    /// Read sudo's password from a file that others cannot read
    #[arg(long = "sudo-password-file", value_name = "FILE", help_heading = "Passwords", value_hint = ValueHint::FilePath)]
    pub sudo_password_file: Option<PathBuf>,
}

/// Options of the command.
#[derive(Debug, Default, Args)]
pub struct CommandOpts {
    /// Send standard input to every command
    ///
    /// Without it, standard input is not read.
    #[arg(short = 'I', long = "send-input", help_heading = "Command")]
    pub send_input: bool,

    /// Run this local script; COMMAND is its arguments
    ///
    /// The interpreter of its first line runs it, with the words of the command as arguments. - reads the script from
    /// standard input.
    #[arg(long = "script", value_name = "FILE", help_heading = "Command", allow_hyphen_values = true,
          conflicts_with_all = ["shell", "no_shell"], value_hint = ValueHint::FilePath)]
    pub script: Option<PathBuf>,

    /// Read values for %q in the command from FILE
    ///
    /// FILE has a row of values for each host. They replace %q in the command, or %(name)q by name. - is standard input.
    /// See VALUES FOR EACH HOST.
    #[arg(long = "host-args", value_name = "FILE", help_heading = "Command", value_hint = ValueHint::FilePath)]
    pub host_args: Option<PathBuf>,

    /// Match rows of --host-args to hosts by this column
    ///
    /// [default: host, if the rows have it]
    #[arg(long = "host-column", hide_short_help = true, value_name = "NAME", help_heading = "Command", requires = "host_args",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub host_column: Option<String>,

    /// Give one host a value for %q in the command
    ///
    /// HOST=VALUE replaces %q, and HOST:NAME=VALUE replaces %(NAME)q. May be repeated.
    #[arg(long = "host-arg", value_name = "HOST=VALUE", help_heading = "Command", action = ArgAction::Append)]
    pub host_arg: Vec<OsString>,

    /// Fill in %(host)q, %(user)q, %(port)s, %(index)s
    ///
    /// These are known for every host and need no other values.
    #[arg(long = "template", help_heading = "Command")]
    pub template: bool,

    /// Run the command with SHELL, such as 'bash -c'
    ///
    /// It replaces the login shell.
    #[arg(long = "shell", value_name = "SHELL", help_heading = "Command", conflicts_with = "no_shell",
          value_parser = OsStringValueParser::new().try_map(|text| Shell::named(&text)),
          value_hint = ValueHint::CommandString)]
    pub shell: Option<Shell>,

    /// Pass the words to the program and expand nothing
    ///
    /// The command runs as if without a shell: its words reach the program as they are.
    #[arg(long = "no-shell", help_heading = "Command")]
    pub no_shell: bool,

    /// Connect and log in, but run nothing
    ///
    /// It takes no command.
    #[arg(long = "ping", help_heading = "Command", conflicts_with_all = ["script", "shell", "no_shell", "send_input", "host_args",
          "host_arg", "env", "pty",
          "template", "forward_agent", "sudo", "run_as", "sudo_password_file", "success", "check"])]
    pub ping: bool,

    /// Let commands use your agent; root there can, too
    ///
    /// While the command runs, root on a host can log in elsewhere as you.
    #[arg(long = "forward-agent", help_heading = "Command", conflicts_with = "no_agent")]
    pub forward_agent: bool,

    /// Give commands a terminal
    ///
    /// What they write to stderr then comes with stdout.
    #[arg(long = "pty", visible_alias = "tty", help_heading = "Command")]
    pub pty: bool,

    /// Set a variable; NAME alone copies the local value
    ///
    /// NAME alone keeps the value out of the process list. If hosts refuse a variable (AcceptEnv), the end of the run says
    /// so. May be repeated.
    #[arg(long = "env", value_name = "NAME[=VALUE]", help_heading = "Command", action = ArgAction::Append,
          allow_hyphen_values = true)]
    pub env: Vec<OsString>,
}

fn run_as(text: &str) -> Result<String, String> {
    sudo::check_user(text).map(|()| text.to_owned()).map_err(str::to_owned)
}
