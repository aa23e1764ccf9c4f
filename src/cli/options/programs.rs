//! The command line of each program: its groups of options, and the texts of its help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueHint};

use super::abbreviations;
use super::{
    CheckOpts, CommandOpts, ConnectionOpts, CopyOpts, HostOpts, Opts, OtherOpts, ReportOpts, ResumeOpt, RollingOpts,
    RsyncOpts, RunOpts, ShowOpts, StreamOpts, SudoOpts,
};
use crate::cli::given;
use crate::plan::program::Program;

/// Columns of the text at the end of the help.
const HELP_COLUMNS: usize = 80;

/// The order of the help: usage and examples first.
macro_rules! help {
    ($examples:literal) => {
        concat!("{about}\n\n{usage-heading} {usage}\n\nExamples:\n", $examples, "\n{all-args}{after-help}")
    };
}

const SHORT_PSSH: &str = "\
Usage: pssh [OPTIONS] COMMAND...

  pssh -H 'web1 root@web2:2222' uptime    two hosts
  pssh -h hosts.txt -p 32 df -h /         the hosts of a file, 32 at once
  pssh -w 'web[01-20]' -t 1m ./deploy     a range, a minute for each command
  pssh -H web1 -- 'cd /srv && ls | wc'    one shell line

--help shows all options.
";

const SHORT_PSCP: &str = "\
Usage: pscp [OPTIONS] SOURCE... TARGET
       pscp [OPTIONS] --download REMOTE... DIR

  pscp -h hosts.txt motd /etc/motd             a file to the hosts of a file
  pscp -h hosts.txt -r site /srv/www           a directory
  pscp -H 'web1 web2' a.conf b.conf /etc/app/  two files into a directory
  pscp -H web1 --download /var/log/app.log .   from web1, to ./web1/app.log

--help shows all options.
";

const SHORT_PSLURP: &str = "\
Usage: pslurp [OPTIONS] REMOTE LOCAL

  pslurp -h hosts.txt -L logs /var/log/app.log app.log   to logs/HOST/app.log
  pslurp -h hosts.txt -r -L etc /etc/nginx nginx         directories, to etc/HOST/nginx
  pslurp -H 'web1 web2' '/var/log/*.gz' old              to web1/old/ and web2/old/

--help shows all options.
";

const SHORT_PRSYNC: &str = "\
Usage: prsync [OPTIONS] SOURCE... TARGET
       prsync [OPTIONS] --download REMOTE DIR

  prsync -h hosts.txt -a site/ /srv/www           a directory, only what has changed
  prsync -h hosts.txt -r -z -X --delete d /srv    with an option for rsync
  prsync -H web1 -r --download /var/log/app logs  from web1, to logs/web1

--help shows all options.
";

const SHORT_PNUKE: &str = "\
Usage: pnuke [OPTIONS] PATTERN

  pnuke -h hosts.txt java               kills all processes whose name has java in it
  pnuke -h hosts.txt -- '-u app java'   those of one user

--help shows all options.
";

const HELP_PSSH: &str = help!(
    "  pssh -H 'web1 root@web2:2222' uptime             two hosts
  pssh -h hosts.txt -p 32 -t 1m df -h /            32 at once, 1 minute each
  pssh -h hosts.txt 'cd /srv && ls | wc -l'        one shell line
  pssh -h hosts.txt --host-args v.csv 'deploy %q'  a value for each host
  pssh -h hosts.txt -I 'cat > /etc/motd' < motd    standard input to every host
  pssh -J bastion -h hosts.txt --sudo id           as root, behind a jump host
"
);

const HELP_PSCP: &str = help!(
    "  pscp -h hosts.txt motd /etc/motd                 a file to the hosts of a file
  pscp -h hosts.txt -r site /srv/www               a directory
  pscp -H 'web1 web2' a.conf b.conf /etc/app/      two files into a directory
  pscp -h hosts.txt --sudo sshd_config /etc/ssh/   as root
  pscp -H web1 --download /var/log/app.log logs    to logs/web1/app.log
"
);

const HELP_PSLURP: &str = help!(
    "  pslurp -h hosts.txt -L logs /var/log/app.log app.log   to logs/HOST/app.log
  pslurp -h hosts.txt -r -L etc /etc/nginx nginx         to etc/HOST/nginx
  pslurp -H 'web1 web2' '/var/log/*.gz' old              to web1/old/, web2/old/
"
);

