//! The work that the command line asks for: commands or copies.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::options::Opts;
use super::skipped::skipped;
use super::words::split_at_host;
use crate::command::host_args::{self, ArgumentNames, Arguments, HostArgsError, Unfilled};
use crate::command::{self, CommandLine, Shell, Wrapping};
use crate::copy::directories::{DirectoryError, directories};
use crate::copy::rsync::{Direction, Rsync, RsyncError, Transfer};
use crate::copy::sources::{Sources, SourcesError};
use crate::copy::{Copy, Download, Options, Protocol, Upload};
use crate::hosts::HostSpec;
use crate::hosts::file_names;
use crate::plan::job::{Commands, CommandsError};
use crate::plan::program::Program;
use crate::plan::work::Work;
use crate::text::message::excerpt;
use crate::text::suggest::did_you_mean;

/// The reason why nothing can be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The paths of the command line are wrong.
    #[error("{0}")]
    Usage(String),
    /// Local files cannot be read.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// A directory of a host cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// rsync cannot be run.
    #[error(transparent)]
    Rsync(#[from] RsyncError),
}

/// Makes the error for wrong paths of a command line.
fn wrong(problem: &str) -> CopyError {
    CopyError::Usage(format!("{problem} (--help shows how)"))
}

/// Returns all paths but the last, and the last.
fn paths<'o>(opts: &'o Opts, hosts: &[HostSpec]) -> Result<(&'o [OsString], &'o OsString), CopyError> {
    let Some((last, first)) = opts.words.split_last() else {
        return Err(wrong("nothing to copy: no path is given"));
    };
    if first.is_empty() {
        return Err(wrong(match (opts.program, opts.download) {
            (Program::Pslurp, _) => "LOCAL is missing: give REMOTE LOCAL",
            (_, true) => "DIR is missing: give REMOTE DIR",
            (_, false) => "TARGET is missing: give SOURCE... TARGET",
        }));
    }
    if opts.words.iter().any(|path| path.as_bytes().contains(&0)) {
        return Err(wrong("a path contains a NUL byte"));
    }
    if first.iter().any(|path| path.is_empty()) {
        return Err(wrong("a source path is empty"));
    }
    if last.is_empty() {
        return Err(wrong("the target path is empty: is a variable in it not set? (use . for the directory itself)"));
    }
    let remote = if opts.download { first } else { std::slice::from_ref(last) };
    for path in remote {
        if let Some(rest) = names_host(&path.to_string_lossy(), hosts) {
            let path = path.display();
            return Err(CopyError::Usage(format!("{path}: give a remote path without its host: {rest}")));
        }
    }
    Ok((first, last))
}

/// Returns the path of `[user@]host:path` if the host is in the list, or if the path is absolute or begins with `~`. Used as a path, it
/// would create a directory of that name on every host. `C:/` is a path.
fn names_host<'p>(path: &'p str, hosts: &[HostSpec]) -> Option<&'p str> {
    let (place, rest) = split_at_host(path)?;
    let name = place.rsplit('@').next().unwrap_or_default().trim_matches(['[', ']']);
    let is_path = name.len() > 1 && !place.contains('/') && rest.starts_with(['/', '~']);
    (is_path || hosts.iter().any(|host| host.name == name)).then_some(rest)
}

/// Returns those of the values of all hosts of the list that belong to the hosts of the run.
pub fn of_share<T>(values: Vec<T>, hosts: &[HostSpec]) -> Vec<T> {
    if values.len() == hosts.len() {
        return values;
    }
    let mut values = values.into_iter();
    let mut next = 0;
    let value_of = |host: &HostSpec| {
        let index = host.place.index as usize;
        let value = values.nth(index.checked_sub(next)?);
        next = index + 1;
        value
    };
    hosts.iter().filter_map(value_of).collect()
}

