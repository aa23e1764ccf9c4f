//! From hosts and a command line to jobs: what is run where, under which label, checked for all hosts before the first
//! connection.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use crate::hosts::{HostSpec, Origin};
use crate::proxy::Proxy;

/// The longest command that can be sent. libssh2 puts the request into one packet of at most 35,000 bytes (RFC 4253 section
/// 6.1), less what surrounds the command in it.
pub const MAX_COMMAND: usize = 34_000;

/// One command on one host.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number: the place of its host in the list, from 0.
    pub number: usize,
    /// The host as the user wrote it.
    pub spec: HostSpec,
    /// What output lines of this job start with: its alias, or else the host's name, or the whole entry where another entry has
    /// the same name with another user or port.
    pub label: String,
    /// What is looked up and connected to: the host's name, or what ssh_config has in its place (HostName).
    pub address: String,
    /// How often the host is tried, in all, where that is not as for all.
    pub attempts: Option<u32>,
    /// The pause between two attempts, likewise.
    pub retry_delay: Option<Duration>,
    /// How the host is reached, if not directly. Its name is looked up there then, not here.
    pub proxy: Option<Proxy>,
    /// The command as the remote shell gets it. One copy serves all jobs.
    pub command: Arc<[u8]>,
}

/// What is wrong with a command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It contains a NUL byte, which no shell can take.
    #[error("the command contains a NUL byte")]
    Nul,
    /// It is longer than a request can be.
    #[error(
        "the command has {0} bytes; at most {MAX_COMMAND} can be sent (put a longer script into a file on the hosts)"
    )]
    TooLong(usize),
}

/// Makes the command of the words on our command line, joined by one blank each, as ssh and pssh do.
///
/// # Errors
/// It cannot be sent.
pub fn command(words: &[OsString]) -> Result<Arc<[u8]>, CommandError> {
    let bytes = words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>().join(&b' ');
    if bytes.contains(&0) {
        return Err(CommandError::Nul);
    }
    if bytes.len() > MAX_COMMAND {
        return Err(CommandError::TooLong(bytes.len()));
    }
    Ok(bytes.into())
}

/// One job for each host, in the order of the list.
pub fn make(hosts: Vec<HostSpec>, command: &Arc<[u8]>) -> Vec<Job> {
    let labels = labels(&hosts);
    let numbered = hosts.into_iter().zip(labels).enumerate();
    numbered
        .map(|(number, (spec, label))| {
            let address = spec.name.clone();
            let command = Arc::clone(command);
            Job { number, spec, label, address, attempts: None, retry_delay: None, proxy: None, command }
        })
        .collect()
}

/// An alias by which two hosts would have the same label.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: the alias {alias:?} of {host} is the label of {other} too")]
pub struct SharedAlias {
    origin: Origin,
    alias: String,
    host: String,
    other: String,
}

/// Sees to it that a report with aliases tells the hosts apart.
///
/// # Errors
/// Two entries that are not the same have the same label, by an alias.
pub fn check_aliases(jobs: &[Job]) -> Result<(), SharedAlias> {
    let mut first_of_label: HashMap<&str, &HostSpec> = HashMap::new();
    for Job { spec, label, .. } in jobs {
        let first = *first_of_label.entry(label).or_insert(spec);
        let same = (&first.name, &first.user, first.port) == (&spec.name, &spec.user, spec.port);
        let alias = spec.options.alias.as_ref().or(first.options.alias.as_ref());
        if let Some(alias) = alias.filter(|_| !same) {
            return Err(SharedAlias {
                origin: alias.origin.clone(),
                alias: alias.value.clone(),
                host: spec.to_string(),
                other: first.to_string(),
            });
        }
    }
    Ok(())
}

fn labels(hosts: &[HostSpec]) -> Vec<String> {
    let mut first_of_name: HashMap<&str, &HostSpec> = HashMap::new();
    let mut ambiguous: HashMap<&str, bool> = HashMap::new();
    for host in hosts {
        let first = first_of_name.entry(&host.name).or_insert(host);
        let differs = first.user != host.user || first.port != host.port;
        *ambiguous.entry(&host.name).or_default() |= differs;
    }
    let label = |host: &HostSpec| match &host.options.alias {
        Some(alias) => alias.value.clone(),
        None if ambiguous[host.name.as_str()] => host.to_string(),
        None => host.name.clone(),
    };
    hosts.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::gather;

    fn labels_of(list: &str) -> Vec<String> {
        labels(&gather(&[], &[list.to_owned()]).expect("good hosts"))
    }

    #[test]
    fn a_label_is_the_name_unless_that_is_ambiguous() {
        assert_eq!(labels_of("web1 root@web2:2222"), ["web1", "web2"]);
        assert_eq!(labels_of("web1:22 web1:23 db"), ["web1:22", "web1:23", "db"]);
        assert_eq!(labels_of("a@web1 web1"), ["a@web1", "web1"]);
        assert_eq!(labels_of("web1 web1"), ["web1", "web1"]);
        assert_eq!(labels_of("[::1]:2222"), ["::1"]);
    }

    #[test]
    fn words_are_joined_like_ssh_does() {
        let words = |words: &[&str]| command(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(&*words(&["sh", "-c", "echo a  b"]).expect("short"), b"sh -c echo a  b");
        assert_eq!(words(&[&"x".repeat(MAX_COMMAND + 1)]), Err(CommandError::TooLong(MAX_COMMAND + 1)));
        assert!(words(&[&"x".repeat(MAX_COMMAND)]).is_ok());
    }
}
