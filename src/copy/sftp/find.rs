//! Resolves remote paths: home directories and wildcards. A state machine next to the copy's own; both share the
//! connection.

use std::collections::{HashMap, HashSet, VecDeque};

use super::glob::{Pattern, is_special, unescape};
use super::packets::{Reply, Request, Status};
use crate::events::remedy::Remedy;

/// Requests without a reply at once.
const ASKED: usize = 32;
/// Bytes of found and pending paths: a limit on memory, not on files.
const MEMORY: usize = 16 << 20;
/// Approximate overhead of a path in bytes.
const PER_PATH: usize = 64;
/// Entries of one directory that are matched, before its list counts as endless.
const ENTRIES: u64 = 1 << 22;

/// A remote path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as sent to the server.
    pub path: Vec<u8>,
    /// The name of the copy; `None` where the path names no entry of a directory (`/`, `.`, `..`, `~`).
    pub name: Option<Vec<u8>>,
}

/// A path of the command line without a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The path as given.
    pub path: Vec<u8>,
    /// The reason.
    pub reason: String,
    /// The remedy, if known.
    pub hint: Option<Remedy>,
}

/// The purpose of a request.
#[derive(Debug)]
pub enum Tag {
    /// To resolve a home directory.
    Home { remote: usize },
    /// To check whether a file exists with the name of the pattern.
    Literal { remote: usize, by_stat: bool },
    /// To check whether the result of a pattern with a plain last component exists.
    Exists { remote: usize, path: Vec<u8>, by_stat: bool },
    /// To open a directory.
    Open(Looking),
    /// To check whether something unreadable is a directory, with the error.
    Kind { remote: usize, status: Status },
    /// To list its entries.
    Entries(u64),
    /// To close it.
    Closed,
}

/// A directory whose entries are matched against a component of a pattern.
#[derive(Debug)]
pub struct Looking {
    remote: usize,
    prefix: Vec<u8>,
    component: usize,
}

/// The next request.
#[derive(Debug)]
pub enum FindStep {
    /// See [`Request::ExpandPath`].
    ExpandPath(Vec<u8>, Tag),
    /// See [`Request::Lstat`].
    Lstat(Vec<u8>, Tag),
    /// See [`Request::Stat`].
    Stat(Vec<u8>, Tag),
    /// See [`Request::Opendir`].
    Opendir(Vec<u8>, Tag),
    /// See [`Request::Readdir`].
    Readdir(Vec<u8>, Tag),
    /// See [`Request::Close`].
    Close(Vec<u8>, Tag),
}

impl FindStep {
    /// Returns the request and its tag.
    pub fn into_request<T>(self, make: impl FnOnce(&Request<'_>, Tag) -> T) -> T {
        match self {
            FindStep::ExpandPath(path, tag) => make(&Request::ExpandPath(&path), tag),
            FindStep::Lstat(path, tag) => make(&Request::Lstat(&path), tag),
            FindStep::Stat(path, tag) => make(&Request::Stat(&path), tag),
            FindStep::Opendir(path, tag) => make(&Request::Opendir(&path), tag),
            FindStep::Readdir(handle, tag) => make(&Request::Readdir(&handle), tag),
            FindStep::Close(handle, tag) => make(&Request::Close(&handle), tag),
        }
    }
}

/// One path of the command line.
#[derive(Debug, Default)]
struct Remote {
    given: Vec<u8>,
    /// The home directory, with a slash at its end; empty if the path has none.
    home: Vec<u8>,
    /// The rest of the path.
    rest: Vec<u8>,
    /// The components of `rest`, if it is a pattern.
    components: Vec<Vec<u8>>,
    found: Vec<Vec<u8>>,
    /// Why nothing was found, other than that nothing exists.
    problem: Option<String>,
}

#[derive(Debug)]
struct Listing {
    looking: Looking,
    pattern: Pattern,
    handle: Vec<u8>,
    entries: u64,
}

/// The search. The caller carries its requests.
#[derive(Debug, Default)]
pub struct Finding {
    remotes: Vec<Remote>,
    /// Pending requests.
    to_ask: VecDeque<FindStep>,
    /// Requests without a reply, and their limit. Each may have a directory open.
    asked: usize,
    most_asked: usize,
    listings: HashMap<u64, Listing>,
    next_listing: u64,
    memory: usize,
    missing: Vec<Missing>,
}

impl Finding {
    /// Starts a search for `remotes`. `knows_homes`: the server has the extension that expands `~`.
    pub fn new(remotes: &[Vec<u8>], knows_homes: bool) -> Finding {
        let mut finding = Finding { most_asked: ASKED, ..Finding::default() };
        for (remote, given) in remotes.iter().enumerate() {
            let (home, rest) = match given.strip_prefix(b"~") {
                Some(_) => given.split_at(given.iter().position(|byte| *byte == b'/').unwrap_or(given.len())),
                None => (&b""[..], given.as_slice()),
            };
            let rest = if home.is_empty() { rest } else { rest.strip_prefix(b"/").unwrap_or(rest) };
            finding.remotes.push(Remote { given: given.clone(), rest: rest.to_vec(), ..Remote::default() });
            match home {
                b"" => finding.begin(remote),
                home if knows_homes => {
                    finding.to_ask.push_back(FindStep::ExpandPath(unescape(home), Tag::Home { remote }));
                }
                // The directory where a session starts.
                b"~" => finding.begin(remote),
                _ => {
                    let reason = "the host does not report this home directory".to_owned();
                    finding.remotes[remote].problem = Some(reason);
                }
            }
        }
        finding
    }

