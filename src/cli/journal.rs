//! `--journal` and the run that it continues: what the run is about, and which of its hosts have ended already.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;

use super::notices;
use super::options::Opts;
use super::start::{Fatal, failure, refusal, usage};
use crate::events::event::Event;
use crate::hosts::{HostSpec, ResolvedShard};
use crate::journal::file::{JournalError, JournalFile};
use crate::journal::fingerprint::{Difference, Fingerprint, Hash};
use crate::journal::history::{History, HistoryError, Standing};
use crate::journal::recall::recall;
use crate::journal::record::{Host, Run};
use crate::journal::rerun::Choice;
use crate::journal::writer::Writer;
use crate::output::Format;
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
    Ok(Fingerprint { command: hash.finish(), arguments, ..of_hosts(opts, all, shard) })
}

/// Returns what the run is about, without the command.
fn of_hosts(opts: &Opts, all: &[HostSpec], shard: Option<ResolvedShard>) -> Fingerprint {
    Fingerprint {
        program: opts.program.name().to_owned(),
        hosts: all.len(),
        list: Fingerprint::of_list(all.iter().map(HostSpec::to_string)),
        shard: shard.map(|shard| shard.to_string()),
        command: String::new(),
        arguments: None,
    }
}

fn is_there(directory: &Path) -> bool {
    directory.as_os_str().is_empty() || directory.exists()
}

/// Whether the directory does not let this user make or write files, or nobody.
fn is_refused(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// Makes the error about a journal that `option` names, with what helps.
pub fn refused(option: &str, error: JournalError) -> Fatal {
    let hint = match &error {
        JournalError::Taken { .. } => "; wait for it, or name another file",
        JournalError::Special { .. } => "; name a file on a disk",
        JournalError::History(HistoryError::Other(_)) => "; name another file: a run is only added to a journal",
        JournalError::System { path, .. } if path.parent().is_some_and(|parent| !is_there(parent)) => {
            "; the directory has to be there"
        }
        JournalError::System { error, .. } if is_refused(error) => {
            "; name a file in a directory that can be read and written"
        }
        JournalError::System { .. } => "",
        JournalError::Untrusted { .. } | JournalError::History(HistoryError::Read { .. }) => "",
        // It begins with its place.
        JournalError::History(HistoryError::Bad { .. }) => return refusal(error),
    };
    let hint = if option == JOURNAL { hint } else { "" };
    let text = anyhow!("{option} {error}{hint}");
    if error.is_unread() { failure(text) } else { usage(text) }
}

/// Returns which hosts run again, if the command line says so.
fn choice(opts: &Opts) -> Option<Choice> {
    let rerun = opts.reports.journal.rerun.clone().map(Choice::Rerun);
    rerun.or_else(|| opts.resume.then_some(Choice::Resume))
}

/// Returns the option that says so.
fn option(choice: &Choice) -> &'static str {
    match choice {
        Choice::Resume => "--resume",
        Choice::Rerun(_) => "--rerun",
    }
}

