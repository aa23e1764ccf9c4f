//! Words of the command line that look like misplaced hosts, and the command line that was probably meant.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Access;

use super::advice::{is_like_group, option_for};
use super::known_names::{NamingFiles, shown};
use super::options::Opts;
use crate::command::as_typed;
use crate::hosts::{HostSpec, Likeness, differ_in_digits, likeness};
use crate::plan::program::Program;
use crate::plan::settings::Environment;

/// Returns whether no option names hosts.
pub fn names_no_hosts(opts: &Opts) -> bool {
    opts.hosts.hosts.is_empty() && opts.hosts.host.is_empty() && opts.hosts.nodes.is_empty()
}

/// Returns the message for -g without hosts files.
pub fn idle_glob(opts: &Opts) -> Option<String> {
    let glob = opts.hosts.host_glob.as_ref().filter(|_| opts.hosts.hosts.is_empty())?;
    let group = if is_like_group(glob) { format!(", and for a group use -w @{glob}") } else { String::new() };
    Some(format!(
        "-g {glob} has no effect: it chooses among the hosts of files (-h); --only chooses among all hosts{group}"
    ))
}

/// Returns the message if no option names hosts.
pub fn no_hosts(opts: &Opts, environment: &Environment<'_>) -> String {
    if let Some(glob) = &opts.hosts.host_glob {
        return format!(
            "there are no hosts: -g {glob} chooses among the hosts of files (-h FILE); for a group use -w @{glob}"
        );
    }
    let meant = match opts.program {
        Program::Pssh | Program::Pnuke => command_line(opts, environment),
        Program::Pscp | Program::Pslurp | Program::Prsync => copy(opts),
    };
    match meant {
        Some(meant) => format!("there are no hosts; did you mean: {}", as_typed(&meant)),
        None => "there are no hosts: name them with -H 'HOST HOST', -w LIST or -h FILE".to_owned(),
    }
}

/// Rewrites `pssh web1 uptime` with an option for the hosts.
fn command_line(opts: &Opts, environment: &Environment<'_>) -> Option<Vec<OsString>> {
    let words: Vec<&str> = opts.words.iter().map_while(|word| word.to_str()).filter(|_| !opts.are_marked).collect();
    match likeness(words.first()?) {
        Likeness::Hosts => {}
        Likeness::Name if words.len() > 1 && !is_program(words[0], environment) => {}
        Likeness::Name | Likeness::Other => return None,
    }
    let is_next = |pair: &&[&str]| likeness(pair[1]) == Likeness::Hosts || differ_in_digits(pair[0], pair[1]);
    let count = 1 + words.windows(2).take_while(is_next).count();
    let (hosts, rest) = (&words[..count], &opts.words[count..]);
    let mut line = beginning(opts);
    line.extend(match hosts.iter().find(|host| option_for(host) == "-w") {
        Some(_) => ["-w".into(), hosts.join(",").into()],
        None => ["-H".into(), hosts.join(" ").into()],
    });
    line.extend_from_slice(rest);
    if rest.is_empty() && opts.other.list.is_none() {
        line.push(if opts.program == Program::Pnuke { "PATTERN".into() } else { "COMMAND".into() });
    }
    Some(line)
}

/// Returns the program and its options as given, without options if they may have secrets.
fn beginning(opts: &Opts) -> Vec<OsString> {
    const WITH_SECRETS: [&[u8]; 3] = [b"--host-arg", b"--env", b"--password"];
    let has_secrets = opts.before.iter().any(|word| WITH_SECRETS.iter().any(|name| word.as_bytes().starts_with(name)));
    let options = opts.before.iter().filter(|word| !has_secrets && *word != "--").cloned();
    std::iter::once(opts.program.name().into()).chain(options).collect()
}

/// Rewrites `pscp f web1:/tmp` with an option for the host.
fn copy(opts: &Opts) -> Option<Vec<OsString>> {
    let (last, first) = opts.words.split_last()?;
    let remote: Vec<Option<(&str, &str)>> = first.iter().map(|word| remote_path(word.to_str()?)).collect();
    let mut line = beginning(opts);
    if let Some((host, path)) = last.to_str().and_then(remote_path) {
        if remote.iter().any(Option::is_some) || first.is_empty() || opts.program == Program::Pslurp {
            return None;
        }
        line.extend([option_for(host), host].map(OsString::from));
        line.extend_from_slice(first);
        line.push(path.into());
        return Some(line);
    }
    let remote: Vec<(&str, &str)> = remote.into_iter().collect::<Option<_>>()?;
    let (host, path) = *remote.first()?;
    if remote.iter().any(|(other, _)| *other != host) || remote.len() > 1 && opts.program != Program::Pscp {
        return None;
    }
    line.extend([option_for(host), host].map(OsString::from));
    if opts.program == Program::Pslurp {
        let name = path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("NAME");
        line.extend(["-L".into(), last.clone(), path.into(), name.into()]);
    } else {
        line.push("--download".into());
        line.extend(remote.iter().map(|(_, path)| OsString::from(path)));
        line.push(last.clone());
    }
    Some(line)
}

