//! The hosts that a configuration names, for completion and for advice. Nothing here is an error: an unreadable file
//! names no hosts.

use std::path::Path;
use std::sync::Arc;

use super::line::{self, Sort, Words};
use super::parse::{Loader, Rules};
use super::{Local, files};
use crate::system::files::bounded;

/// OpenSSH's READCONF_MAX_DEPTH.
const MAX_DEPTH: usize = 16;
/// The most files that are read: users wait for a completion.
const MOST_FILES: usize = 200;

/// Returns the names of all Host lines of a file and its includes, in order, without patterns. `is_user` distinguishes
/// the user's file from the system's, `home` is the user's home directory.
pub fn host_names(file: &Path, is_user: bool, home: &str) -> Vec<String> {
    let local = Local {
        user: String::new(),
        uid: rustix::process::getuid().as_raw(),
        home: home.to_owned(),
        host_name: String::new(),
        variable: Arc::new(|name| std::env::var(name).ok()),
        home_of: Arc::new(|_| None),
    };
    let mut names = HostNames { local: &local, found: Vec::new(), files: 0 };
    names.add_file(file, Rules { user: is_user, guarded: false, depth: 0 });
    names.found
}

struct HostNames<'a> {
    local: &'a Local,
    found: Vec<String>,
    /// How many files were read.
    files: usize,
}

impl HostNames<'_> {
    fn add_file(&mut self, path: &Path, rules: Rules) {
        self.files += 1;
        if self.files > MOST_FILES || rules.depth > MAX_DEPTH {
            return;
        }
        let text = bounded::open(path).and_then(|file| bounded::read_rest(&file, bounded::SSH_CONFIG));
        for line in String::from_utf8_lossy(&text.unwrap_or_default()).lines() {
            let Ok(Sort::Statement(statement)) = line::sort(line) else { continue };
            let Ok(words) = Words::new(&statement, self.local) else { continue };
            match statement.keyword.as_str() {
                "host" => self.found.extend(words.filter(|word| is_name(word))),
                "include" => words.for_each(|word| self.include(&word, rules)),
                _ => {}
            }
        }
    }

    fn include(&mut self, pattern: &str, rules: Rules) {
        let pattern = Loader::new(self.local).anchored(pattern, rules);
        let paths = pattern.and_then(|pattern| files::glob(&pattern));
        for path in paths.unwrap_or_default() {
            self.add_file(&path, Rules { depth: rules.depth + 1, ..rules });
        }
    }
}

/// Whether a word of a Host line is a name and not a pattern.
fn is_name(word: &str) -> bool {
    !word.is_empty() && !word.contains(['*', '?', '!', '\u{fffd}'])
}
