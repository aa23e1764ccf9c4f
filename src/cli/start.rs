//! A run from the parsed command line to the exit status: the table of contents of the program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::error::ErrorKind;
use crossbeam_channel::Receiver;
use rustix::fs::FileType;

use super::given::Given;
use super::journal::{self, Journal};
use super::options::Opts;
use super::replay;
use super::user_config::UserConfig;
use super::work::{self, CopyError};
use super::{list, notices};
use crate::cli::signals::{self, Interruptible};
use crate::cli::{advice, given, variables, words};
use crate::command::input::{Input, Inputs};
use crate::command::script::Script;
use crate::command::template::Template;
use crate::events::event::Event;
use crate::events::interruption::Listener;
use crate::events::{exit_status, interruption};
use crate::hosts::host_config::HostConfig;
use crate::hosts::{self, Definitions, Groups, HostSpec, ListNames, Lists, ResolvedShard, file_names};
use crate::output::{self, Beginning, Broken, Format, OutputSettings, Report, Summary};
use crate::plan::check::{Check, CheckTimes};
use crate::plan::failure_limit::StopOnErrors;
use crate::plan::job::{self, Commands, Job};
use crate::plan::program::Program;
use crate::plan::settings::{Environment, Settings};
use crate::plan::work::Work;
use crate::run::earlier::Earlier;
use crate::run::engine::Engine;
use crate::run::runner::Runner;
use crate::ssh::was_closed_at_start;
use crate::system::cancel::{Cancel, Reason};
use crate::system::clock::Clock;
use crate::system::files::unread::BeforeStart;
use crate::system::open_files::Held;
use crate::system::{descriptors, sink};
use crate::text::duration;
use crate::text::message::reason;

/// How the program ends.
#[derive(Debug)]
pub enum Ending {
    /// With this exit status.
    Status(u8),
    /// By this signal.
    Signal(i32),
}

/// The error that prevented or ended a run, with its exit status.
#[derive(Debug)]
pub struct Fatal {
    /// The exit status.
    pub status: u8,
    /// The message for the user.
    pub error: anyhow::Error,
}

/// Makes the error for wrong input, before any connection.
pub(super) fn usage(error: impl Into<anyhow::Error>) -> Fatal {
    Fatal { status: exit_status::USAGE, error: advice::advised(error) }
}

/// Makes the error before the first connection: for wrong input, or for a file that cannot be read.
pub(super) fn refusal(error: impl BeforeStart) -> Fatal {
    if error.is_unread() { failure(error) } else { usage(error) }
}

/// Makes the error for a failure of the program itself.
pub(super) fn failure(error: impl Into<anyhow::Error>) -> Fatal {
    Fatal { status: exit_status::FAILURE, error: advice::advised(error) }
}

