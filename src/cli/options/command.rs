//! The options that say what is run on the hosts.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, ValueHint};

use crate::command::Shell;
use crate::command::sudo;

/// As whom it is run.
#[derive(Debug, Default, Args)]
pub struct SudoOpts {
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
}

/// The command, and what it gets.
#[derive(Debug, Default, Args)]
pub struct CommandOpts {
    /// Send standard input to every command; without it, standard input is not read
    #[arg(short = 'I', long = "send-input", help_heading = "Command")]
    pub send_input: bool,

    /// Run this local script, by the interpreter of its first line; the words of the command are its arguments; - is
    /// standard input
    #[arg(long = "script", value_name = "FILE", help_heading = "Command", allow_hyphen_values = true,
          conflicts_with_all = ["shell", "no_shell"], value_hint = ValueHint::FilePath)]
    pub script: Option<PathBuf>,

    /// Rows of values for the hosts, to fill in: %q in the command, or %(name)q by name. - is standard input. See below
    #[arg(long = "host-args", value_name = "FILE", help_heading = "Command", value_hint = ValueHint::FilePath)]
    pub host_args: Option<PathBuf>,

    /// The column of --host-args that says which host each row is for
    #[arg(long = "host-column", value_name = "NAME", help_heading = "Command", requires = "host_args",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub host_column: Option<String>,

    /// A value for one host, to fill in: HOST=VALUE for %q, HOST:NAME=VALUE for %(NAME)q; may be repeated
    #[arg(long = "host-arg", value_name = "HOST=VALUE", help_heading = "Command", action = ArgAction::Append)]
    pub host_arg: Vec<OsString>,

    /// Fill in what is known of every host, without other values: %(host)q, %(user)q, %(port)s and %(index)s in the command
    #[arg(long = "template", help_heading = "Command")]
    pub template: bool,

    /// Run the command by this shell instead of the login shell, such as 'bash -c'
    #[arg(long = "shell", value_name = "SHELL", help_heading = "Command", conflicts_with = "no_shell",
          value_parser = OsStringValueParser::new().try_map(|text| Shell::named(&text)),
          value_hint = ValueHint::CommandString)]
    pub shell: Option<Shell>,

    /// Run the command as if without a shell: its words reach the program as they are, and nothing in them is expanded
    #[arg(long = "no-shell", help_heading = "Command")]
    pub no_shell: bool,

    /// Connect and log in, and run nothing; takes no command
    #[arg(long = "ping", help_heading = "Command", conflicts_with_all = ["script", "shell", "no_shell", "send_input", "host_args",
          "host_arg", "env", "pty",
          "template", "forward_agent", "sudo", "run_as", "sudo_password_file"])]
    pub ping: bool,

    /// Let the commands use your agent: whoever is root on a host can log in as you meanwhile
    #[arg(long = "forward-agent", help_heading = "Command", conflicts_with = "no_agent")]
    pub forward_agent: bool,

    /// Give the commands a terminal; what they write to stderr comes with stdout then
    #[arg(long = "pty", visible_alias = "tty", help_heading = "Command")]
    pub pty: bool,

    /// Set a variable for the commands, NAME alone to its value here, which nobody sees in the list of processes;
    /// hosts may refuse it (AcceptEnv), which is told at the end; may be repeated
    #[arg(long = "env", value_name = "NAME[=VALUE]", help_heading = "Command", action = ArgAction::Append,
          allow_hyphen_values = true)]
    pub env: Vec<OsString>,
}

fn run_as(text: &str) -> Result<String, String> {
    sudo::check_user(text).map(|()| text.to_owned()).map_err(str::to_owned)
}