const HELP_PRSYNC: &str = help!(
    "  prsync -h hosts.txt -a site/ /srv/www          a directory, only changes
  prsync -h hosts.txt -r -z -X --delete d /srv   with an option of rsync
  prsync -H web1 -r --download /var/log/app logs from web1, to logs/web1
"
);

const HELP_PNUKE: &str = help!(
    "  pnuke -h hosts.txt java                   all processes with java in the name
  pnuke -h hosts.txt -- '-u app java'       those of one user
  pnuke -h hosts.txt --sudo -- '-f app.py'  as root, matching command lines
"
);

// Lines of at most 80 columns.
const AFTER_PSSH: &str = "\
Values for each host (--host-args, --host-arg, --template; see pssh(1)):
  %q  %(name)q  the next value, or the named one, quoted as one shell word
  %s  %(name)s  the same, unquoted: the shell interprets it
  %d  %(name)d  the same, if it is a whole number; %% is a percent sign

Exit status (3 beats 4, which beats 5):
  0  all hosts: exit status 0        3  a host: signal, timeout or cancelled
  1  pssh itself failed              4  a host: not reached, or lost
  2  usage error; nothing connected  5  a host: another exit status";

const AFTER_PSCP: &str = "\
Each file is written beside its target under a temporary name, its size is
compared, and then it is renamed.

Exit status:
  0  all hosts: all files            3  a host: timeout or cancelled
  1  pscp itself failed              4  a host: not reached, lost, or not all
  2  usage error; nothing connected     files
  3 beats 4.";

const AFTER_PSLURP: &str = "\
Each host has its own directory: HOST, or HOST:PORT if a port was given. A name
that leads out of it is refused. Each file is written under a temporary name,
its size is compared, and then it is renamed.

Exit status:
  0  all hosts: all files            3  a host: timeout or cancelled
  1  pslurp itself failed            4  a host: not reached, or lost
  2  usage error; nothing connected  5  a host: not all files
  3 beats 4, which beats 5.";

const AFTER_PRSYNC: &str = "\
rsync(1) must be installed here and on the hosts; ssh need not be.

Exit status:
  0  all hosts: rsync succeeded      3  a host: signal, timeout or cancelled
  1  prsync itself failed            4  a host: not reached, lost, or rsync
  2  usage error; nothing connected     failed
  3 beats 4.";

const AFTER_PNUKE: &str = "\
The login shell runs 'pkill -9 PATTERN', with the pattern as it is.

Exit status:
  0  all hosts: processes killed     3  a host: signal, timeout or cancelled
  1  pnuke itself failed             4  a host: not reached, or lost
  2  usage error; nothing connected  5  a host: no match, or pkill failed
  3 beats 4, which beats 5.";

/// pssh(1).
#[derive(Debug, Parser)]
#[command(
    name = "pssh",
    about = "Runs a command on many hosts over SSH in parallel.",
    override_usage = "pssh [OPTIONS] COMMAND...",
    help_template = HELP_PSSH,
    after_help = AFTER_PSSH,
)]
struct Pssh {
    #[command(flatten)]
    hosts: HostOpts,
    #[command(flatten)]
    running: RunOpts,
    #[command(flatten)]
    rolling: RollingOpts,
    #[command(flatten)]
    check: CheckOpts,
    #[command(flatten)]
    command: CommandOpts,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    sudo: SudoOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    streams: StreamOpts,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    resume: ResumeOpt,
    #[command(flatten)]
    other: OtherOpts,

    /// Run this command; options end at its first word
    ///
    /// The words are joined by blanks, and the login shell of each host runs them.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, value_hint = ValueHint::CommandName)]
    words: Vec<OsString>,
}

/// pscp(1).
#[derive(Debug, Parser)]
#[command(
    name = "pscp",
    about = "Copies files to many hosts over SSH in parallel, or from them.",
    override_usage = "pscp [OPTIONS] SOURCE... TARGET\n       pscp [OPTIONS] --download REMOTE... DIR",
    help_template = HELP_PSCP,
    after_help = AFTER_PSCP,
)]
struct Pscp {
    #[command(flatten)]
    hosts: HostOpts,
    #[command(flatten)]
    running: RunOpts,
    #[command(flatten)]
    rolling: RollingOpts,
    #[command(flatten)]
    check: CheckOpts,
    #[command(flatten)]
    copy: CopyOpts,
    #[command(flatten)]
    direction: Direction,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    sudo: SudoOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    other: OtherOpts,

