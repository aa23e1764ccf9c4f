//! `--journal` and the run that it continues: what the run is about, and which of its hosts have ended already.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;

use super::notices;
use super::options::Opts;
use super::start::{Fatal, failure, refusal, usage};
use crate::events::event::Event;
use crate::hosts::{HostSpec, ResolvedShard};
use crate::journal::file::{JournalError, JournalFile};
use crate::journal::fingerprint::{Fingerprint, Hash};
use crate::journal::history::{History, HistoryError, Standing};
use crate::journal::recall::recall;
use crate::journal::record::{Host, Run};
use crate::journal::rerun::Choice;
use crate::journal::writer::Writer;
use crate::plan::job::{Commands, CommandsError, Job};
use crate::plan::program::Program;
use crate::plan::settings::Settings;
use crate::plan::work::Work;
use crate::run::earlier::{Earlier, Recall};
use crate::system::cancel::Cancel;
use crate::system::clock::Clock;
use crate::system::files::unread::BeforeStart;
use crate::system::open_files::Held;
use crate::text::message::{hosts, reason};

/// The option that names it.
const JOURNAL: &str = "--journal";
/// The file descriptors of a journal: to write it, and to read it.
pub const HELD: Held = Held { per_host: 0, besides: 2 };
/// Digits of a run's random number.
const ID: usize = 16;

/// The journal of a run.
pub struct Journal {
    path: PathBuf,
    /// Not in a dry run, which writes nothing.
    file: Option<JournalFile>,
    /// To read it.
    read: Option<File>,
    history: Arc<History>,
    of: Fingerprint,
    user: String,
    has_output: bool,
    /// Whether it continues a run.
    continues: bool,
    /// The index of each job's host in the whole list.
    indices: Arc<[usize]>,
    /// The jobs that have ended, by number; empty if there are none.
    pub known: Arc<[bool]>,
    /// Why it cannot be read again.
    broken: Arc<OnceLock<String>>,
}

/// The whole list of hosts, those of the run, and which share that is.
type Listed<'a> = (&'a [HostSpec], &'a [HostSpec], Option<ResolvedShard>);

/// Returns what the run is about. No value of a variable is part of it, not even in a hash.
fn fingerprint(opts: &Opts, settings: &Settings, hosts: Listed<'_>, work: &Work) -> Result<Fingerprint, Fatal> {
    let (all, hosts, shard) = hosts;
    let flag = |flag: bool| if flag { "1" } else { "0" };
    let words = opts.words.iter().map(|word| word.as_encoded_bytes());
    let names = settings.variables.iter().map(|variable| variable.name.as_bytes());
    let sudo = settings.sudo.as_ref().map(|sudo| sudo.user.clone());
    let check = opts.check.check.iter().map(|check| check.as_encoded_bytes());
    let mut hash = Hash::default().add_all(words).add_all(names).add(format!("{sudo:?}").as_bytes()).add_all(check);
    let mut arguments = None;
    match work {
        Work::Commands { commands, .. } => {
            let script = commands.script().map(|script| script.text());
            let flags = [opts.command.no_shell, opts.command.template, opts.command.send_input].map(flag);
            hash = hash.add_all(flags).add_all(script).add(format!("{:?}", opts.command.shell).as_bytes());
            let is_each = match commands {
                Commands::Script(_, arguments) => matches!(**arguments, Commands::Each(..)),
                commands => matches!(commands, Commands::Each(..)),
            };
            if is_each {
                // The user and the port of a host depend on ssh_config; they are not values of the command line.
                let lines = commands.lines(hosts.iter().map(|host| (host, "", 0)));
                let lines = lines.map_err(|error| refusal(CommandsError::Arguments(error)))?;
                arguments = Some(Hash::default().add_all(lines).finish());
            }
        }
        Work::Ping => hash = hash.add(b"ping"),
        Work::Copy(_) | Work::Rsync(_) => {
            let [copy, rsync] = [&opts.copy, &opts.copy];
            let flags = [copy.recursive, copy.preserve, rsync.inplace, opts.download];
            let of_rsync = [opts.rsync.recursive, opts.rsync.archive, opts.rsync.compress];
            hash = hash.add_all(flags.map(flag)).add_all(of_rsync.map(flag));
            hash = hash.add_all(opts.localdir.iter().map(|path| path.as_os_str().as_encoded_bytes()));
            if opts.program == Program::Prsync {
                hash = hash.add_all(opts.connection.extra.words.iter().map(|word| word.text.as_encoded_bytes()));
            }
        }
    }
    Ok(Fingerprint {
        program: opts.program.name().to_owned(),
        hosts: all.len(),
        list: Fingerprint::of_list(all.iter().map(HostSpec::to_string)),
        shard: shard.map(|shard| shard.to_string()),
        command: hash.finish(),
        arguments,
    })
}