/// Splits a word at the colon behind a host, which may be in brackets.
pub(super) fn split_at_host(word: &str) -> Option<(&str, &str)> {
    let end = match word.find("]:") {
        Some(bracket) => bracket + 1,
        None => word.find(':')?,
    };
    Some((&word[..end], &word[end + 1..]))
}

/// Splits `[user@]host:path`, like scp(1).
fn remote_path(word: &str) -> Option<(&str, &str)> {
    let (host, path) = split_at_host(word)?;
    let is_host = !host.contains('/') && likeness(host) != Likeness::Other;
    is_host.then_some((host, if path.is_empty() { "." } else { path }))
}

/// Checks the first word of a command, and returns a message if it may be a host.
///
/// # Errors
/// The word can only be a list of hosts, which would run as a command while those hosts are silently left out.
pub fn check_command(opts: &Opts, hosts: &[HostSpec], environment: &Environment<'_>) -> Result<Option<String>, String> {
    let is_command = opts.program == Program::Pssh && opts.command.script.is_none() && !opts.are_marked;
    let Some(word) = opts.words.first().and_then(|word| word.to_str()).filter(|_| is_command) else { return Ok(None) };
    let typed = as_typed(&[word.into()]);
    match likeness(word) {
        Likeness::Hosts => Err(format!(
            "the command begins with {word:?}, which looks like hosts: -w {typed} runs on them, -- {typed} runs it as a command"
        )),
        Likeness::Name if !is_program(word, environment) => {
            let what = known_as_host(word, hosts, environment);
            Ok(what.map(|what| {
                format!("{typed} runs as a command, but {what}: to run on it use -w {typed}, to run the command use -- {typed}")
            }))
        }
        Likeness::Name | Likeness::Other => Ok(None),
    }
}

/// Options that are easily added to a command line at its end, where they belong to the command and the run is a real one.
const OFTEN_LATE: [&str; 4] = ["--dry-run", "--confirm", "--list", "--explain"];

/// Returns the message about options of pssh at the end of the command.
pub fn late_options(opts: &Opts) -> Option<String> {
    if opts.program != Program::Pssh || opts.are_marked {
        return None;
    }
    let is_late = |word: &&str| OFTEN_LATE.contains(word);
    let words = opts.words.iter().skip(1).rev();
    let late: Vec<&str> = words.map_while(|word| word.to_str().filter(|word| is_late(word))).collect();
    let option = late.last()?;
    Some(format!(
        "{option} after the command belongs to the command; for {} put it before the command",
        opts.program.name()
    ))
}

/// Returns the reason why a word is probably a host.
fn known_as_host(word: &str, hosts: &[HostSpec], environment: &Environment<'_>) -> Option<String> {
    if hosts.iter().any(|host| host.name == word) {
        return Some("is also a host of this run".to_owned());
    }
    if let Some(host) = hosts.iter().find(|host| differ_in_digits(&host.name, word)) {
        return Some(format!("looks like a host next to {}", host.name));
    }
    let home = environment.home.as_deref();
    let file = NamingFiles::of(home).find(word)?;
    Some(format!("is also a host in {}", shown(&file, home)))
}

/// Returns whether this machine has a program of this name, so that the hosts probably have it, too.
fn is_program(name: &str, environment: &Environment<'_>) -> bool {
    let path = (environment.variable)("PATH").unwrap_or_default();
    let mut directories = path.as_bytes().split(|byte| *byte == b':').filter(|directory| !directory.is_empty());
    directories.any(|directory| {
        let file = Path::new(std::ffi::OsStr::from_bytes(directory)).join(name);
        rustix::fs::access(&file, Access::EXEC_OK).is_ok() && file.is_file()
    })
}
/// Returns the warning about a pool size that is more likely a port.
pub fn port_like(opts: &Opts, is_configured: bool, hosts: &[HostSpec]) -> Option<String> {
    let size = opts.running.par.filter(|size| !is_configured && is_port(*size, hosts))?;
    Some(format!("-p {size} runs {size} hosts at once; put a port after its host: -H web1:{size}"))
}

/// Returns whether a pool size is more likely ssh's `-p`, a port: no host has a port, and the list is much shorter than the pool.
/// Otherwise the hosts would silently be connected to at another port.
fn is_port(size: usize, hosts: &[HostSpec]) -> bool {
    // Ports above the system ports (RFC 6335 section 6), where other sshds listen.
    const PORTS: std::ops::RangeInclusive<usize> = 1024..=65535;
    const TIMES: usize = 20;
    PORTS.contains(&size) && hosts.len().saturating_mul(TIMES) < size && hosts.iter().all(|host| host.port.is_none())
}