    /// Copy the first paths to the last; options end here
    #[arg(value_name = "PATH", trailing_var_arg = true, value_hint = ValueHint::AnyPath)]
    words: Vec<OsString>,
}

/// The direction of pscp.
#[derive(Debug, Default, Args)]
struct Direction {
    /// Copy from the hosts, each into DIR/HOST
    #[arg(long = "download", help_heading = "Copying")]
    download: bool,
}

/// pslurp(1).
#[derive(Debug, Parser)]
#[command(
    name = "pslurp",
    about = "Copies files from many hosts over SSH in parallel, each into a directory of its own.",
    override_usage = "pslurp [OPTIONS] REMOTE LOCAL",
    help_template = HELP_PSLURP,
    after_help = AFTER_PSLURP,
)]
struct Pslurp {
    #[command(flatten)]
    hosts: HostOpts,
    #[command(flatten)]
    running: RunOpts,
    #[command(flatten)]
    rolling: RollingOpts,
    #[command(flatten)]
    check: CheckOpts,
    #[command(flatten)]
    copy: CopyOpts,
    #[command(flatten)]
    place: LocalDirOpt,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    sudo: SudoOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    other: OtherOpts,

    /// Copy REMOTE to LOCAL in each host's directory; options end here
    #[arg(value_name = "PATH", trailing_var_arg = true, value_hint = ValueHint::AnyPath)]
    words: Vec<OsString>,
}

/// The local directory of pslurp.
#[derive(Debug, Default, Args)]
struct LocalDirOpt {
    /// Create the directories of the hosts in DIR [default: .]
    #[arg(short = 'L', long = "localdir", value_name = "DIR", help_heading = "Copying", value_hint = ValueHint::DirPath)]
    localdir: Option<PathBuf>,
}

/// prsync(1).
#[derive(Debug, Parser)]
#[command(
    name = "prsync",
    about = "Has rsync copy files to many hosts over SSH in parallel, or from them.",
    override_usage = "prsync [OPTIONS] SOURCE... TARGET\n       prsync [OPTIONS] --download REMOTE DIR",
    help_template = HELP_PRSYNC,
    after_help = AFTER_PRSYNC,
)]
struct Prsync {
    #[command(flatten)]
    hosts: HostOpts,
    #[command(flatten)]
    running: RunOpts,
    #[command(flatten)]
    rolling: RollingOpts,
    #[command(flatten)]
    check: CheckOpts,
    #[command(flatten)]
    rsync: RsyncOpts,
    #[command(flatten)]
    direction: RsyncDirection,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    inline: Inline,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    resume: ResumeOpt,
    #[command(flatten)]
    other: OtherOpts,

    /// Copy the first paths to the last; options end here
    #[arg(value_name = "PATH", trailing_var_arg = true, value_hint = ValueHint::AnyPath)]
    words: Vec<OsString>,
}

/// The direction of prsync.
#[derive(Debug, Default, Args)]
struct RsyncDirection {
    /// Copy from the hosts, each into DIR/HOST
    #[arg(short = 'd', long = "download", help_heading = "Copying")]
    download: bool,
}

/// The output of rsync.
#[derive(Debug, Default, Args)]
struct Inline {
    /// Show rsync's output for each host when it ends
    ///
    /// It is shown in one piece. The same as --format inline.
    #[arg(short = 'i', long = "inline", help_heading = "Output", overrides_with = "format",
          conflicts_with_all = ["json", "quiet"])]
    inline: bool,
}

/// pnuke(1).
#[derive(Debug, Parser)]
#[command(
    name = "pnuke",
    about = "Kills processes on many hosts over SSH in parallel.",
    override_usage = "pnuke [OPTIONS] PATTERN",
    help_template = HELP_PNUKE,
    after_help = AFTER_PNUKE,
)]
struct Pnuke {
    #[command(flatten)]
    hosts: HostOpts,
    #[command(flatten)]
    running: RunOpts,
    #[command(flatten)]
    rolling: RollingOpts,
    #[command(flatten)]
    check: CheckOpts,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    sudo: SudoOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    resume: ResumeOpt,
    #[command(flatten)]
    other: OtherOpts,

