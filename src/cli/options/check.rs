//! Options that decide whether a host has succeeded.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueHint};

use crate::plan::check;
use crate::plan::success::Success;

/// Options that decide whether a host has succeeded.
#[derive(Debug, Default, Args)]
pub struct CheckOpts {
    /// Count these ends as success [default: 0]
    ///
    /// LIST has exit statuses and the words lost and signal, such as 0,2 or 0,lost, and is complete: without 0 in it, exit
    /// status 0 is a failure. A host that was not reached, timed out or was stopped is never a success.
    #[arg(long = "success", value_name = "LIST", help_heading = "Rolling runs", value_parser = Success::parse,
          allow_hyphen_values = true)]
    pub success: Option<Success>,

    /// Repeat CMD on each host until it exits with 0
    ///
    /// Once the command has succeeded, the host keeps its place until CMD does, too: pssh runs it on the same connection, or on a
    /// new one if that has ended, as after a reboot. CMD gets no standard input, and its output is not shown; the report of a
    /// failure has its last line. The placeholders of the command, such as %q, also work in it. A try that cannot connect
    /// counts as failed. CMD is the only thing that pssh repeats.
    #[arg(long = "check", value_name = "CMD", help_heading = "Rolling runs", allow_hyphen_values = true,
          value_parser = OsStringValueParser::new().try_map(command), value_hint = ValueHint::CommandString)]
    pub check: Option<OsString>,

    /// Give up the check after TIME [default: 60]
    ///
    /// It is the time of all tries together, from the end of the command. The last try begins shortly before its end.
    #[arg(long = "check-timeout", hide_short_help = true, value_name = "TIME", help_heading = "Rolling runs", requires = "check",
          value_parser = check::timeout)]
    pub check_timeout: Option<Duration>,

    /// Wait TIME between two tries [default: 2]
    #[arg(long = "check-interval", hide_short_help = true, value_name = "TIME", help_heading = "Rolling runs", requires = "check",
          value_parser = check::interval)]
    pub check_interval: Option<Duration>,
}

/// Reads the command of a check.
fn command(text: OsString) -> Result<OsString, String> {
    if text.as_bytes().trim_ascii().is_empty() {
        return Err("the check is empty: is a variable in it not set?".to_owned());
    }
    if text.as_bytes().starts_with(b"-") {
        return Err("a check begins with the name of a program; to see what would be done use --dry-run".to_owned());
    }
    Ok(text)
}