/// Runs what the command line asks for.
///
/// # Errors
/// The input is wrong, the run cannot start, or the output cannot be written.
pub fn run(mut opts: Opts) -> Result<Ending, Fatal> {
    let program = opts.program;
    if let Some(artefact) = opts.other.generate {
        let text = artefact.generate(opts.program).map_err(failure)?;
        return answer(&String::from_utf8_lossy(&text));
    }
    let environment = Environment::of_process();
    let config = UserConfig::load(&environment).map_err(refusal)?;
    let configured = config.fill(&mut opts, &environment);
    let told = variables::fill(&mut opts, &environment).map_err(|problem| usage(anyhow!(problem)))?;
    told.iter().for_each(|text| notices::complain(program, text));
    let opts = &opts;
    let output_settings = OutputSettings::resolve(opts, &environment).map_err(|problem| usage(anyhow!(problem)))?;
    if !opts.reports.journal.replay.is_empty() {
        return replay::run(opts, &output_settings, &Heard::install(program)?);
    }
    let settings = Settings::resolve(opts, &environment, &configured);
    let mut settings = settings.map_err(|problem| usage(anyhow!(problem)))?;
    check_words(opts, &environment)?;
    check_streams(opts, &output_settings)?;
    let shard = shard(opts, &environment)?;
    let (all, notes) = hosts(opts, config.groups, &environment)?;
    let share = shard.map(|shard| share(&all, shard));
    let in_run = share.as_deref().unwrap_or(&all);
    if let Some(format) = opts.other.list {
        let left = journal::left(opts, (&all, in_run, shard))?;
        return list::print(program, format, settings.rolling.order, left.as_deref().unwrap_or(in_run));
    }
    check_size(opts, in_run)?;
    let may_be_host = words::check_command(opts, &all, &environment).map_err(|problem| usage(anyhow!(problem)))?;
    may_be_host.iter().chain(&words::late_options(opts)).for_each(|text| notices::complain(program, text));
    check_keys(opts, &all)?;
    let (work, check) = work(opts, &settings, &all, in_run)?;
    let is_configured = configured.contains_key("--par");
    words::port_like(opts, is_configured, &all).iter().for_each(|text| notices::complain(program, text));
    job::check_aliases(&all).map_err(usage)?;
    let file_names = match &share {
        Some(share) if opts.show.outdir.is_some() || opts.show.errdir.is_some() => {
            Some(work::of_share(file_names::of_hosts(all.iter(), settings.user.as_deref()), share))
        }
        _ => None,
    };
    let journal = Journal::open(opts, &settings, (&all, in_run, shard), &work)?;
    let hosts = share.unwrap_or(all);
    if hosts.is_empty() && !opts.reports.quiet {
        let shard = opts.hosts.shard.as_ref().map(ToString::to_string).unwrap_or_default();
        notices::complain(program, &format!("--shard {shard}: this share has no hosts"));
    }

    let (known, is_done) = known(journal.as_ref());
    let heard = Heard::install(program)?;
    let cancel = heard.cancel.clone();
    if opts.other.dry_run || opts.other.explain || is_done || hosts.is_empty() {
        settings.forget_credentials();
    }
    let given = if opts.other.explain { given::lines(opts, &settings, &configured, &environment) } else { Vec::new() };
    let (verbose, user, rolling) = (settings.verbose, settings.user.clone(), settings.rolling.clone());
    let limits = settings.limits(hosts.len());
    let engine = match (Engine::new(settings, hosts, work, check, None, &cancel), cancel.reason()) {
        // Ctrl-C at a prompt.
        (Err(_), Some(Reason::Signal(signal))) => return Ok(Ending::Signal(signal)),
        (engine, _) => engine.map_err(refusal)?,
    };
    let jobs = engine.jobs();
    if opts.other.explain {
        return explain(engine.runner(), jobs, &given);
    }
    if opts.other.dry_run {
        return answer(&output::commands(
            jobs,
            &known,
            (&rolling, limits),
            |job| engine.runner().as_sent(job),
            |job| engine.runner().check_as_sent(job),
        ));
    }
    if !opts.reports.quiet {
        list::tell_order(program, rolling.order);
    }
    if verbose {
        notes.iter().chain(&engine.runner().notes()).for_each(|note| notices::complain(program, note));
    }
    Prepared { opts, output_settings, engine, journal, file_names, user, heard }.run()
}

/// A run before its first connection.
struct Prepared<'a> {
    opts: &'a Opts,
    output_settings: OutputSettings,
    engine: Engine,
    journal: Option<Journal>,
    /// The names of files of a share's hosts.
    file_names: Option<Vec<String>>,
    user: Option<String>,
    heard: Heard,
}

