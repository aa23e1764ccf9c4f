//! Columns that seem to name the hosts of rows without being declared so: matched by order, such rows
//! would give hosts the values of others.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Directory, Given, HOST, Row};
use crate::command::as_typed;
use crate::hosts::{HOST_COLUMNS, HostSpec, parse_entry};

/// Names of columns, in any case, that can only mean the hosts of the rows.
const LIKE_HOST: [&str; 9] = [HOST, "hosts", "hostname", "host_name", "name", "fqdn", "ip", "address", "node"];

/// Returns why rows must not be matched by order, if they seem to name their hosts; `option` declares the column.
pub(super) fn wrong_order(
    rows: &[Row],
    hosts: &[HostSpec],
    option: &str,
    is_used: impl Fn(&str) -> bool,
) -> Option<String> {
    let known = Known::new(hosts);
    if let Some(column) = with_hosts(rows, &known, is_used) {
        let word = as_typed(&[column.into()]);
        return Some(format!(
            "the column {column:?} has names of hosts of this run; to match rows by it, use {option} {word} with names as in the \
             list, or call the column \"{HOST}\"; to match rows by their order, remove the column"
        ));
    }
    first_value_is_host(rows, &known).then(|| {
        format!(
            "the first values of the rows are hosts of this run, but not in the order of the list; to match rows by host, add a \
             header such as \"{HOST},version\", and use its names: %(version)q"
        )
    })
}

/// Whether the first of several positional values seems to name the host of a row: those of all rows are the hosts, in another order; or
/// those of all but the first are the hosts before, so that the first row is a header.
fn first_value_is_host(rows: &[Row], known: &Known<'_>) -> bool {
    let is_below_header = |(number, row): (usize, &Row)| {
        first_value(row).is_some_and(|value| match (number.checked_sub(1), known.places(value)) {
            (None, places) => places.is_none(),
            (Some(before), places) => places.is_some_and(|places| places.contains(&before)),
        })
    };
    let is_shifted = || rows.len() > 1 && rows.len() == known.count && rows.iter().enumerate().all(is_below_header);
    known.are_all_in_other_order(rows, first_value) || is_shifted()
}

/// Returns the first of several positional values.
fn first_value(row: &Row) -> Option<&[u8]> {
    match &row.given {
        Given::InOrder(values) if values.len() > 1 => values.first().map(Vec::as_slice),
        _ => None,
    }
}

/// Returns the first column that seems to name the hosts of rows: its name says so and it has a host of this run, or it has all hosts of this run
/// in another order and `is_used` says that the command does not use it. Capitals, blanks and domains make no difference; where
/// each row has its host as the list has it, nothing is wrong.
fn with_hosts<'r>(rows: &'r [Row], known: &Known<'_>, is_used: impl Fn(&str) -> bool) -> Option<&'r str> {
    let columns = rows.iter().find_map(|row| match &row.given {
        Given::Named(named) => Some(named),
        Given::InOrder(_) => None,
    })?;
    columns.iter().map(|(name, _)| &**name).find(|column| {
        let called = column.trim().to_lowercase();
        let may_be_data = !HOST_COLUMNS.contains(&called.as_str()) && is_used(column);
        let is_like_host = LIKE_HOST.contains(&called.as_str());
        is_like_host && known.has_any(rows, column)
            || !may_be_data && known.are_all_in_other_order(rows, |row| row.given.named(column))
    })
}

/// The places of hosts in the list.
struct Known<'a> {
    exact: Directory<'a>,
    folded: HashMap<String, Vec<usize>>,
    count: usize,
}

impl Known<'_> {
    fn new(hosts: &[HostSpec]) -> Known<'_> {
        let mut folded: HashMap<String, Vec<usize>> = HashMap::with_capacity(hosts.len());
        for (number, host) in hosts.iter().enumerate() {
            let name = fold(&host.name);
            let short = short(&name);
            if short.len() < name.len() {
                folded.entry(short.to_owned()).or_default().push(number);
            }
            folded.entry(name).or_default().push(number);
        }
        Known { exact: Directory::new(hosts), folded, count: hosts.len() }
    }

    /// Returns the places of the hosts that the value may mean.
    fn places(&self, value: &[u8]) -> Option<&[usize]> {
        if let Some(places) = self.exact.places(value) {
            return Some(places);
        }
        let value = str::from_utf8(value).ok()?.trim();
        let name = fold(&parse_entry(value).map_or_else(|_| value.to_owned(), |(_, name, _)| name));
        self.folded.get(&name).or_else(|| self.folded.get(short(&name))).map(Vec::as_slice)
    }

    /// Whether any value of a column is a host, and written as in the list or not that of its row.
    fn has_any(&self, rows: &[Row], column: &str) -> bool {
        rows.iter().enumerate().any(|(number, row)| {
            let value = row.given.named(column);
            value.is_some_and(|value| {
                let is_elsewhere = |places: &[usize]| !places.contains(&number);
                self.exact.places(value).is_some() || self.places(value).is_some_and(is_elsewhere)
            })
        })
    }

    /// Whether these values of the rows are the hosts, each once, and not in their order.
    fn are_all_in_other_order(&self, rows: &[Row], value: impl Fn(&Row) -> Option<&[u8]>) -> bool {
        if rows.len() != self.count {
            return false;
        }
        let mut named = vec![false; self.count];
        let mut is_in_order = true;
        for (number, row) in rows.iter().enumerate() {
            let Some(places) = value(row).and_then(|value| self.places(value)) else { return false };
            is_in_order &= places.contains(&number);
            for place in places {
                named[*place] = true;
            }
        }
        !is_in_order && named.iter().all(|named| *named)
    }
}

/// Normalizes a name.
fn fold(name: &str) -> String {
    name.trim().trim_end_matches('.').to_lowercase()
}

/// Returns a name without its domain.
fn short(name: &str) -> &str {
    if name.parse::<IpAddr>().is_ok() { name } else { name.split('.').next().unwrap_or(name) }
}