    /// Limits the open directories to what the server allows.
    pub fn limit(&mut self, handles: usize) {
        self.most_asked = ASKED.min(handles).max(1);
    }

    /// Returns the next request, if any.
    pub fn ask(&mut self) -> Option<FindStep> {
        if self.asked >= self.most_asked {
            return None;
        }
        let ask = self.to_ask.pop_front()?;
        self.asked += 1;
        Some(ask)
    }

    /// Whether the search is complete.
    pub fn is_over(&self) -> bool {
        self.asked == 0 && self.to_ask.is_empty()
    }

    /// Returns what was found, in the order of the command line and by name for each pattern, and what was missing.
    pub fn into_found(mut self) -> (Vec<Source>, Vec<Missing>) {
        let mut sources = Vec::new();
        for remote in self.remotes {
            if remote.found.is_empty() {
                if self.missing.iter().all(|missing| missing.path != remote.given) {
                    let reason = remote.problem.unwrap_or_else(|| "No such file or directory".to_owned());
                    self.missing.push(Missing { path: remote.given, reason, hint: None });
                }
                continue;
            }
            let (mut found, is_home) = (remote.found, remote.given.starts_with(b"~") && remote.rest.is_empty());
            found.sort();
            // Two ways to the same path.
            found.dedup();
            sources.extend(found.into_iter().map(|path| {
                let name = if is_home { None } else { base_name(&path).map(<[u8]>::to_vec) };
                Source { path, name }
            }));
        }
        (sources, self.missing)
    }

    /// Handles a reply to a request of [`Finding::ask`].
    pub fn hear(&mut self, tag: Tag, reply: Reply) {
        self.asked = self.asked.saturating_sub(1);
        match tag {
            Tag::Home { remote } => match reply {
                Reply::Path(home) => self.at_home(remote, home),
                reply => self.problem(remote, reply.reason()),
            },
            Tag::Literal { remote, by_stat } => match reply {
                Reply::Status(status) if !by_stat && has_no_lstat(&status) => {
                    let path = self.literal(remote);
                    self.to_ask.push_front(FindStep::Stat(path, Tag::Literal { remote, by_stat: true }));
                }
                Reply::Attributes(_) => self.found(remote, self.literal(remote)),
                _ => self.begin_pattern(remote),
            },
            Tag::Exists { remote, path, by_stat } => match reply {
                Reply::Status(status) if !by_stat && has_no_lstat(&status) => {
                    self.to_ask.push_front(FindStep::Stat(path.clone(), Tag::Exists { remote, path, by_stat: true }));
                }
                reply => {
                    self.release(path.len());
                    match reply {
                        Reply::Attributes(_) => self.found(remote, path),
                        reply => self.not_there(remote, &reply),
                    }
                }
            },
            Tag::Open(looking) => {
                self.release(looking.prefix.len());
                self.opened(looking, reply);
            }
            Tag::Kind { remote, status } => match reply {
                Reply::Attributes(attributes) if attributes.mode.is_some() && !attributes.is_directory() => {}
                Reply::Status(Status { code: Status::NO_SUCH_FILE, .. }) => {}
                _ => self.miss(remote, &status.reason()),
            },
            Tag::Entries(listing) => match reply {
                Reply::Names(names) => self.compare(listing, names),
                reply => self.listed(listing, &reply),
            },
            Tag::Closed => {}
        }
    }

