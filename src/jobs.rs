//! From hosts and a command line to jobs: what is run where, under which label, checked for all hosts before the first
//! connection.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::hosts::HostSpec;
use crate::proxy::Proxy;

/// The longest command that can be sent in one line. libssh2 puts the request into one packet of at most 35,000 bytes (RFC 4253 section
/// 6.1), less what surrounds the command in it.
pub const MAX_COMMAND: usize = 34_000;

/// One command on one host.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number: the place of its host in the list, from 0.
    pub number: usize,
    /// The host as the user wrote it.
    pub spec: HostSpec,
    /// What output lines of this job start with: the host's name, or the whole entry where another entry has the same name
    /// with another user or port.
    pub label: String,
    /// What is looked up and connected to: the host's name, or what ssh_config has in its place (HostName).
    pub address: String,
    /// How often the host is tried, in all, where that is not as for all.
    pub attempts: Option<u32>,
    /// How the host is reached, if not directly. Its name is looked up there then, not here.
    pub proxy: Option<Proxy>,
    /// The command as the remote shell gets it. One copy serves all jobs.
    pub command: Arc<[u8]>,
    /// What its standard input gets instead of ours: the rest of a command that is too long for a line.
    pub input: Option<Arc<[u8]>>,
}

/// What is wrong with a command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It contains a NUL byte, which no shell can take.
    #[error("the command contains a NUL byte")]
    Nul,
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
    Ok(bytes.into())
}

/// One job for each host, in the order of the list.
pub fn make(hosts: Vec<HostSpec>, command: &Arc<[u8]>) -> Vec<Job> {
    let labels = labels(&hosts);
    let numbered = hosts.into_iter().zip(labels).enumerate();
    numbered
        .map(|(number, (spec, label))| {
            let address = spec.name.clone();
            Job { number, spec, label, address, attempts: None, proxy: None, command: Arc::clone(command), input: None }
        })
        .collect()
}

fn labels(hosts: &[HostSpec]) -> Vec<String> {
    let mut first_of_name: HashMap<&str, &HostSpec> = HashMap::new();
    let mut ambiguous: HashMap<&str, bool> = HashMap::new();
    for host in hosts {
        let first = first_of_name.entry(&host.name).or_insert(host);
        let differs = first.user != host.user || first.port != host.port;
        *ambiguous.entry(&host.name).or_default() |= differs;
    }
    let label = |host: &HostSpec| {
        if ambiguous[host.name.as_str()] { host.to_string() } else { host.name.clone() }
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
        assert_eq!(words(&["a", "\0"]), Err(CommandError::Nul));
    }
}