/// Makes the error about a journal that `option` names, with what helps.
pub fn refused(option: &str, error: JournalError) -> Fatal {
    let hint = match &error {
        JournalError::Taken { .. } => "; wait for it, or name another file",
        JournalError::Special { .. } => "; name a file on a disk",
        JournalError::History(HistoryError::Other(_)) => "; name another file: a run is only added to a journal",
        JournalError::System { .. } => "; name a file in a directory that can be written",
        JournalError::Untrusted { .. } | JournalError::History(HistoryError::Read { .. }) => "",
        // It begins with its place.
        JournalError::History(HistoryError::Bad { .. }) => return refusal(error),
    };
    let hint = if option == JOURNAL { hint } else { "" };
    let text = anyhow!("{option} {error}{hint}");
    if error.is_unread() { failure(text) } else { usage(text) }
}

impl Journal {
    /// Opens the journal that the command line names, if it names one, and finds out which hosts have ended.
    ///
    /// # Errors
    /// It cannot be used, or the run in it is another one.
    pub fn open(opts: &Opts, settings: &Settings, hosts: Listed<'_>, work: &Work) -> Result<Option<Journal>, Fatal> {
        let Some(path) = opts.reports.journal.journal.as_ref().filter(|_| !opts.other.explain) else { return Ok(None) };
        let of = fingerprint(opts, settings, hosts, work)?;
        let choice = match &opts.reports.journal.rerun {
            Some(set) => Some(Choice::Rerun(set.clone())),
            None => opts.resume.then_some(Choice::Resume),
        };
        if let (Some(Choice::Rerun(_)), false) = (&choice, path.exists()) {
            return Err(usage(anyhow!("--rerun: there is no journal {}", path.display())));
        }
        let (mut file, read, history) = if opts.other.dry_run {
            let (file, history) = JournalFile::look(path).map_err(|error| refused(JOURNAL, error))?.unzip();
            (None, file, history.unwrap_or_default())
        } else {
            let mut file = JournalFile::open(path).map_err(|error| refused(JOURNAL, error))?;
            let history = std::mem::take(&mut file.history);
            file.history.torn = history.torn;
            file.history.length = history.length;
            (Some(file), None, history)
        };
        let read = match &mut file {
            Some(journal) => Some(journal.file.try_clone()).transpose().map_err(failure)?,
            None => read,
        };
        let mut journal = Journal {
            path: path.clone(),
            file,
            read,
            history: Arc::new(history),
            of,
            user: settings.login.clone(),
            has_output: opts.reports.journal.journal_output,
            continues: false,
            indices: hosts.1.iter().map(|host| host.place.index as usize).collect(),
            known: Arc::default(),
            broken: Arc::default(),
        };
        if let Some(choice) = choice {
            journal.choose(&choice, opts)?;
        }
        Ok(Some(journal))
    }

    /// Finds out which hosts run.
    fn choose(&mut self, choice: &Choice, opts: &Opts) -> Result<(), Fatal> {
        let path = self.path.display();
        let Some(last) = self.history.last() else {
            if let Choice::Rerun(_) = choice {
                return Err(usage(anyhow!("--rerun: no run has begun in {path}")));
            }
            if !opts.reports.quiet {
                notices::complain(
                    opts.program,
                    &format!("--resume: no run has begun in {path}, so that a new one begins"),
                );
            }
            return Ok(());
        };
        let (option, checked) = match choice {
            Choice::Resume => ("--resume", self.of.check(&last.of)),
            Choice::Rerun(_) => ("--rerun", self.of.check_hosts(&last.of)),
        };
        checked.map_err(|difference| {
            let began = last.began();
            usage(anyhow!("{option}: not the same as the run of {began} in {path}: {difference}"))
        })?;
        self.continues = true;
        self.known = self.indices.iter().map(|index| !choice.runs(self.history.standing(*index))).collect();
        if !opts.reports.quiet {
            notices::complain(opts.program, &format!("{option}: {}", self.summary(&last.began())));
        }
        Ok(())
    }

