//! Options that decide whether a host has succeeded.

use clap::Args;

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
}
