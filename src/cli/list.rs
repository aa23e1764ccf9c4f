//! `--list`: the hosts of a run, as text that hosts files and lists read back; and the order of a run.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use anyhow::anyhow;

use super::notices;
use super::options::{ListFormat, Opts};
use super::start::{Ending, Fatal, answer, usage};
use crate::hosts::{self, HostSpec};
use crate::plan::program::Program;
use crate::plan::rolling::Order;

/// Prints the hosts in the order in which they would start.
///
/// # Errors
/// A host cannot be in a list, or the text cannot be written.
pub fn print(program: Program, format: ListFormat, order: Order, hosts: &[HostSpec]) -> Result<Ending, Fatal> {
    let lines = |line: fn(&HostSpec) -> String| {
        tell_order(program, order);
        order.of(hosts.len()).into_iter().map(|place| line(&hosts[place]) + "\n").collect()
    };
    let text: String = match format {
        ListFormat::Lines => lines(HostSpec::entry_line),
        ListFormat::Full => lines(HostSpec::line),
        ListFormat::Folded if hosts.is_empty() => String::new(),
        ListFormat::Folded => hosts::folded(hosts).map(|list| list + "\n").map_err(|host| {
            let entry = host.to_string();
            usage(anyhow!(
                "{}: {entry:?} cannot be in a list of -w; --list prints it on a line of its own",
                host.origin
            ))
        })?,
    };
    // A program reads the names as they are.
    let is_seen = io::stdout().is_terminal();
    answer(&if is_seen { text.lines().map(notices::sanitize_line).collect() } else { text })
}

/// Refuses the format of `--list` as a word of its own: `--list folded`.
///
/// # Errors
/// It is one.
pub fn check(opts: &Opts) -> Result<(), Fatal> {
    let is_format = |word: &&OsString| ["lines", "full", "folded"].iter().any(|format| word == format);
    let word = opts.words.first().filter(|_| opts.other.list.is_some() && !opts.are_marked);
    match word.filter(is_format) {
        Some(format) => Err(usage(anyhow!("the format of --list follows =: --list={}", format.display()))),
        None => Ok(()),
    }
}

/// Tells the seed of a random order.
pub fn tell_order(program: Program, order: Order) {
    if let Order::Shuffle(_) = order {
        notices::complain(program, &format!("order {order}; give this to --order to repeat it"));
    }
}