/// Refuses a journal that is no file, and to run again what no journal knows.
fn check_path(path: &Path, choice: Option<&Choice>) -> Result<(), Fatal> {
    match choice {
        _ if path == Path::new("-") => {
            Err(usage(anyhow!("--journal -: the journal is a file; if its name is -, write ./-")))
        }
        Some(Choice::Rerun(_)) if !path.exists() => {
            Err(usage(anyhow!("--rerun: there is no journal {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Returns the hosts that a run with `--resume` or `--rerun` runs on; nothing for other runs.
///
/// # Errors
/// The journal cannot be read, or is about another list.
pub fn left(opts: &Opts, (all, hosts, shard): Listed<'_>) -> Result<Option<Vec<HostSpec>>, Fatal> {
    let (Some(path), Some(choice)) = (&opts.reports.journal.journal, choice(opts)) else { return Ok(None) };
    check_path(path, Some(&choice))?;
    let (_, history) = JournalFile::look(path).map_err(|error| refused(JOURNAL, error))?.unzip();
    let history = history.unwrap_or_default();
    let Some(last) = history.last() else { return Ok(None) };
    of_hosts(opts, all, shard).check_hosts(&last.of).map_err(|difference| differs(&choice, last, path, &difference))?;
    let runs = |host: &&HostSpec| choice.runs(history.standing(host.place.index as usize));
    Ok(Some(hosts.iter().filter(runs).cloned().collect()))
}

/// Makes the error about a journal whose run is about something else.
fn differs(choice: &Choice, run: &Run, path: &Path, difference: &Difference) -> Fatal {
    let began = run.began();
    usage(anyhow!("{}: not the same as the run of {began} in {}: {difference}", option(choice), path.display()))
}

impl Journal {
    /// Opens the journal that the command line names, if it names one, and finds out which hosts have ended.
    ///
    /// # Errors
    /// It cannot be used, or the run in it is another one.
    pub fn open(opts: &Opts, settings: &Settings, hosts: Listed<'_>, work: &Work) -> Result<Option<Journal>, Fatal> {
        let Some(path) = opts.reports.journal.journal.as_ref().filter(|_| !opts.other.explain) else { return Ok(None) };
        let of = fingerprint(opts, settings, hosts, work)?;
        let choice = choice(opts);
        check_path(path, choice.as_ref())?;
        let (mut file, read, history) = if opts.other.dry_run {
            let (file, history) = JournalFile::look(path).map_err(|error| refused(JOURNAL, error))?.unzip();
            (None, file, history.unwrap_or_default())
        } else {
            let mut file = JournalFile::open(path).map_err(|error| refused(JOURNAL, error))?;
            let history = std::mem::take(&mut file.history);
            file.history.torn = history.torn;
            file.history.length = history.length;
            file.history.lacks_newline = history.lacks_newline;
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
        // Nothing is written.
        if journal.file.is_none() || journal.is_done() {
            journal.tell_torn(opts.program, false);
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
                notices::complain(opts.program, &format!("--resume: no run has begun in {path}, so a new one begins"));
            }
            return Ok(());
        };
        // What is continued is what the first of these runs does: a repetition may do something else on some hosts.
        let (run, checked) = match (choice, self.history.runs.first()) {
            (Choice::Resume, Some(first)) => (first, self.of.check(&first.of)),
            _ => (last, self.of.check_hosts(&last.of)),
        };
        checked.map_err(|difference| differs(choice, run, &self.path, &difference))?;
        if self.history.runs.iter().any(|run| run.has_output) && !self.has_output {
            let option = option(choice);
            let text = format!("{option}: without --journal-output, --replay cannot show what hosts print in this run");
            notices::complain(opts.program, &text);
        }
        self.continues = true;
        let known: Arc<[bool]> = self.indices.iter().map(|index| !choice.runs(self.history.standing(*index))).collect();
        if opts.streams.expect_same && known.contains(&true) && !self.is_output_known() {
            let run = self.history.runs.iter().find(|run| !run.has_output).unwrap_or(run);
            return Err(usage(anyhow!(
                "--expect-same needs what all hosts printed, but the run of {} was recorded without --journal-output",
                run.began()
            )));
        }
        let left_out = known.iter().filter(|known| **known).count();
        if opts.show.format == Some(Format::Gather) && left_out > 0 && !self.is_output_known() {
            let (hosts, have) = (hosts(left_out), if left_out == 1 { "has" } else { "have" });
            let text = format!(
                "--format gather leaves out {hosts} that {have} ended: what they printed was not recorded (--journal-output)"
            );
            notices::complain(opts.program, &text);
        }
        self.known = known;
        if !opts.reports.quiet {
            notices::complain(opts.program, &format!("{}: {}", option(choice), self.summary(&run.began())));
        }
        Ok(())
    }

    /// Describes what is continued: `the run of 2026-11-23T16:20:46Z: 3 hosts keep their outcome, 1 is lost, 2 run now`.
    fn summary(&self, began: &str) -> String {
        let known = || self.indices.iter().zip(&*self.known).filter(|(_, known)| **known).map(|(index, _)| *index);
        let lost = known().filter(|index| self.history.standing(*index) == Standing::Lost).count();
        let known = known().count();
        let keep = match known - lost {
            0 => String::new(),
            1 => "1 host keeps its outcome, ".to_owned(),
            count => format!("{} keep their outcome, ", hosts(count)),
        };
        let lost_text = match lost {
            0 => String::new(),
            1 => "1 is lost, ".to_owned(),
            _ => format!("{lost} are lost, "),
        };
        let left = self.indices.len() - known;
        let runs = if left == 1 { "1 runs now".to_owned() } else { format!("{left} run now") };
        format!("the run of {began}: {keep}{lost_text}{runs}")
    }

    /// Whether all hosts have ended.
    pub fn is_done(&self) -> bool {
        !self.known.is_empty() && self.known.iter().all(|known| *known)
    }

    /// Whether what the hosts printed that have ended is known.
    pub fn is_output_known(&self) -> bool {
        self.history.runs.iter().all(|run| run.has_output)
    }

    /// Tells that the last line is not complete, and whether it is cut off.
    fn tell_torn(&self, program: Program, is_cut: bool) {
        let Some(torn) = self.history.torn else { return };
        let (path, line, bytes) = (self.path.display(), torn.line, torn.bytes);
        let cut = if is_cut { format!("; its {bytes} bytes are cut off") } else { ", and is left out".to_owned() };
        notices::complain(program, &format!("{path}:{line}: the last line was not written to its end{cut}"));
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
        self.tell_torn(program, true);
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
        for job in jobs.iter() {
            let alias = job.spec.options.alias.as_ref().map(|alias| alias.value.clone());
            let (index, entry, label, user) =
                (job.index(), job.spec.to_string(), job.label.clone(), job.user.to_string());
            let host = Host { index, entry, alias, label, user, port: job.port };
            // A run that ended before it began may have left out some, and others may have another alias now.
            if !self.continues || self.history.hosts.get(&index) != Some(&host) {
                host.write(&mut records);
            }
        }
        Writer::begin((journal.file, &self.path), &records, jobs.len(), cancel).map(Some).map_err(failed)
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
