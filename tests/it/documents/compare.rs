//! Compares what a document shows with what was printed.
//!
//! Lines of different hosts may come in any order, those of one host only in theirs. What differs from run to run is the same for
//! both: see [`PLACEHOLDERS`]. A line `...` in the document stands for any lines.

use std::sync::LazyLock;

use regex_lite::Regex;

/// What differs from run to run, and what it counts as.
const PLACEHOLDERS: [(&str, &str); 13] = [
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    // Addresses of hosts, which are all here.
    (r"\b\d+\.\d+\.\d+\.\d+ port \d+\b", "ADDRESS port PORT"),
    (r"\b\d+\.\d+\.\d+\.\d+:\d+\b", "ADDRESS:PORT"),
    // pssh's line for a host: hosts are numbered in the order in which they end.
    (r"^\[\d+\] \d\d:\d\d:\d\d ", "[N] TIME "),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"\b\d{4}-\d\d-\d\d\b", "DATE"),
    // Durations, rates and sizes.
    (r"\b\d+(\.\d+)? (ms|s|min)\b", "N s"),
    (r"\b\d+(\.\d+)? [kMG]?B/s", "N B/s"),
    (r"\b\d+\.\d+ [kMG]B\b", "N B"),
    (r"\b\d+\.\d+ +\d+\.\d+ +\d+\.\d+ +\d+\.\d+", "N N N N"),
    // What GitHub Actions waits for until it obeys commands again.
    (r"\b[0-9a-f]{32}\b", "TOKEN"),
    (r"\bSHA256:[A-Za-z0-9+/]{43}", "SHA256:FINGERPRINT"),
    // An SSH client's or server's version.
    (r"\bembedded_1\.0\b", "OpenSSH_9.2p1"),
];

/// How lines of the programs begin.
const OWN: [&str; 5] = ["pssh: ", "pscp: ", "pslurp: ", "prsync: ", "pnuke: "];

static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    PLACEHOLDERS.iter().map(|(pattern, word)| (Regex::new(pattern).expect("a pattern"), *word)).collect()
});

/// A line with placeholders in it.
pub(crate) fn generalised(line: &str) -> String {
    let line = line.trim_end().to_owned();
    RULES.iter().fold(line, |line, (pattern, word)| pattern.replace_all(&line, *word).into_owned())
}

/// What was printed, as a document shows it: with an address of a real network.
pub(crate) fn as_shown(printed: &str) -> String {
    let address = Regex::new(r"127\.0\.0\.\d+ port \d+").expect("a pattern");
    address.replace_all(printed, "10.0.0.4 port 22").into_owned()
}

/// The host that a line is about; other lines, such as a hint, belong to the line above.
fn subject<'l>(line: &'l str, before: &'l str) -> &'l str {
    if let Some((_, label)) = line.strip_prefix("[N] TIME [").and_then(|rest| rest.split_once("] ")) {
        return label.split(' ').next().unwrap_or(label);
    }
    let rest = OWN.iter().find_map(|start| line.strip_prefix(start)).unwrap_or(line);
    match rest.split_once(": ") {
        Some((label, _)) if !label.is_empty() && !label.contains(' ') => label,
        // The tally is about all hosts.
        Some((label, _)) if label.ends_with(" hosts") => "",
        _ => before,
    }
}

/// The lines, those of each host together, in their order.
fn by_host(lines: &[String]) -> Vec<&String> {
    let mut before = "";
    let mut with_hosts = Vec::new();
    for line in lines {
        let host = subject(line, before);
        before = host;
        with_hosts.push((host, line));
    }
    // Stable: lines of one host keep their order.
    with_hosts.sort_by_key(|(host, _)| *host);
    with_hosts.into_iter().map(|(_, line)| line).collect()
}

/// Why `printed` is not what `shown` says; `None` if it is.
pub(crate) fn difference(shown: &str, printed: &str) -> Option<String> {
    let shown: Vec<String> = shown.lines().map(generalised).collect();
    let printed: Vec<String> = printed.lines().map(generalised).collect();
    if shown == printed || by_host(&shown) == by_host(&printed) {
        return None;
    }
    let has_gap = shown.iter().any(|line| line == "...");
    let missing = less(shown.iter().filter(|line| *line != "..."), &printed);
    let more = less(printed.iter().filter(|_| !has_gap), &shown);
    if has_gap && missing.is_empty() {
        return None;
    }
    let lines = |mark: &str, lines: &[&String]| lines.iter().map(|line| format!("{mark}{line}\n")).collect::<String>();
    let text = format!("{}{}", lines("- ", &missing), lines("+ ", &more));
    Some(if text.is_empty() { format!("the order of the lines is another:\n{}", printed.join("\n")) } else { text })
}

/// The lines that are not in `taken`, each of which counts once.
fn less<'l>(lines: impl Iterator<Item = &'l String>, taken: &[String]) -> Vec<&'l String> {
    let mut taken: Vec<&String> = taken.iter().collect();
    let is_left = |line: &&String| match taken.iter().position(|other| other == line) {
        Some(place) => {
            taken.swap_remove(place);
            false
        }
        None => true,
    };
    lines.filter(is_left).collect()
}
