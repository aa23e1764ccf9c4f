//! One function for each parser of foreign data: the user's files and words, and the hosts' data. cargo-fuzz calls them
//! (`fuzz/`), and so do the unit tests here, with the same seeds. They are not part of the library.
//!
//! None may panic, take long or allocate much on any input; in addition they check properties of every result. An `Err`
//! is the message of the refusal.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use crate::cli::notices::sanitize_line;
use crate::cli::ssh_args::{self, Tool, Word, split};
use crate::cli::user_config;
use crate::command::host_args;
use crate::command::template::Values;
use crate::command::{self, CommandLine, Shell, Wrapping};
use crate::copy::scp::names::{Wanted, decode_name};
use crate::copy::scp::records;
use crate::copy::sftp::client::Client;
use crate::copy::sftp::glob::Pattern;
use crate::copy::sftp::packets::Request;
use crate::hosts::host_config::HostConfig;
use crate::hosts::nodeset::{self, Names};
use crate::hosts::proxy::Proxy;
use crate::hosts::{self, Definitions, Groups, HostSpec, Lists, Origin, Source};
use crate::output::control_sequences;
use crate::ssh;
use crate::ssh::host_keys::known_hosts::KnownHosts;
use crate::ssh_config::{Config, Local, Query};
use crate::text::duration;

mod dialogues;
#[cfg(test)]
mod tests;

pub use dialogues::{scp_download, sftp_download, uploads};

/// The result of a reader: nothing, or the message of its refusal.
pub type Verdict = Result<(), String>;

/// A reader.
pub type Target = fn(&[u8]) -> Verdict;

/// All readers, by their names in `fuzz/`.
pub const TARGETS: [(&str, Target); 19] = [
    ("hosts_file", hosts_file),
    ("nodes", nodes),
    ("words", words),
    ("ssh_config", ssh_config),
    ("ssh_options", ssh_options),
    ("include_pattern", include_pattern),
    ("known_hosts", known_hosts),
    ("host_args", host_args),
    ("config_toml", config_toml),
    ("host_config", host_config),
    ("template", template),
    ("keys", keys),
    ("host_key", host_key),
    ("sftp_replies", sftp_replies),
    ("scp_records", scp_records),
    ("terminal", terminal),
    ("sftp_download", sftp_download),
    ("scp_download", scp_download),
    ("uploads", uploads),
];

/// Most names expanded from a range here: expanding takes only time.
const NAMES: usize = 2000;

/// A hosts file. Writing its hosts (`--failed-to`) and reading them again gives the same.
pub fn hosts_file(text: &[u8]) -> Verdict {
    let file = Path::new("/d/hosts");
    let hosts = hosts::of_text(file, text).map_err(|error| error.to_string())?;
    let hosts = &hosts[..hosts.len().min(NAMES)];
    let lines: Vec<String> = hosts.iter().map(HostSpec::line).collect();
    let again = hosts::of_text(file, lines.join("\n").as_bytes()).expect("lines that we write are good ones");
    assert_eq!(hosts.len(), again.len(), "a line for each host");
    for (host, again) in hosts.iter().zip(&again) {
        assert_eq!((&host.user, &host.name, host.port), (&again.user, &again.name, again.port));
        assert_eq!((&host.arguments, host.line()), (&again.arguments, again.line()));
    }
    Ok(())
}

/// The most hosts of a list to read here.
const MOST_HOSTS: u64 = 100_000;