    /// Kill processes that match, see pkill(1); options end here
    #[arg(value_name = "PATTERN", trailing_var_arg = true)]
    words: Vec<OsString>,
}

impl Program {
    /// Returns the help for a command line without arguments.
    pub fn short_help(self) -> &'static str {
        match self {
            Program::Pssh => SHORT_PSSH,
            Program::Pscp => SHORT_PSCP,
            Program::Pslurp => SHORT_PSLURP,
            Program::Prsync => SHORT_PRSYNC,
            Program::Pnuke => SHORT_PNUKE,
        }
    }

    /// Returns the definition of its command line.
    pub fn command(self) -> clap::Command {
        let command = match self {
            Program::Pssh => Pssh::command(),
            Program::Pscp => Pscp::command(),
            Program::Pslurp => Pslurp::command(),
            Program::Prsync => Prsync::command(),
            Program::Pnuke => Pnuke::command(),
        };
        let command = match self {
            Program::Pssh => command,
            other => other.reword(command),
        };
        let command = with_rare_options(abbreviations::add(command, self));
        command
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .infer_long_args(true)
            .max_term_width(110)
            .mut_args(|arg| match has_number(&arg) {
                // A negative one is a wrong value, not an option of ssh such as -1.
                true => arg.allow_negative_numbers(true),
                false => arg,
            })
    }

    /// Replaces the texts of options that are about commands in pssh(1).
    fn reword(self, command: clap::Command) -> clap::Command {
        let copying = match self {
            Program::Pnuke => "pkill",
            _ => "copying",
        };
        let limit = format!("Stop {copying} after TIME [default: no limit]");
        let silence = format!("Stop {copying} if silent for TIME [default: none]");
        let silent = "It stops if nothing happens for this time. 0 means no limit.";
        let no_limit = "TIME is in seconds, or has units: 1m30s, 2h. 0 means no limit.";
        let command = says(command, "timeout", &limit, no_limit);
        let command = says(command, "channel_timeout", &silence, silent);
        let command = says(command, "format", "Show how hosts ended in this format [default: status]", "");
        let command = match self {
            Program::Prsync => command,
            _ => says(command, "no_headers", "Leave out the status line of each host", ""),
        };
        let command = says(command, "dry_run", "Print what would be done without connecting", "");
        if self == Program::Prsync {
            let options = "Set rsync's own options, such as '--delete -v'";
            let command = says(command, "extra-args", options, "Quotes work as in a shell. May be repeated.");
            return says(command, "extra-arg", "Set one option of rsync, as it is", "May be repeated.");
        }
        let command = match self {
            Program::Pnuke => command,
            _ => {
                let options = "Set scp's own options, such as '-P 2222 -p'";
                let command = says(command, "extra-args", options, "Quotes work as in a shell. May be repeated.");
                says(command, "extra-arg", "Add one word to scp's options, as it is", "May be repeated.")
            }
        };
        let does = match self {
            Program::Pnuke => "Run pkill",
            _ => "Read and write files on hosts",
        };
        let asked = "The password is asked for on the terminal once, when a host first wants it.";
        let command = says(command, "sudo", &format!("{does} with sudo"), asked);
        let command = says(command, "run_as", &format!("{does} as USER with sudo"), "");
        ["sudo", "run_as"]
            .into_iter()
            .fold(command, |command, id| command.mut_arg(id, |arg| arg.help_heading("Running")))
    }

    /// Reads its command line.
    pub(super) fn parse(self, arguments: Vec<OsString>) -> Result<Opts, clap::Error> {
        let mut command = self.command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let opts = match self {
            Program::Pssh => Pssh::from_arg_matches(&matches).map(Opts::from),
            Program::Pscp => Pscp::from_arg_matches(&matches).map(Opts::from),
            Program::Pslurp => Pslurp::from_arg_matches(&matches).map(Opts::from),
            Program::Prsync => Prsync::from_arg_matches(&matches).map(Opts::from),
            Program::Pnuke => Pnuke::from_arg_matches(&matches).map(Opts::from),
        };
        // Only --explain needs them.
        let given = |opts: &Opts| match opts.other.explain {
            true => given::of_command_line(&command, &matches),
            false => Vec::new(),
        };
        opts.map(|opts| Opts { given: given(&opts), ..opts })
    }
}