impl Prepared<'_> {
    /// Runs it, or shows how all its hosts ended before.
    fn run(self) -> Result<Ending, Fatal> {
        let Prepared { opts, output_settings, engine, mut journal, file_names, user, heard } = self;
        let (program, jobs, cancel) = (opts.program, engine.jobs(), heard.cancel.clone());
        let (known, is_done) = known(journal.as_ref());
        let clock = Clock::now();
        let is_output_known = journal.as_ref().is_none_or(Journal::is_output_known);
        let journals = opts.reports.journal.journal.as_slice();
        let beginning = Beginning { user: user.as_deref(), clock, known, is_output_known, journals };
        let earlier = journal.as_mut().map(|journal| journal.earlier(clock)).unwrap_or_default();
        let earlier = match (earlier.recall, &journal) {
            (Some(recall), Some(journal)) if is_done => {
                let fault = || journal.fault(None);
                return show(
                    opts,
                    &output_settings,
                    jobs,
                    (&beginning, file_names),
                    (&replay::events(recall)?, &fault),
                    &heard,
                );
            }
            (recall, _) => Earlier { recall, ..earlier },
        };
        let mut report = reports(opts, &output_settings, jobs, &beginning, file_names)?;
        let writer =
            journal.as_mut().map(|journal| journal.begin(jobs, &clock, &cancel, program)).transpose()?.flatten();
        if let Some(writer) = writer.clone() {
            let has_output = opts.reports.journal.journal_output;
            report = output::recorded(report, writer, (jobs.len(), beginning.known), has_output, clock);
        }
        heard.interruptible.begin(engine.runner().stages(), jobs);
        let held = output_settings.held(jobs.len()).and(if writer.is_some() { journal::HELD } else { Held::default() });
        let started = engine.start(held, earlier, writer.clone()).map_err(failure)?;
        started.warnings.iter().for_each(|warning| notices::complain(program, warning));
        let mut summary = output::multiplex(
            jobs,
            &started.events,
            &heard.listener,
            &|outcome| started.failures.note(outcome),
            &mut *report,
            &output_settings.style,
            &cancel,
        );
        engine.close();
        summary.faults.extend(journal.and_then(|journal| journal.fault(writer.as_ref())));
        finish(opts, summary, &cancel)
    }
}

/// Returns which jobs have ended in earlier runs, and whether all have.
fn known(journal: Option<&Journal>) -> (Arc<[bool]>, bool) {
    journal.map(|journal| (Arc::clone(&journal.known), journal.is_done())).unwrap_or_default()
}

/// What stops a run.
pub struct Heard {
    cancel: Cancel,
    interruptible: Interruptible,
    listener: Listener,
}

impl Heard {
    /// Lets signals stop the run.
    fn install(program: Program) -> Result<Heard, Fatal> {
        let cancel = Cancel::new().context("cannot make a pipe").map_err(failure)?;
        sink::heed(&cancel);
        let (interruptible, (teller, listener)) = (Interruptible::new(program), interruption::interruptions());
        signals::install(&cancel, &interruptible, teller).context("cannot handle signals").map_err(failure)?;
        Ok(Heard { cancel, interruptible, listener })
    }
}

/// Creates the reports of the run.
fn reports(
    opts: &Opts,
    settings: &OutputSettings,
    jobs: &Arc<[Job]>,
    beginning: &Beginning<'_>,
    file_names: Option<Vec<String>>,
) -> Result<Box<dyn Report>, Fatal> {
    let lists = output::Lists { files: &opts.hosts.hosts, are_chosen: opts.hosts.are_chosen(), file_names };
    output::reports(settings, lists, jobs, beginning).map_err(failure)
}