    /// Continues with the resolved home directory of a path.
    fn at_home(&mut self, remote: usize, mut home: Vec<u8>) {
        if home.last() != Some(&b'/') && !self.remotes[remote].rest.is_empty() {
            home.push(b'/');
        }
        self.remotes[remote].home = home;
        self.begin(remote);
    }

    /// Continues with an opened directory, or one that failed to open.
    fn opened(&mut self, looking: Looking, reply: Reply) {
        match reply {
            Reply::Handle(handle) => {
                let pattern = Pattern::new(&self.remotes[looking.remote].components[looking.component]);
                let listing = self.next_listing;
                self.next_listing += 1;
                self.to_ask.push_front(FindStep::Readdir(handle.clone(), Tag::Entries(listing)));
                self.listings.insert(listing, Listing { looking, pattern, handle, entries: 0 });
            }
            Reply::Status(status) if status.code == Status::FAILURE => {
                // Many servers answer this for a non-directory, which is not an error, and for all errors.
                let end = looking.prefix.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
                match &looking.prefix[..end] {
                    b"" => self.miss(looking.remote, &status.reason()),
                    path => {
                        let tag = Tag::Kind { remote: looking.remote, status };
                        self.to_ask.push_front(FindStep::Stat(path.to_vec(), tag));
                    }
                }
            }
            reply => self.not_there(looking.remote, &reply),
        }
    }

    /// Handles the end of a directory.
    fn listed(&mut self, listing: u64, reply: &Reply) {
        let Some(listing) = self.listings.remove(&listing) else { return };
        if !matches!(reply, Reply::Status(Status { code: Status::EOF, .. })) {
            // Unread entries may have matched.
            self.miss(listing.looking.remote, &reply.reason());
        }
        self.to_ask.push_front(FindStep::Close(listing.handle, Tag::Closed));
    }

    /// Starts a path whose home directory is known.
    fn begin(&mut self, remote: usize) {
        if is_special(&self.remotes[remote].rest) {
            let path = self.literal(remote);
            return self.to_ask.push_back(FindStep::Lstat(path, Tag::Literal { remote, by_stat: false }));
        }
        // The copy finds out whether it exists.
        let path = self.literal(remote);
        self.found(remote, path);
    }

    /// Returns the path if it contains no wildcard.
    fn literal(&self, remote: usize) -> Vec<u8> {
        let Remote { home, rest, .. } = &self.remotes[remote];
        match [home.as_slice(), rest].concat() {
            path if path.is_empty() => b".".to_vec(),
            path => path,
        }
    }

    fn begin_pattern(&mut self, remote: usize) {
        let Remote { home, rest, components, .. } = &mut self.remotes[remote];
        let relative = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
        let prefix = [home.as_slice(), &rest[..relative]].concat();
        *components = rest[relative..].split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        self.advance(remote, prefix, 0);
    }

    /// Continues below `prefix`, which ends in a slash or is empty, with a component and those after it.
    fn advance(&mut self, remote: usize, mut prefix: Vec<u8>, mut component: usize) {
        let components = &self.remotes[remote].components;
        while let Some(text) = components.get(component) {
            if Pattern::new(text).is_wild() {
                let directory = if prefix.is_empty() { b".".to_vec() } else { prefix.clone() };
                if self.charge(remote, prefix.len()) {
                    let looking = Looking { remote, prefix, component };
                    self.to_ask.push_back(FindStep::Opendir(directory, Tag::Open(looking)));
                }
                return;
            }
            prefix.extend_from_slice(&unescape(text));
            component += 1;
            if component < components.len() {
                prefix.push(b'/');
            }
        }
        // The last component was a plain one: the file may not exist.
        if self.charge(remote, prefix.len()) {
            let tag = Tag::Exists { remote, path: prefix.clone(), by_stat: false };
            self.to_ask.push_back(FindStep::Lstat(prefix, tag));
        }
    }