/// Lists of hosts, one per line: of `-w`, `--only`, `--exclude`, and the names in them.
pub fn nodes(text: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(text) else { return Ok(()) };
    let lists: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let list = |place: usize| lists.get(place..=place).unwrap_or_default();
    for name in &lists {
        if let Ok(names) = Names::parse(name) {
            assert!(names.count() <= nodeset::MOST_NAMES);
            let made: Vec<String> = names.iter().take(NAMES).collect();
            assert!(made.len() == NAMES.min(usize::try_from(names.count()).unwrap_or(usize::MAX)));
            let _ = nodeset::fold(made.iter().map(String::as_str));
            // A list of a million hosts is allowed, but takes too long here.
            if names.count() > MOST_HOSTS {
                return Ok(());
            }
        }
    }
    let group = |name: &str, list: &str| (name.to_owned(), vec![(list.to_owned(), Origin::Text("hosts"))]);
    let groups = [group("a", "n[1-3],@b"), group("b", "x!@a"), group("c", "m[01-12]")].into_iter().collect();
    let groups = Definitions { groups, ..Definitions::default() };
    let lists = Lists { nodes: list(0), strings: list(1), only: list(2), exclude: list(3), ..Lists::default() };
    let (hosts, _) = lists.read(&mut Groups::new(groups)).map_err(|error| error.to_string())?;
    for host in hosts.iter().take(NAMES) {
        hosts::parse_entry(&host.to_string()).expect("a host that we write is one");
    }
    Ok(())
}

/// Short texts of the command line, one per line: hosts, jump hosts, proxy commands, times, shell words.
pub fn words(text: &[u8]) -> Verdict {
    for line in text.split(|byte| *byte == b'\n') {
        let _ = (split::shell_words(OsStr::from_bytes(line)), split::rsync_words(OsStr::from_bytes(line)));
        let _ = Shell::named(OsStr::from_bytes(line));
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if let Ok(parts) = hosts::parse_entry(line) {
            let written = HostSpec::new(parts.clone(), Origin::Text("hosts")).to_string();
            assert_eq!(hosts::parse_entry(&written).as_ref(), Ok(&parts), "{written:?}");
        }
        let _ = (Proxy::jump(line), duration::parse(line), hosts::parse_port(line));
        if let Ok(Some(Proxy::Command(template))) = Proxy::command(line) {
            let _ = template.fill("host", 22, "me");
        }
    }
    Ok(())
}

/// A fake local machine.
fn local() -> Local {
    Local {
        user: "me".to_owned(),
        uid: 1000,
        home: "/home/me".to_owned(),
        host_name: "here".to_owned(),
        variable: Arc::new(|name| (name == "X").then(|| "x".to_owned())),
        home_of: Arc::new(|_| None),
    }
}

/// Whether a configuration would read files of this machine.
fn includes(text: &[u8]) -> bool {
    text.windows(b"include".len()).any(|word| word.eq_ignore_ascii_case(b"include"))
}

/// An ssh_config, and its settings for some hosts.
pub fn ssh_config(text: &[u8]) -> Verdict {
    if includes(text) {
        return Ok(());
    }
    let config = Config::of_text(text, Path::new("config"), local()).map_err(|error| error.to_string())?;
    let _ = config.notes();
    for host in ["a", "web1.example.com", "::1"] {
        let _ = config.look_up(&Query { host, ..Query::default() });
    }
    Ok(())
}

/// Options for ssh, one per line: those of `-O`, and lines of words as in `-x`; the result is applied to a host.
pub fn ssh_options(text: &[u8]) -> Verdict {
    let config = Config::of_text(b"", Path::new("config"), local()).map_err(|error| error.to_string())?;
    let mut refusal = Ok(());
    for line in text.split(|byte| *byte == b'\n') {
        let mut options = Vec::new();
        if line.starts_with(b"-") {
            let Ok(words) = split::shell_words(OsStr::from_bytes(line)) else { continue };
            let words: Vec<Word> = words.into_iter().map(|text| Word { text, option: "-x" }).collect();
            for tool in [Tool::Ssh, Tool::Scp] {
                match ssh_args::understand(tool, "a command", &words) {
                    Ok(args) => {
                        options.extend(args.flags.into_iter().chain(args.options).map(|it| (it.text, it.name)));
                    }
                    Err(error) => refusal = Err(error.to_string()),
                }
            }
        } else if let Ok(text) = std::str::from_utf8(line) {
            options.push((text.to_owned(), "-O".to_owned()));
        }
        match config.options(&options) {
            Ok(options) => drop(config.look_up(&Query { host: "a", options: &options, ..Query::default() })),
            Err(error) => refusal = Err(error.to_string()),
        }
    }
    refusal
}