/// Returns the name below the directory of each host. Leading slashes are ignored, as in pssh.
fn below(path: &Path) -> Result<Vec<u8>, &'static str> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("leads out of each host's directory, so hosts would overwrite each other's files");
    }
    let text = path.as_os_str().as_bytes();
    let start = text.iter().position(|byte| *byte != b'/').unwrap_or(text.len());
    if text[start..].is_empty() { Err("not a file name") } else { Ok(text[start..].to_vec()) }
}

/// Checks the command of --template without other values.
fn check_template(line: &CommandLine) -> Result<(), HostArgsError> {
    let known = host_args::BUILT_IN.map(|name| format!("%({name})s")).join(", ");
    let told = |unfilled: Unfilled| match unfilled {
        Unfilled::Nameless => {
            format!("--template: %s, %q and %d need a name here: {known}; write %% for a percent sign")
        }
        Unfilled::Unknown(name) => {
            let tip = did_you_mean(&name, host_args::BUILT_IN);
            let name = excerpt(&name);
            format!(
                "--template: no value is named {name:?}{tip}; there are {known}, and --host-arg HOST:{name}=VALUE sets others"
            )
        }
    };
    let problems: Vec<String> = host_args::unfilled(line).into_iter().map(told).collect();
    if problems.is_empty() { Ok(()) } else { Err(HostArgsError::Bad(problems)) }
}

/// A command before its values are known.
enum Draft {
    Literal(Vec<u8>),
    Template(CommandLine),
}

impl Draft {
    fn commands(self, arguments: &[Arguments]) -> Commands {
        match self {
            Draft::Literal(line) => Commands::All(line.into()),
            Draft::Template(line) => Commands::Each(line, arguments.to_vec()),
        }
    }
}

impl Commands {
    /// Reads the command, its check and the per-host arguments, and checks them for all hosts of the list, also for those that are not in the
    /// run's share, `hosts`: rows are in the order of the list. Without arguments and `--template`, `%` is an ordinary character.
    ///
    /// # Errors
    /// The command cannot be sent, or arguments are wrong.
    pub fn gather(
        opts: &Opts,
        list: &[HostSpec],
        hosts: &[HostSpec],
    ) -> Result<(Commands, Option<Commands>), CommandsError> {
        let shell = match &opts.command.shell {
            _ if opts.command.script.is_some() => Shell::Script,
            _ if opts.command.no_shell => Shell::None,
            Some(shell) => shell.clone(),
            None => Shell::Login,
        };
        let (words, wrapping) = (&opts.words, Wrapping { shell });
        // One text, whatever the words of the command are.
        let check_wrapping = Wrapping { shell: opts.command.shell.clone().unwrap_or_default() };
        let check_words = opts.check.check.as_ref().map(std::slice::from_ref);
        let (file, singles) = (opts.command.host_args.as_deref(), &opts.command.host_arg);
        let has_values = file.is_some() || !singles.is_empty();
        let is_template = |words: &[OsString]| has_values || opts.command.template || host_args::are_used(list, words);
        let of_check = |words: &[OsString]| match is_template(words) {
            true => CommandLine::with_places(words, check_wrapping.clone()).map(Draft::Template),
            false => command::literal(words, &check_wrapping).map(Draft::Literal),
        };
        let line = match is_template(words) {
            true => Draft::Template(CommandLine::with_places(words, wrapping)?),
            false => Draft::Literal(command::literal(words, &wrapping)?),
        };
        let check = check_words.map(of_check).transpose().map_err(CommandsError::Check)?;
        let both = match (&line, &check) {
            (Draft::Template(line), Some(Draft::Template(check))) => Some(line.and(check)),
            (Draft::Template(line), _) | (_, Some(Draft::Template(line))) => Some(line.clone()),
            _ => None,
        };
        let arguments = match &both {
            None => Vec::new(),
            Some(both) => {
                if !has_values
                    && ![Some(&**words), check_words]
                        .into_iter()
                        .flatten()
                        .any(|words| host_args::are_used(list, words))
                {
                    check_template(both)?;
                }
                let names = ArgumentNames { single: "--host-arg", column: "--host-column" };
                host_args::gather(file, opts.command.host_column.as_deref(), singles, list, both, names)?
            }
        };
        let arguments = of_share(arguments, hosts);
        let check = check.map(|check| check.commands(&arguments));
        Ok((line.commands(&arguments), check))
    }