/// Shows a run that is over: its events come from journals. `fault` says in the end what failed.
pub fn show(
    opts: &Opts,
    settings: &OutputSettings,
    jobs: &Arc<[Job]>,
    (beginning, file_names): (&Beginning<'_>, Option<Vec<String>>),
    (events, fault): (&Receiver<Event>, &dyn Fn() -> Option<String>),
    heard: &Heard,
) -> Result<Ending, Fatal> {
    let mut report = reports(opts, settings, jobs, beginning, file_names)?;
    let (style, cancel) = (&settings.style, &heard.cancel);
    let mut summary = output::multiplex(jobs, events, &heard.listener, &|_| (), &mut *report, style, cancel);
    summary.faults.extend(fault());
    finish(opts, summary, cancel)
}

/// Tells what failed, and returns how the program ends after a run.
fn finish(opts: &Opts, summary: Summary, cancel: &Cancel) -> Result<Ending, Fatal> {
    let program = opts.program;
    summary.faults.iter().for_each(|fault| notices::complain(program, fault));
    let status = status(opts, &summary);
    match (summary.broken, cancel.reason()) {
        // After a signal, unwritten output is expected.
        (Some(Broken::Failed(error)), Some(Reason::Signal(signal))) if error.kind() == io::ErrorKind::TimedOut => {
            notices::complain(program, &format!("cannot write to standard output: {}", reason(&error)));
            Ok(Ending::Signal(signal))
        }
        (Some(Broken::Failed(error)), _) => {
            Err(failure(anyhow!("cannot write to standard output: {}", reason(&error))))
        }
        // Like any filter whose reader has closed the pipe.
        (Some(Broken::Closed), _) => Ok(Ending::Signal(signal_hook::consts::SIGPIPE)),
        (None, Some(Reason::Signal(signal))) => Ok(Ending::Signal(signal)),
        (None, _) => Ok(Ending::Status(status)),
    }
}

/// Returns the exit status of a run that no signal ended. With `--expect-same`, hosts that differ count as a failed command.
fn status(opts: &Opts, summary: &Summary) -> u8 {
    if !summary.faults.is_empty() {
        return exit_status::FAILURE;
    }
    let of_hosts = if opts.reports.max_status {
        exit_status::largest(&summary.tally)
    } else {
        exit_status::of_tally(&summary.tally)
    };
    match of_hosts {
        exit_status::OK if summary.differ => exit_status::COMMAND,
        exit_status::COMMAND if !opts.reports.max_status => opts.program.failed(),
        status => status,
    }
}

/// Prints the origin of every setting of every host: a block per host, `keyword value`, a tab, and the origin.
fn explain(runner: &Runner, jobs: &[Job], given: &[Given]) -> Result<Ending, Fatal> {
    let mut text = String::new();
    let line =
        |keyword: &str, value: &str, origin: &str| notices::sanitize_line(&format!("{keyword} {value}\t# {origin}"));
    for job in jobs {
        let lines = runner.explain(job).map_err(refusal)?;
        let is_said = |name: &str| lines.iter().any(|line| line.0 == name);
        for (keyword, value, origin) in &lines {
            text.push_str(&line(keyword, value, &origin.to_string()));
        }
        let is_own = |given: &&Given| match given.name.as_str() {
            // A host's own password file overrides these.
            name if given::PASSWORDS.contains(&name) => !is_said("password-file"),
            "proxy-connections" => is_said("proxyjump"),
            name => !is_said(name),
        };
        for Given { name, value, origin, .. } in given.iter().filter(is_own) {
            text.push_str(&line(name, value, origin));
        }
        text.push('\n');
    }
    answer(&text)
}

/// Prints the text that was asked for instead of a run.
pub(super) fn answer(text: &str) -> Result<Ending, Fatal> {
    if was_closed_at_start(STDOUT) {
        return Err(failure(anyhow!(CLOSED_STDOUT)));
    }
    match notices::raw_stdout(text) {
        Ok(()) => Ok(Ending::Status(exit_status::OK)),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(Ending::Signal(signal_hook::consts::SIGPIPE))
        }
        Err(error) => Err(failure(anyhow!("cannot write to standard output: {}", reason(&error)))),
    }
}

/// Returns whether the first word is the missing value of `--confirm`: `--confirm each`.
fn is_stray_confirm(opts: &Opts) -> bool {
    let word = opts.words.first().and_then(|word| word.to_str()).unwrap_or_default();
    opts.rolling.confirm.is_some() && !opts.are_marked && matches!(word, "each" | "first")
}

/// Returns the first word if it is the missing value of `--stop-on-errors`: `--stop-on-errors 3`.
fn stray_limit(opts: &Opts) -> Option<&str> {
    let word = opts.words.first().and_then(|word| word.to_str()).filter(|_| !opts.are_marked)?;
    let is_limit = is_number(word.as_ref()) || StopOnErrors::parse(word).is_ok();
    (opts.running.stop_on_errors.is_some() && is_limit).then_some(word)
}

/// Returns whether a word is nothing but digits.
fn is_number(word: &OsStr) -> bool {
    !word.is_empty() && word.as_bytes().iter().all(u8::is_ascii_digit)
}