    fn compare(&mut self, listing: u64, names: Vec<super::packets::Name>) {
        let Some(Listing { looking, pattern, handle, entries }) = self.listings.get_mut(&listing) else { return };
        *entries += names.len() as u64;
        let is_empty = names.is_empty();
        let (remote, component) = (looking.remote, looking.component + 1);
        let is_last = component == self.remotes[remote].components.len();
        let (matched, handle, endless) = {
            let matching = names.into_iter().map(|entry| entry.name).filter(|name| {
                let is_name =
                    !matches!(name.as_slice(), b"" | b"." | b"..") && !name.iter().any(|byte| b"/\0".contains(byte));
                is_name && pattern.matches(name)
            });
            let matched: HashSet<Vec<u8>> = matching.map(|name| [looking.prefix.as_slice(), &name].concat()).collect();
            (matched, handle.clone(), is_empty || *entries > ENTRIES)
        };
        for mut path in matched {
            if is_last {
                self.found(remote, path);
            } else {
                path.push(b'/');
                self.advance(remote, path, component);
            }
        }
        let is_full = self.memory > MEMORY;
        if endless || is_full {
            if endless {
                self.miss(remote, "the host sends an endless list of a directory");
            } else {
                // The last one still had room; later ones have none.
                self.miss_rest(remote);
            }
            self.listings.remove(&listing);
            self.to_ask.push_front(FindStep::Close(handle, Tag::Closed));
        } else {
            self.to_ask.push_front(FindStep::Readdir(handle, Tag::Entries(listing)));
        }
    }

    fn found(&mut self, remote: usize, path: Vec<u8>) {
        if self.charge(remote, path.len()) {
            self.remotes[remote].found.push(path);
        }
    }

    /// Counts a path of this many bytes; returns whether there is room for it.
    fn charge(&mut self, remote: usize, bytes: usize) -> bool {
        if self.memory > MEMORY {
            self.miss_rest(remote);
            return false;
        }
        self.memory += bytes + PER_PATH;
        true
    }

    /// Subtracts a path of this many bytes.
    fn release(&mut self, bytes: usize) {
        self.memory = self.memory.saturating_sub(bytes + PER_PATH);
    }

    /// Reports that some matches of a path are missing.
    fn miss(&mut self, remote: usize, reason: &str) {
        self.add_missing(remote, reason, None);
    }

    /// Reports more matches than memory allows.
    fn miss_rest(&mut self, remote: usize) {
        let reason = "too many files match";
        self.add_missing(remote, reason, Some(Remedy::CopyWholeDirectory));
    }

    fn add_missing(&mut self, remote: usize, reason: &str, hint: Option<Remedy>) {
        let path = &self.remotes[remote].given;
        if self.missing.iter().all(|missing| missing.path != *path) {
            self.missing.push(Missing { path: path.clone(), reason: reason.to_owned(), hint });
        }
    }

    /// Handles a path from a pattern that fails: a missing one is not an error; one that may not be read is reported if
    /// nothing else matches, as in a shell; if the host cannot tell, matches may be missing. OpenSSH answers "no such
    /// file" when a file is listed.
    fn not_there(&mut self, remote: usize, reply: &Reply) {
        match reply {
            Reply::Status(Status { code: Status::NO_SUCH_FILE, .. }) => {}
            Reply::Status(Status { code: Status::PERMISSION_DENIED, .. }) => self.problem(remote, reply.reason()),
            reply => self.miss(remote, &reply.reason()),
        }
    }

    fn problem(&mut self, remote: usize, reason: String) {
        self.remotes[remote].problem.get_or_insert(reason);
    }
}

/// Whether a refusal may mean that LSTAT is missing: not every server has it, or says so.
fn has_no_lstat(status: &Status) -> bool {
    status.code != Status::NO_SUCH_FILE
}

/// Returns the last component of a path, if it names an entry of a directory.
pub fn base_name(path: &[u8]) -> Option<&[u8]> {
    let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
    let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    Some(&path[start..end]).filter(|name| !matches!(*name, b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_names() {
        for (path, name) in [
            ("a", Some("a")),
            ("/a/b", Some("b")),
            ("a/b//", Some("b")),
            ("/", None),
            ("", None),
            (".", None),
            ("a/.", None),
            ("a/../", None),
            ("...", Some("...")),
        ] {
            assert_eq!(base_name(path.as_bytes()), name.map(str::as_bytes), "{path}");
        }
    }
}
