//! From hosts and a command line to jobs: what runs where, and under which label. A job is created once, with all that is known of
//! its host before the first connection.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::exec_request::ExecRequest;
use crate::command::host_args::{Arguments, ForHost, HostArgsError};
use crate::command::script::Script;
use crate::command::sudo::Form;
use crate::command::{CommandError, CommandLine};
use crate::hosts::proxy::Proxy;
use crate::hosts::{HostSpec, Origin};
use crate::ssh::destination::Destination;
use crate::system::files::unread::BeforeStart;

/// The most hosts of a run.
pub const MOST_HOSTS: usize = 100_000;

/// One command on one host.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number: its place in the run, from 0.
    pub number: usize,
    /// The host as the user wrote it.
    pub spec: HostSpec,
    /// The label of this job: its alias, or else the host's name, or the whole entry if another entry has
    /// the same name with another user or port.
    pub label: String,
    /// The name to look up and connect to: the host's name, or HostName of ssh_config.
    pub address: String,
    /// The login name, once it is known.
    pub user: Arc<str>,
    /// The port, once it is known.
    pub port: u16,
    /// Connection attempts, if they differ from those of all hosts.
    pub attempts: Option<u32>,
    /// The pause between two attempts, if it differs from that of all hosts.
    pub retry_delay: Option<Duration>,
    /// Whether it is verbose (`-v`, or LogLevel of ssh_config(5)).
    pub is_verbose: bool,
    /// The proxy, if any, which then resolves the host's name.
    pub proxy: Option<Proxy>,
    /// The exec request; empty if files are copied.
    pub request: ExecRequest,
    /// The exec request of the check after it, if there is one.
    pub check: Option<Box<ExecRequest>>,
}

impl Job {
    /// Returns the place of its host in the whole list, from 0, as users see it.
    pub fn index(&self) -> usize {
        self.spec.place.index as usize
    }

    /// Creates the job of a host that was in an earlier run, under the same label; there is nothing to do on it.
    pub fn recorded(number: usize, spec: HostSpec, label: String, user: Arc<str>, port: u16) -> Job {
        Job {
            number,
            label,
            address: spec.name.clone(),
            user,
            port,
            attempts: None,
            retry_delay: None,
            is_verbose: false,
            proxy: None,
            request: ExecRequest::default(),
            check: None,
            spec,
        }
    }

    /// Creates the job of the host that `spec` names.
    fn new(number: usize, spec: HostSpec, host: Reached, request: ExecRequest, check: Option<Box<ExecRequest>>) -> Job {
        let label = label(&spec);
        let Reached { address, user, port, attempts, retry_delay, is_verbose, proxy } = host;
        Job { number, spec, label, address, user, port, attempts, retry_delay, is_verbose, proxy, request, check }
    }
}

/// What a job has of its host's destination.
pub struct Reached {
    address: String,
    /// The login name.
    pub user: Arc<str>,
    /// The port.
    pub port: u16,
    attempts: Option<u32>,
    retry_delay: Option<Duration>,
    is_verbose: bool,
    proxy: Option<Proxy>,
}

impl Reached {
    /// Takes it from a destination. Hosts share the login names in `users`.
    pub fn of(host: &Destination, users: &mut HashSet<Arc<str>>) -> Reached {
        let user = users.get(&*host.user).map_or_else(|| Arc::from(&*host.user), Arc::clone);
        if !users.contains(&user) {
            users.insert(Arc::clone(&user));
        }
        Reached {
            address: host.name.clone(),
            user,
            port: host.port,
            attempts: host.attempts,
            retry_delay: host.retry_delay,
            is_verbose: host.is_verbose,
            proxy: host.proxy.clone(),
        }
    }
}

/// Creates a job for each of `specs`, in list order, with its part of `hosts`, its command in `requests` and its check in `checks`; there
/// are no commands if files are copied.
pub fn make(
    specs: Vec<HostSpec>,
    hosts: Vec<Reached>,
    requests: Vec<ExecRequest>,
    checks: Option<Vec<ExecRequest>>,
) -> Arc<[Job]> {
    // Of known length, so that the jobs of a million hosts are created in their place.
    let requests = if requests.is_empty() { vec![ExecRequest::default(); specs.len()] } else { requests };
    let checks = match checks {
        Some(checks) => checks.into_iter().map(|check| Some(Box::new(check))).collect(),
        None => vec![None; specs.len()],
    };
    let jobs = specs.into_iter().zip(hosts).zip(requests).zip(checks).enumerate();
    jobs.map(|(number, (((spec, host), request), check))| Job::new(number, spec, host, request, check)).collect()
}