/// Returns whether the words are shell text, not the arguments of a script or of `--no-shell`.
fn takes_text(opts: &Opts) -> bool {
    opts.command.script.is_none() && !opts.command.no_shell
}

/// Returns whether all words are blank.
fn is_blank(words: &[OsString]) -> bool {
    words.iter().all(|word| word.as_bytes().trim_ascii().is_empty())
}

/// Refuses a command line without a command or pattern.
fn check_words(opts: &Opts, environment: &Environment<'_>) -> Result<(), Fatal> {
    list::check(opts)?;
    if opts.other.list.is_some() {
        return Ok(());
    }
    // `pnuke web1 java` lacks -H; it does not have two patterns.
    if opts.program == Program::Pnuke && opts.words.len() > 1 && words::names_no_hosts(opts) && !opts.other.explain {
        return Err(usage(anyhow!(words::no_hosts(opts, environment))));
    }
    let problem = match (opts.program, opts.words.len()) {
        _ if is_stray_confirm(opts) => "the value of --confirm follows =: --confirm=each",
        (Program::Pssh, 1..) if opts.command.ping => "--ping takes no command: it only logs in",
        (Program::Pssh, 0) if opts.command.ping => return Ok(()),
        (Program::Pssh, 1..) if takes_text(opts) && is_blank(&opts.words) => {
            "the command is empty: is a variable in it not set?"
        }
        (_, 0) if opts.check.check.is_some() && opts.command.script.is_none() && !opts.other.explain => {
            let missing = match opts.program {
                Program::Pssh => "the command is missing",
                Program::Pnuke => "PATTERN is missing",
                Program::Pscp | Program::Pslurp | Program::Prsync => return Ok(()),
            };
            let check = opts.check.check.as_deref().unwrap_or_default().display();
            return Err(usage(anyhow!("--check took {check}; {missing} (--help shows how)")));
        }
        (Program::Pssh, 0) if opts.command.script.is_none() => "there is no command to run",
        (Program::Pssh, _) if stray_limit(opts).is_some() => {
            let limit = stray_limit(opts).unwrap_or_default();
            return Err(usage(anyhow!("the value of --stop-on-errors follows =: --stop-on-errors={limit}")));
        }
        (Program::Pssh, _) if takes_text(opts) && !opts.are_marked && is_number(&opts.words[0]) => {
            return Err(usage(anyhow!(
                "the command begins with the number {0}: does the option before it take no value? -- {0} runs it as a command",
                opts.words[0].display()
            )));
        }
        (Program::Pnuke, 1) if is_blank(&opts.words) => "the pattern is empty: is a variable in it not set?",
        (Program::Pnuke, 0) => "PATTERN is missing",
        (Program::Pnuke, 2..) => "there is more than one pattern; quote a pattern of several words",
        _ => return Ok(()),
    };
    if opts.other.explain { Ok(()) } else { Err(usage(anyhow!("{problem} (--help shows how)"))) }
}

/// Returns the work for the hosts of the run, out of all, and its check.
fn work(
    opts: &Opts,
    settings: &Settings,
    all: &[HostSpec],
    hosts: &[HostSpec],
) -> Result<(Work, Option<Check>), Fatal> {
    let times = check_times(opts).map_err(|problem| usage(anyhow!(problem)))?;
    let with_times = |commands: Option<Commands>| commands.map(|commands| Check { commands, times });
    let copy = match opts.program {
        _ if opts.other.explain => None,
        Program::Pscp | Program::Pslurp => Some(Work::copy(opts, all, hosts)),
        Program::Prsync => Some(Work::rsync(opts, all, hosts, settings.user.as_deref())),
        Program::Pssh | Program::Pnuke => None,
    };
    if let Some(copy) = copy {
        let check = Commands::of_check(opts, all, hosts).map_err(refusal)?;
        let work = copy.map_err(|error| match error {
            CopyError::Usage(_) => usage(error),
            CopyError::Sources(_) | CopyError::Directory(_) | CopyError::Rsync(_) => failure(error),
        })?;
        return Ok((work, with_times(check)));
    }
    if opts.command.ping {
        return Ok((Work::Ping, None));
    }
    let script =
        opts.command.script.as_deref().map(|path| Script::read("--script", path)).transpose().map_err(refusal)?;
    let commands = match opts.program {
        Program::Pnuke => {
            Commands::nuke(&opts.words).and_then(|nuke| Ok((nuke, Commands::of_check(opts, all, hosts)?)))
        }
        _ => Commands::gather(opts, all, hosts),
    };
    let (commands, check) = commands.map_err(refusal)?;
    let commands = match script {
        Some(script) => Commands::Script(script, Box::new(commands)),
        None => commands,
    };
    let inputs = if settings.send_input && !opts.other.dry_run {
        Inputs::Shared(Input::stdin().context("--send-input: standard input").map_err(failure)?)
    } else {
        Inputs::Nothing
    };
    Ok((Work::Commands { commands, inputs }, with_times(check)))
}