    /// Reads the check of a program without per-host arguments of its own: the hosts file has some.
    ///
    /// # Errors
    /// The check cannot be sent, or arguments are wrong.
    pub fn of_check(opts: &Opts, list: &[HostSpec], hosts: &[HostSpec]) -> Result<Option<Commands>, CommandsError> {
        let Some(words) = opts.check.check.as_ref().map(std::slice::from_ref) else { return Ok(None) };
        let wrapping = Wrapping::default();
        if !host_args::are_used(list, words) {
            let literal = command::literal(words, &wrapping).map_err(CommandsError::Check)?;
            return Ok(Some(Commands::All(literal.into())));
        }
        let line = CommandLine::with_places(words, wrapping).map_err(CommandsError::Check)?;
        let names = ArgumentNames { single: "--host-arg", column: "--host-column" };
        let arguments = host_args::gather(None, None, &[], list, &line, names)?;
        Ok(Some(Commands::Each(line, of_share(arguments, hosts))))
    }

    /// Makes the `pkill -9` command. The login shell gets the words as they are, as in pssh 2.3.6.
    ///
    /// # Errors
    /// The command cannot be sent.
    pub fn nuke(words: &[OsString]) -> Result<Commands, CommandsError> {
        let words: Vec<OsString> =
            ["pkill", "-9"].into_iter().map(OsString::from).chain(words.iter().cloned()).collect();
        Ok(Commands::All(command::literal(&words, &Wrapping { shell: Shell::Login })?.into()))
    }
}

impl Work {
    /// Makes the work of pscp(1) and pslurp(1) on the hosts of the run, out of those of the list.
    ///
    /// # Errors
    /// The paths are wrong, or a local file cannot be read.
    pub fn copy(opts: &Opts, list: &[HostSpec], hosts: &[HostSpec]) -> Result<Work, CopyError> {
        let options = Options {
            recursive: opts.copy.recursive,
            preserve: opts.copy.preserve,
            checksum: opts.copy.checksum,
            resume: opts.copy.resume,
            inplace: opts.copy.inplace,
        };
        let (sources, target) = paths(opts, list)?;
        let needs_sftp = if options.checksum { "--checksum" } else { "--resume" };
        if opts.ssh_args.protocol == Some(Protocol::Scp) && (options.checksum || options.resume) {
            return Err(wrong(&format!("scp's -O selects its old protocol, which does not support {needs_sftp}")));
        }
        if !opts.download {
            let paths: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
            let sources = Arc::new(Sources::find(&paths, options.recursive, Some("-r"))?);
            return Ok(Work::Copy(Copy::Upload(Arc::new(Upload {
                sources,
                target: target.as_bytes().to_vec(),
                options,
            }))));
        }
        if options.inplace {
            return Err(wrong(
                "--inplace works only for files on the hosts; a local file is replaced once its copy is complete",
            ));
        }
        let remotes = sources.iter().map(|path| path.as_bytes().to_vec()).collect();
        let last = Path::new(target);
        let (base, target) = if opts.program == Program::Pscp {
            (last, None)
        } else if sources.len() > 1 {
            return Err(wrong("too many paths: give one remote path and one below each host's directory"));
        } else {
            let below = below(last).map_err(|problem| CopyError::Usage(format!("{}: {problem}", last.display())))?;
            (opts.localdir.as_deref().unwrap_or(Path::new("")), Some(below))
        };
        let directories = directories(base, &of_share(file_names::directories(list.iter()), hosts))?;
        Ok(Work::Copy(Copy::Download { download: Arc::new(Download { remotes, target, options }), directories }))
    }