    /// Describes what is continued: `the run of 2026-11-23T16:20:46Z: 3 hosts have ended, 1 is lost, 2 run now`.
    fn summary(&self, began: &str) -> String {
        let known = || self.indices.iter().zip(&*self.known).filter(|(_, known)| **known).map(|(index, _)| *index);
        let lost = known().filter(|index| self.history.standing(*index) == Standing::Lost).count();
        let known = known().count();
        let (have, is) = (if known - lost == 1 { "has" } else { "have" }, if lost == 1 { "is" } else { "are" });
        let lost_text = if lost > 0 { format!(", {lost} {is} lost") } else { String::new() };
        let left = self.indices.len() - known;
        let runs = if left == 1 { "1 runs now".to_owned() } else { format!("{left} run now") };
        format!("the run of {began}: {} {have} ended{lost_text}, {runs}", hosts(known - lost))
    }

    /// Whether all hosts have ended.
    pub fn is_done(&self) -> bool {
        !self.known.is_empty() && self.known.iter().all(|known| *known)
    }

    /// Whether what the hosts printed that have ended is known.
    pub fn is_output_known(&self) -> bool {
        self.history.runs.iter().all(|run| run.has_output)
    }

    /// Begins the run in the journal.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(
        &mut self,
        jobs: &[Job],
        clock: &Clock,
        cancel: &Cancel,
        program: Program,
    ) -> Result<Option<Writer>, Fatal> {
        let Some(journal) = self.file.take() else { return Ok(None) };
        if let Some(torn) = journal.history.torn {
            let (path, line, bytes) = (self.path.display(), torn.line, torn.bytes);
            let text =
                format!("{path}:{line}: the last line was not written to its end; its {bytes} bytes are cut off");
            notices::complain(program, &text);
        }
        journal.prepare().map_err(|error| refused(JOURNAL, error))?;
        let failed = |error: std::io::Error| {
            failure(anyhow!("--journal {}: cannot write the journal: {}", self.path.display(), reason(&error)))
        };
        let mut id = [0; ID / 2];
        openssl::rand::rand_bytes(&mut id).map_err(failure)?;
        let run = Run {
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            parent: self.history.last().filter(|_| self.continues).map(|run| run.id.clone()),
            time: clock.since_epoch(clock.start),
            pid: std::process::id().into(),
            user: self.user.clone(),
            of: self.of.clone(),
            has_output: self.has_output,
        };
        let mut records = Vec::new();
        run.write(&mut records);
        // A run that ended before it began may have left out some.
        let is_new = |job: &&Job| !self.continues || !self.history.hosts.contains_key(&job.index());
        for job in jobs.iter().filter(is_new) {
            let alias = job.spec.options.alias.as_ref().map(|alias| alias.value.clone());
            let (index, entry, label, user) =
                (job.index(), job.spec.to_string(), job.label.clone(), job.user.to_string());
            Host { index, entry, alias, label, user, port: job.port }.write(&mut records);
        }
        Writer::begin(journal.file, &records, jobs.len(), cancel).map(Some).map_err(failed)
    }

    /// Returns the hosts that have ended.
    pub fn earlier(&mut self, clock: Clock) -> Earlier {
        Earlier { jobs: Arc::clone(&self.known), recall: self.recall(clock) }
    }

    fn recall(&mut self, clock: Clock) -> Option<Recall> {
        let file = self.read.take().filter(|_| !self.known.is_empty())?;
        let (history, known, broken) = (Arc::clone(&self.history), Arc::clone(&self.known), Arc::clone(&self.broken));
        let indices = Arc::clone(&self.indices);
        Some(Box::new(move |emit: &mut dyn FnMut(Event)| {
            let number = |index: usize| indices.binary_search(&index).ok();
            let job = |index: usize| number(index).filter(|number| known[*number]);
            if let Err(error) = recall((&file, &history), &clock, job, emit) {
                let _ = broken.set(reason(&error));
            }
        }))
    }

    /// Returns what failed in the end: the journal could not be read again, or not be written by `writer`.
    pub fn fault(&self, writer: Option<&Writer>) -> Option<String> {
        let path = self.path.display();
        let unread = self.broken.get().map(|why| format!("--journal {path}: cannot read it again: {why}"));
        let unwritten = || {
            let why = writer?.close().err()?;
            Some(format!("--journal {path}: cannot write the journal: {why}; since then no more hosts were started"))
        };
        unread.or_else(unwritten)
    }
}