/// A pattern, and then lines to match: of Include, of `--host-glob`, of a path on hosts.
pub fn include_pattern(text: &[u8]) -> Verdict {
    let mut lines = text.split(|byte| *byte == b'\n');
    let pattern = lines.next().unwrap_or_default();
    let (glob, wanted) = (Pattern::new(pattern), Wanted::new(pattern));
    for name in lines {
        let _ = (glob.matches(name), wanted.fits(name), crate::ssh_config::include_matches(name, pattern));
        if let (Ok(name), Ok(pattern)) = (std::str::from_utf8(name), std::str::from_utf8(pattern)) {
            let _ = crate::text::wildcard::matches_pattern(name, pattern);
        }
    }
    Ok(())
}

/// A known_hosts file, and its lines about some hosts.
pub fn known_hosts(text: &[u8]) -> Verdict {
    const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0 01234567890123456789012345678901";
    let known = KnownHosts::of_text(Path::new("known_hosts"), text);
    for (host, port) in [("a", 22), ("web1.example.com", 2222), ("::1", 22)] {
        let entries = known.lookup(host, port);
        let _ = (entries.check(KEY), entries.key_types());
    }
    // An unusable line is skipped and reported.
    match known.notes().first() {
        Some(note) => Err(note.to_string()),
        None => Ok(()),
    }
}

/// Values for hosts. The first byte selects the format, and how the command uses them.
pub fn host_args(text: &[u8]) -> Verdict {
    let (kind, text) = text.split_first().unwrap_or((&b'0', b""));
    let file = ["rows.csv", "rows.tsv", "rows.json", "rows.jsonl", "rows"][usize::from(kind >> 1) % 5];
    let words = [if kind % 2 == 0 { "echo %q" } else { "echo %(a)q %(host)q" }].map(OsString::from);
    let command = CommandLine::with_places(&words, Wrapping::default()).map_err(|error| error.to_string())?;
    let hosts = hosts::gather(&[], &["web1 root@web2:22 ::1".to_owned()]).map_err(|error| error.to_string())?;
    let options: Vec<OsString> = match kind {
        b'x' => text.split(|byte| *byte == b'\n').map(|line| OsString::from_vec(line.to_owned())).collect(),
        _ => Vec::new(),
    };
    let given = Some((Path::new(file), text)).filter(|_| options.is_empty());
    let names = host_args::ArgumentNames { single: "--host-arg", column: "--host-column" };
    let arguments =
        host_args::of_texts(given, None, &options, &hosts, &command, names).map_err(|error| error.to_string())?;
    assert_eq!(arguments.len(), hosts.len(), "arguments for every host");
    Ok(())
}

/// The user's config.toml, with its groups.
pub fn config_toml(text: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(text) else { return Ok(()) };
    let shown = |bad: Vec<hosts::BadEntry>| hosts::Bad(&bad).to_string();
    let config = user_config::parse(Path::new("config.toml"), text).map_err(shown)?;
    let all: Vec<String> = config.groups.groups.keys().map(|name| format!("@{name}")).collect();
    // Not the user's commands.
    let definitions = Definitions { unnamed: Source::default(), sources: Default::default(), ..config.groups };
    let lists = Lists { nodes: &all, ..Lists::default() };
    lists.read(&mut Groups::new(definitions)).map(drop).map_err(|error| error.to_string())
}

/// A file of `--host-config`.
pub fn host_config(text: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(text) else { return Ok(()) };
    let config = HostConfig::of_text(Path::new("hosts.toml"), text).map_err(|error| error.to_string())?;
    let mut hosts = hosts::gather(&[], &["web1 root@web2:22 ::1".to_owned()]).map_err(|error| error.to_string())?;
    config.apply(&mut hosts);
    Ok(())
}

/// Placeholder values of a command.
struct Given;