/// Whether the value of an option is a number, or begins with one.
fn has_number(arg: &clap::Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    !arg.is_positional() && names.iter().any(|name| ["N", "TIME", "SIZES", "N/s"].contains(&name.as_str()))
}

/// Names the options that `--help` leaves out at its end.
fn with_rare_options(command: clap::Command) -> clap::Command {
    let rare = command.get_arguments().filter(|arg| arg.is_hide_short_help_set());
    let mut lines = vec![format!("More options, see {}(1):", command.get_name())];
    for name in rare.filter_map(|arg| arg.get_long()) {
        let last = lines.last_mut().filter(|line| line.len() + " --,".len() + name.len() <= HELP_COLUMNS);
        match last {
            Some(line) => line.push_str(&format!(" --{name}")),
            None => lines.push(format!("  --{name}")),
        }
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    command.after_help(format!("{after}\n\n{}", lines.join("\n")))
}

/// Sets the text of an option in `--help`, and the text that the manual page has behind it.
fn says(command: clap::Command, id: &str, help: &str, more: &str) -> clap::Command {
    let (help, manual) = (help.to_owned(), [help, more].join("\n\n").trim_end().to_owned());
    command.mut_arg(id, |arg| arg.help(help).long_help(manual))
}

/// Whether a copy continues the run in its journal: `--resume` also continues partial files, and is of use without a journal.
fn resumes(copy: &CopyOpts, reports: &ReportOpts) -> bool {
    copy.resume && reports.journal.journal.is_some() && reports.journal.rerun.is_none()
}

impl From<Pssh> for Opts {
    fn from(args: Pssh) -> Opts {
        let Pssh {
            hosts,
            running,
            rolling,
            check,
            command,
            sudo,
            connection,
            show,
            streams,
            reports,
            resume,
            other,
            words,
        } = args;
        let program = Program::Pssh;
        Opts {
            program,
            hosts,
            running,
            rolling,
            check,
            command,
            sudo,
            connection,
            show,
            streams,
            reports,
            resume: resume.resume,
            other,
            words,
            ..Opts::default()
        }
    }
}

impl From<Pscp> for Opts {
    fn from(args: Pscp) -> Opts {
        let Pscp { hosts, running, rolling, check, copy, direction, sudo, connection, show, reports, other, words } =
            args;
        let (program, download) = (Program::Pscp, direction.download);
        Opts {
            program,
            hosts,
            running,
            rolling,
            resume: resumes(&copy, &reports),
            check,
            copy,
            download,
            sudo,
            connection,
            show,
            reports,
            other,
            words,
            ..Opts::default()
        }
    }
}

impl From<Pslurp> for Opts {
    fn from(args: Pslurp) -> Opts {
        let Pslurp { hosts, running, rolling, check, copy, place, sudo, connection, show, reports, other, words } =
            args;
        let (program, localdir) = (Program::Pslurp, place.localdir);
        Opts {
            program,
            hosts,
            running,
            rolling,
            resume: resumes(&copy, &reports),
            check,
            copy,
            download: true,
            localdir,
            sudo,
            connection,
            show,
            reports,
            other,
            words,
            ..Opts::default()
        }
    }
}

impl From<Prsync> for Opts {
    fn from(args: Prsync) -> Opts {
        let Prsync {
            hosts,
            running,
            rolling,
            check,
            rsync,
            direction,
            connection,
            show,
            inline,
            reports,
            resume,
            other,
            words,
        } = args;
        let (program, download) = (Program::Prsync, direction.download);
        let streams = StreamOpts { inline: inline.inline, ..StreamOpts::default() };
        Opts {
            program,
            hosts,
            running,
            rolling,
            check,
            rsync,
            download,
            connection,
            show,
            streams,
            reports,
            resume: resume.resume,
            other,
            words,
            ..Opts::default()
        }
    }
}

impl From<Pnuke> for Opts {
    fn from(args: Pnuke) -> Opts {
        let Pnuke { hosts, running, rolling, check, sudo, connection, show, reports, resume, other, words } = args;
        let program = Program::Pnuke;
        Opts {
            program,
            hosts,
            running,
            rolling,
            check,
            sudo,
            connection,
            show,
            reports,
            resume: resume.resume,
            other,
            words,
            ..Opts::default()
        }
    }
}
