//! Options of rolling runs: batches, order and pace.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::plan::failure_limit::unreached;
use crate::plan::portion::Portion;
use crate::plan::rolling::{BatchSizes, Confirm, Order, Rate};
use crate::text::duration;

/// Options of rolling runs.
#[derive(Debug, Default, Args)]
pub struct RollingOpts {
    /// Go batch by batch: 1,10%,50%; a failure ends it
    ///
    /// Sizes are numbers of hosts or percentages of all hosts. The last one repeats. A batch starts when every host of the one before
    /// has ended. Unless --stop-on-errors says otherwise, nothing more is started once a host has failed, also in its batch.
    #[arg(long = "batch", value_name = "SIZES", help_heading = "Rolling runs", value_parser = BatchSizes::parse)]
    pub batch: Option<BatchSizes>,

    /// Wait for TIME between batches
    #[arg(long = "pause", value_name = "TIME", help_heading = "Rolling runs", value_parser = duration::parse)]
    pub pause: Option<Duration>,

    /// Ask before the second batch, or before each one
    ///
    /// The question shows how the last batch ended and which hosts are next. It needs a terminal.
    #[arg(long = "confirm", value_name = "WHEN", help_heading = "Rolling runs", num_args = 0..=1, require_equals = true,
          default_missing_value = "first", value_parser = PossibleValuesParser::new(["first", "each"]).map(confirm))]
    pub confirm: Option<Confirm>,

    /// Start hosts in this order: list, reverse, shuffle
    ///
    /// shuffle tells its seed, and shuffle:SEED repeats that order.
    #[arg(long = "order", value_name = "ORDER", help_heading = "Rolling runs", value_parser = Order::parse)]
    pub order: Option<Order>,

    /// Stop the run once N hosts, or N%, were not reached
    ///
    /// These hosts do not count for --stop-on-errors then. With none, they never stop the run.
    #[arg(long = "stop-on-unreached", hide_short_help = true, value_name = "N", help_heading = "Rolling runs", value_parser = unreached)]
    pub stop_on_unreached: Option<Portion>,

    /// Log in to at most N hosts at once
    ///
    /// --par is the number of hosts that run at once.
    #[arg(long = "connect-par", value_name = "N", help_heading = "Rolling runs", value_parser = connect_par)]
    pub connect_par: Option<usize>,

    /// Start at most N hosts in a time: 10/s, 0.5/s, 30/m
    ///
    /// A number without a unit is per second. Another attempt at a host counts as a start.
    #[arg(long = "rate", value_name = "N/s", help_heading = "Rolling runs", value_parser = Rate::parse)]
    pub rate: Option<Rate>,
}

fn confirm(text: String) -> Confirm {
    if text == "each" { Confirm::Each } else { Confirm::First }
}

fn connect_par(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(0) => Err("at least one login must be under way at a time".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a whole number, such as 4".to_owned()),
    }
}