impl Values for Given {
    fn place(&self, place: usize) -> Option<&[u8]> {
        (place < 3).then_some(b"a b'c")
    }

    fn named(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name.len() < 3).then_some(Cow::Borrowed(b"7"))
    }
}

/// A command with placeholders, a word on each line; the first line is the shell, if it is one.
pub fn template(text: &[u8]) -> Verdict {
    let mut lines = text.split(|byte| *byte == b'\n');
    let shell = Shell::named(OsStr::from_bytes(lines.next().unwrap_or_default())).unwrap_or_default();
    let words: Vec<OsString> = lines.map(|line| OsString::from_vec(line.to_owned())).collect();
    let _ = command::literal(&words, &Wrapping { shell: shell.clone() });
    let line = CommandLine::with_places(&words, Wrapping { shell }).map_err(|error| error.to_string())?;
    let _ = line.check(&Given);
    line.for_host(&Given).map(drop).map_err(|error| error.to_string())
}

/// Files with keys: private ones, certificates, lists of revoked ones.
pub fn keys(text: &[u8]) -> Verdict {
    let _ = (ssh::fuzzing::user_certificate(text), ssh::fuzzing::revoked_keys(text));
    ssh::fuzzing::private_key(text)
}

/// The key or certificate of a host, and an agent's answers.
pub fn host_key(blob: &[u8]) -> Verdict {
    ssh::fuzzing::agent_answer(blob);
    ssh::fuzzing::host_key(blob)
}

/// An SFTP server's replies to requests of every kind. The first byte is how much is received at once.
pub fn sftp_replies(bytes: &[u8]) -> Verdict {
    let (size, bytes) = bytes.split_first().unwrap_or((&1, b""));
    let mut client = Client::new();
    let requests = [
        Request::Close(b"h"),
        Request::Opendir(b"d"),
        Request::Read { handle: b"h", offset: 0, length: 64 },
        Request::Readdir(b"h"),
        Request::Realpath(b"."),
        Request::Lstat(b"f"),
        Request::Statvfs(b"."),
        Request::Limits,
    ];
    let mut asked = false;
    for piece in bytes.chunks(usize::from(*size).max(1)) {
        client.hear(piece);
        while client.next_reply().map_err(|error| error.to_string())?.is_some() {}
        if client.is_ready() && !asked {
            asked = true;
            requests.iter().for_each(|request| client.request(request, ()));
        }
    }
    Ok(())
}

/// scp's output, a record on each line.
pub fn scp_records(bytes: &[u8]) -> Verdict {
    let mut refusal = Ok(());
    for line in bytes.split(|byte| *byte == b'\n') {
        match records::read(line) {
            Ok(records::Record::Entry { name, .. }) => drop(decode_name(name)),
            Ok(_) => {}
            Err(problem) => refusal = Err(problem.to_owned()),
        }
    }
    refusal
}

/// A host's output on a terminal: only colours pass, and no other control sequences.
pub fn terminal(bytes: &[u8]) -> Verdict {
    let mut shown = Vec::new();
    control_sequences::append(bytes, &mut shown);
    let mut rest = &shown[..];
    while let [byte, after @ ..] = rest {
        match byte {
            b'\n' | b'\t' | b' '..=b'~' => {}
            b'\r' => assert!(after.first() == Some(&b'\n'), "a carriage return covers what stands before it"),
            0x1b => {
                let parameters = after.strip_prefix(b"[").expect("an escape that is no colour");
                let end = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
                assert_eq!(end.map(|end| parameters[end]), Some(b'm'), "a sequence that is no colour");
            }
            0..=0x1f | 0x7f => panic!("a control character"),
            0x80..=0x9f => {}
            _ => {}
        }
        rest = after;
    }
    let text = String::from_utf8_lossy(&shown);
    assert!(text.chars().all(|c| !('\u{80}'..='\u{9f}').contains(&c)), "a C1 control character");
    let clean = sanitize_line(&String::from_utf8_lossy(bytes)).to_string();
    assert!(clean.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "a control character in our own text");
    Ok(())
}