/// Returns the times of the check.
fn check_times(opts: &Opts) -> Result<CheckTimes, String> {
    let default = CheckTimes::default();
    let times = CheckTimes {
        timeout: opts.check.check_timeout.unwrap_or(default.timeout),
        interval: opts.check.check_interval.unwrap_or(default.interval),
    };
    if times.interval < times.timeout || opts.check.check_interval.is_none() {
        return Ok(times);
    }
    let [timeout, interval] = [times.timeout, times.interval].map(|time| duration::seconds(&time));
    Err(format!(
        "--check-interval {interval}: the check would be tried only once within --check-timeout {timeout}; a longer --check-timeout or a shorter pause allows more tries"
    ))
}

/// The file descriptor of standard output.
pub const STDOUT: u8 = 1;
/// The message if standard output was closed at the start.
pub const CLOSED_STDOUT: &str = "standard output is closed, so all output would be lost; to discard it use > /dev/null";

/// Returns whether a file is standard input, by its name or as the same pipe.
fn is_stdin(path: &Path) -> bool {
    if path == Path::new("-") || descriptors::number(path) == Some(0) {
        return true;
    }
    let (Ok(file), Ok(stdin)) = (rustix::fs::stat(path), rustix::fs::fstat(rustix::stdio::stdin())) else {
        return false;
    };
    // A regular file can be read twice.
    let is_pipe = matches!(FileType::from_raw_mode(file.st_mode), FileType::Fifo | FileType::Socket);
    is_pipe && (file.st_dev, file.st_ino) == (stdin.st_dev, stdin.st_ino)
}

/// Checks that at most one option reads standard input, and that no needed stream is closed.
fn check_streams(opts: &Opts, output_settings: &OutputSettings) -> Result<(), Fatal> {
    let lists = opts.other.list.is_some();
    let answers = opts.other.dry_run || opts.other.explain || lists;
    if was_closed_at_start(STDOUT) && (answers || output_settings.format != Format::None) {
        return Err(failure(anyhow!(CLOSED_STDOUT)));
    }
    let mut readers: Vec<String> = Vec::new();
    let mut files = |option: &str, paths: &mut dyn Iterator<Item = &PathBuf>| {
        let reading = paths.filter(|path| is_stdin(path)).map(|path| format!("{option} {}", path.display()));
        readers.extend(reading);
    };
    files("-h", &mut opts.hosts.hosts.iter());
    files("--host-config", &mut opts.hosts.host_config.iter());
    // A list of the hosts needs nothing else.
    let mut files = |option: &str, paths: &mut dyn Iterator<Item = &PathBuf>| {
        if !lists {
            files(option, paths);
        }
    };
    files("--host-args", &mut opts.command.host_args.iter());
    files("--script", &mut opts.command.script.iter());
    files("--password-file", &mut opts.connection.password_file.iter());
    files("--proxy-password-file", &mut opts.connection.proxy_password_file.iter());
    files("--sudo-password-file", &mut opts.sudo.sudo_password_file.iter());
    if opts.connection.password_fd == Some(0) && !lists {
        readers.push("--password-fd 0".to_owned());
    }
    if opts.command.send_input && !opts.other.dry_run && !lists {
        readers.push("-I".to_owned());
    }
    let mut readers = readers.iter();
    match (readers.next(), readers.next()) {
        (Some(one), Some(other)) => Err(usage(anyhow!("{one} and {other} both read standard input"))),
        (Some(reader), None) if was_closed_at_start(0) => Err(failure(anyhow!("{reader}: standard input is closed"))),
        _ => Ok(()),
    }
}