/// Creates the jobs of a list of hosts without settings.
#[cfg(test)]
pub fn of_list(list: &str) -> Arc<[Job]> {
    let specs = crate::hosts::gather(&[], &[list.to_owned()]).expect("good hosts");
    let jobs = specs.into_iter().enumerate().map(|(number, spec)| {
        let (user, port) = (spec.user.as_deref().unwrap_or_default().into(), spec.port.unwrap_or_default());
        let label = label(&spec);
        Job::recorded(number, spec, label, user, port)
    });
    jobs.collect()
}

/// Why the commands of a run cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum CommandsError {
    /// The command is wrong for all hosts.
    #[error(transparent)]
    All(#[from] CommandError),
    /// The check is wrong for all hosts.
    #[error("the check: {0}")]
    Check(CommandError),
    /// The per-host arguments are wrong.
    #[error(transparent)]
    Arguments(#[from] HostArgsError),
}

impl BeforeStart for CommandsError {
    fn is_unread(&self) -> bool {
        matches!(self, CommandsError::Arguments(error) if error.is_unread())
    }
}

/// The command of every host: one for all, or a template with arguments.
pub enum Commands {
    /// The same for all hosts.
    All(Arc<[u8]>),
    /// A template with the arguments of each host, in list order.
    Each(CommandLine, Vec<Arguments>),
    /// A script, with its arguments.
    Script(Script, Box<Commands>),
}

impl Commands {
    /// Returns the script, if there is one: the lines of the hosts are its arguments then.
    pub fn script(&self) -> Option<&Script> {
        match self {
            Commands::Script(script, _) => Some(script),
            Commands::All(_) | Commands::Each(..) => None,
        }
    }

    /// Returns the form of the command for sudo.
    pub fn form(&self) -> Form {
        if self.script().is_some() { Form::Program } else { Form::Text }
    }

    /// Returns the line of each host, with its login name and port filled in. Hosts with the same line share it.
    ///
    /// # Errors
    /// The command cannot be sent to a host.
    pub fn lines<'a>(
        &self,
        hosts: impl ExactSizeIterator<Item = (&'a HostSpec, &'a str, u16)>,
    ) -> Result<Vec<Arc<[u8]>>, HostArgsError> {
        let (line, arguments) = match self {
            Commands::All(command) => return Ok(vec![Arc::clone(command); hosts.len()]),
            Commands::Each(line, arguments) => (line, arguments),
            Commands::Script(_, arguments) => return arguments.lines(hosts),
        };
        let mut known: HashSet<Arc<[u8]>> = HashSet::new();
        let (mut lines, mut problems) = (Vec::with_capacity(hosts.len()), Vec::new());
        for ((spec, user, port), arguments) in hosts.zip(arguments) {
            let index = spec.place.index as usize;
            match line.for_host(&ForHost { arguments, host: &spec.name, user, port, index }) {
                Ok(bytes) => {
                    let line = known.get(&*bytes).map_or_else(|| bytes.into(), Arc::clone);
                    known.insert(Arc::clone(&line));
                    lines.push(line);
                }
                Err(error) => problems.push((spec.to_string(), error)),
            }
        }
        if problems.is_empty() { Ok(lines) } else { Err(HostArgsError::Commands(problems)) }
    }
}

/// An alias that gives two hosts the same label.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: the alias {alias:?} of {host} is the label of {other} too")]
pub struct SharedAlias {
    origin: Origin,
    alias: String,
    host: String,
    other: String,
}

/// Checks that aliases keep the labels of hosts distinct.
///
/// # Errors
/// An alias gives two different entries the same label.
pub fn check_aliases(specs: &[HostSpec]) -> Result<(), SharedAlias> {
    if specs.iter().all(|spec| spec.options.alias.is_none()) {
        return Ok(());
    }
    let mut first_of_label: HashMap<String, &HostSpec> = HashMap::new();
    for spec in specs {
        let first = *first_of_label.entry(label(spec)).or_insert(spec);
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

fn label(host: &HostSpec) -> String {
    match &host.options.alias {
        Some(alias) => alias.value.clone(),
        None if host.place.shares_name => host.to_string(),
        None => host.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::gather;

    fn labels_of(list: &str) -> Vec<String> {
        gather(&[], &[list.to_owned()]).expect("good hosts").iter().map(label).collect()
    }

    #[test]
    fn a_label_is_the_name_unless_that_is_ambiguous() {
        assert_eq!(labels_of("web1 root@web2:2222"), ["web1", "web2"]);
        assert_eq!(labels_of("web1:22 web1:23 db"), ["web1:22", "web1:23", "db"]);
        assert_eq!(labels_of("a@web1 web1"), ["a@web1", "web1"]);
        assert_eq!(labels_of("web1 web1"), ["web1", "web1"]);
        assert_eq!(labels_of("[::1]:2222"), ["::1"]);
    }
}