    /// The same for prsync(1). `user` is the login name of hosts without one.
    ///
    /// # Errors
    /// The paths are wrong, or rsync is not installed.
    pub fn rsync(opts: &Opts, list: &[HostSpec], hosts: &[HostSpec], user: Option<&str>) -> Result<Work, CopyError> {
        let (sources, target) = paths(opts, list)?;
        // pssh passed these to rsync, which took them as options.
        let is_lost = |path: &&OsString| path.as_bytes().starts_with(b"-") && !opts.download;
        if let Some(path) = sources.iter().filter(is_lost).find(|path| Path::new(path).symlink_metadata().is_err()) {
            let path = path.display();
            return Err(CopyError::Usage(format!(
                "{path}: no such file (for an option of rsync use -X before the paths: -X {path})"
            )));
        }
        if let Some(problem) = skipped(opts, sources).filter(|_| !opts.download) {
            return Err(CopyError::Usage(problem));
        }
        let remote = if opts.download { sources.first() } else { Some(target) };
        let is_apart = |path: &&OsString| path.as_bytes().starts_with(b"~") && path.as_bytes().contains(&b'\n');
        if let Some(path) = remote.filter(is_apart) {
            return Err(CopyError::Usage(format!(
                "{path:?}: rsync does not pass a path with a newline to a shell, so ~ is not expanded; leave out ~/, or give the whole path"
            )));
        }
        let direction = if !opts.download {
            Direction::Upload { sources: sources.to_vec(), target: target.clone() }
        } else if let [remote] = sources {
            Direction::Download {
                remote: remote.clone(),
                directories: directories(Path::new(target), &of_share(file_names::directories(list.iter()), hosts))?,
            }
        } else {
            return Err(wrong("too many paths: --download takes one remote path and a local directory"));
        };
        let transfer = Transfer {
            verbose: opts.other.verbose > 0,
            recursive: opts.rsync.recursive,
            archive: opts.rsync.archive,
            compress: opts.rsync.compress,
            extra: opts.connection.extra.words.iter().map(|word| word.text.clone()).collect(),
            direction,
            user: user.map(str::to_owned),
        };
        Ok(Work::Rsync(Rsync::find(transfer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options;
    use crate::hosts::gather;

    fn copy(program: Program, words: &[&str]) -> Result<Work, String> {
        let opts = options::parse(program, [&[program.name()], words].concat()).expect("a good command line");
        let hosts = gather(&[], &["web1 root@web2:2222 web1".to_owned()]).expect("hosts");
        Work::copy(&opts, &hosts, &hosts).map_err(|error| error.to_string())
    }

    fn download(program: Program, words: &[&str]) -> (Vec<String>, Option<String>, Vec<PathBuf>) {
        match copy(program, words) {
            Ok(Work::Copy(Copy::Download { download, directories })) => {
                let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
                (download.remotes.iter().map(text).collect(), download.target.as_ref().map(text), directories)
            }
            Ok(_) => panic!("{words:?}: no download"),
            Err(problem) => panic!("{words:?}: {problem}"),
        }
    }

    #[test]
    fn each_host_has_a_directory() {
        let paths = |names: [&str; 3]| names.map(PathBuf::from).to_vec();
        let (remotes, target, directories) = download(Program::Pslurp, &["-L", "logs", "/var/log/a", "/b/c"]);
        assert_eq!((remotes, target.as_deref()), (vec!["/var/log/a".to_owned()], Some("b/c")));
        assert_eq!(directories, paths(["logs/web1", "logs/web2:2222", "logs/web1.1"]));
        assert_eq!(download(Program::Pslurp, &["a", "b"]).2, paths(["web1", "web2:2222", "web1.1"]));
        let (remotes, target, directories) = download(Program::Pscp, &["--download", "a", "b", "out"]);
        assert_eq!((remotes.len(), target), (2, None));
        assert_eq!(directories, paths(["out/web1", "out/web2:2222", "out/web1.1"]));
    }

    #[test]
    fn paths_that_say_too_little_or_too_much_are_refused() {
        let problem = |program, words: &[&str]| copy(program, words).err().unwrap_or_default();
        assert!(problem(Program::Pscp, &[]).contains("no path"));
        assert!(problem(Program::Pscp, &["a"]).contains("TARGET is missing"));
        assert!(problem(Program::Pslurp, &["a", "b", "c"]).contains("too many"));
        assert!(problem(Program::Pslurp, &["a", "b/../c"]).contains("leads out"));
        assert!(problem(Program::Pslurp, &["a", "/"]).contains("not a file name"));
        assert!(problem(Program::Pslurp, &["--inplace", "a", "b"]).contains("on the hosts"));
        assert!(problem(Program::Pscp, &["-x-O", "--checksum", "/dev/null", "b"]).contains("--checksum"));
        assert!(problem(Program::Pscp, &["/dev/null", "web1:/tmp"]).ends_with("without its host: /tmp"));
        assert!(problem(Program::Pscp, &["/dev/null", "root@web2:x"]).contains("without its host"));
        assert!(problem(Program::Pslurp, &["web1:x", "b"]).contains("without its host"));
        assert!(problem(Program::Pscp, &["/dev/null", "other:/tmp"]).ends_with("without its host: /tmp"));
        assert!(!problem(Program::Pscp, &["/no/file", "other:x"]).contains("without its host"));
        assert!(!problem(Program::Pscp, &["/no/file", "C:/x"]).contains("without its host"));
        assert!(!problem(Program::Pscp, &["/no/file", "./other:/x"]).contains("without its host"));
        assert!(problem(Program::Pslurp, &["", "b"]).contains("is empty"));
        assert!(problem(Program::Pscp, &["/dev/null", ""]).contains("the target path is empty"));
        assert!(problem(Program::Pscp, &["/no/such/file", "b"]).contains("/no/such/file"));
    }

    /// The commands of three hosts, by the command line.
    fn commands(args: &[&str]) -> Result<Vec<Arc<[u8]>>, String> {
        let hosts = gather(&[], &["web1 root@web2:2222 web3".to_owned()]).expect("good hosts");
        let opts = crate::cli::options::parse(crate::plan::program::Program::Pssh, [&["pssh"], args].concat())
            .expect("a good command line");
        let (commands, _) = Commands::gather(&opts, &hosts, &hosts).map_err(|error| error.to_string())?;
        let known =
            hosts.iter().map(|host| (host, host.user.as_deref().unwrap_or_default(), host.port.unwrap_or_default()));
        commands.lines(known).map_err(|error| error.to_string())
    }

    #[test]
    fn hosts_with_the_same_command_share_it() {
        let all = commands(&["date", "+%s", "100%%"]).expect("a command");
        assert!(all.iter().all(|line| **line == *b"date +%s 100%%"));
        assert!(Arc::ptr_eq(&all[0], &all[2]));
        let args = ["--host-arg", "web1=a", "--host-arg", "root@web2:2222=b", "--host-arg", "web3=a", "echo", "%s %%"];
        let some = commands(&args).expect("commands");
        let sent: Vec<_> = some.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        assert_eq!(sent, ["echo a %", "echo b %", "echo a %"]);
        assert!(Arc::ptr_eq(&some[0], &some[2]));
    }

    #[test]
    fn a_command_that_is_too_long_for_one_host_names_it() {
        let long = "x".repeat(crate::command::LONGEST);
        let args =
            ["--host-arg", "web1=a", "--host-arg", &format!("web2={long}"), "--host-arg", "web3=c", "echo", "%s"];
        let problem = commands(&args).expect_err("too long");
        assert!(problem.starts_with("root@web2:2222: the command has 16777221 bytes"), "{problem}");
    }
}