/// Refuses a `key=value` of a host that is neither an option nor used in the command.
fn check_keys(opts: &Opts, hosts: &[HostSpec]) -> Result<(), Fatal> {
    if opts.other.explain {
        return Ok(());
    }
    // Errors in the words themselves are reported later, where they are read.
    let templates =
        opts.words.iter().chain(&opts.check.check).filter_map(|word| Template::parse(word.as_bytes(), &mut 0).ok());
    let names = templates.flat_map(|template| template.names().map(str::to_owned).collect::<Vec<_>>());
    hosts::check_keys(hosts, &names.collect()).map_err(usage)
}

/// Reads the hosts of the run and their settings, and returns them with notes for `-v`.
fn hosts(
    opts: &Opts,
    groups: Definitions,
    environment: &Environment<'_>,
) -> Result<(Vec<HostSpec>, Vec<String>), Fatal> {
    let config = HostConfig::load(&opts.hosts.host_config).map_err(refusal)?;
    let lists = Lists {
        files: &opts.hosts.hosts,
        glob: opts.hosts.host_glob.as_deref(),
        strings: &opts.hosts.host,
        nodes: &opts.hosts.nodes,
        only: &opts.hosts.only,
        exclude: &opts.hosts.exclude,
        host_config: Some(&config),
        names: ListNames { glob: "--host-glob", strings: "-H", nodes: "-w", only: "--only", exclude: "--exclude" },
    };
    let (mut hosts, mut warnings) = lists.read(&mut Groups::new(groups)).map_err(refusal)?;
    if !hosts.is_empty() {
        warnings.extend(words::idle_glob(opts));
    }
    warnings.iter().for_each(|warning| notices::complain(opts.program, warning));
    if !hosts.is_empty() {
        let notes = config.apply(&mut hosts);
        return Ok((hosts, notes));
    }
    if words::names_no_hosts(opts) {
        return Err(usage(anyhow!(words::no_hosts(opts, environment))));
    }
    let files: Vec<String> = opts.hosts.hosts.iter().map(|file| file.display().to_string()).collect();
    let place = if files.is_empty() { String::new() } else { format!(": no hosts in {}", files.join(", ")) };
    Err(usage(anyhow!("the list of hosts is empty{place}")))
}

/// Returns the share of the list that the run has, if it does not have the whole list.
fn shard(opts: &Opts, environment: &Environment<'_>) -> Result<Option<ResolvedShard>, Fatal> {
    let Some(shard) = &opts.hosts.shard else { return Ok(None) };
    let resolved = shard.resolve(environment.variable);
    resolved.map(Some).map_err(|problem| usage(anyhow!("--shard {problem}")))
}

/// Returns the hosts of a share.
fn share(all: &[HostSpec], shard: ResolvedShard) -> Vec<HostSpec> {
    let share = all.iter().enumerate().filter(|(place, host)| shard.has(*place, host));
    share.map(|(_, host)| host.clone()).collect()
}

/// Refuses a run on more hosts than one machine is for. What only prints may have more.
fn check_size(opts: &Opts, hosts: &[HostSpec]) -> Result<(), Fatal> {
    let count = hosts.len();
    if count <= job::MOST_HOSTS || opts.other.dry_run || opts.other.explain {
        return Ok(());
    }
    let shares = count.div_ceil(job::MOST_HOSTS);
    let most = job::MOST_HOSTS;
    Err(usage(anyhow!(
        "the run has {count} hosts, but a run has at most {most}; --shard 1/{shares} runs the first of {shares} shares"
    )))
}

/// Returns whether the command line asks for the help or the version.
pub fn is_question(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}
