//! The command line of each program: which groups of options it has, and the texts of its help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueHint};

use super::abbreviations;
use super::{
    CommandOpts, ConnectionOpts, CopyOpts, HostOpts, Opts, OtherOpts, ReportOpts, RsyncOpts, RunOpts, ShowOpts,
    StreamOpts, SudoOpts,
};
use crate::cli::given;
use crate::plan::program::Program;

/// The order of the help: what somebody in a hurry looks for comes first.
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
    "  pssh -H 'web1 root@web2:2222' uptime              two hosts
  pssh -h hosts.txt -p 32 -t 1m df -h /             the hosts of a file, 32 at once, a minute for each command
  pssh -h hosts.txt 'cd /srv && ls | wc -l'         one shell line, quoted once for our shell
  pssh -h hosts.txt --host-args v.csv 'deploy %q'   each host with its own value, quoted
  pssh -h hosts.txt -I 'cat > /etc/motd' < motd     standard input, to every host
  pssh -J bastion -h hosts.txt --sudo id            as root, behind a jump host
"
);

const HELP_PSCP: &str = help!(
    "  pscp -h hosts.txt motd /etc/motd                  a file to the hosts of a file
  pscp -h hosts.txt -r site /srv/www                a directory: /srv/www/site, or /srv/www if that is not there yet
  pscp -H 'web1 web2' a.conf b.conf /etc/app/       two files into a directory, which is made if it is missing
  pscp -h hosts.txt --sudo sshd_config /etc/ssh/    as root
  pscp -H web1 --download /var/log/app.log logs     from web1, to logs/web1/app.log
"
);

const HELP_PSLURP: &str = help!(
    "  pslurp -h hosts.txt -L logs /var/log/app.log app.log   to logs/HOST/app.log
  pslurp -h hosts.txt -r -L etc /etc/nginx nginx         directories, to etc/HOST/nginx
  pslurp -H 'web1 web2' '/var/log/*.gz' old              all that the hosts have, to web1/old/ and web2/old/
"
);

const HELP_PRSYNC: &str = help!(
    "  prsync -h hosts.txt -a site/ /srv/www             a directory, only what has changed
  prsync -h hosts.txt -r -z -X --delete d /srv      with an option for rsync
  prsync -H web1 -r --download /var/log/app logs    from web1, to logs/web1
"
);

const HELP_PNUKE: &str = help!(
    "  pnuke -h hosts.txt java                           kills all processes whose name has java in it
  pnuke -h hosts.txt -- '-u app java'               those of one user: the pattern is what pkill(1) takes
  pnuke -h hosts.txt --sudo -- '-f daemon.py'       as root, whole command lines
"
);

const AFTER_PSSH: &str = "\
Values for each host (--host-args, --host-arg, --template):
  %q  %(name)q  the next value, or the one named so, quoted: one word for the shell, whatever is in it. No quotes round it
  %s  %(name)s  the same as it is: the shell acts on what it finds there
  %d  %(name)d  the same as it is, if it is a whole number
  %%            a percent sign
  %(host)s, %(user)s, %(port)s and %(index)s are known for all hosts, the index from 0; --template is enough for these.
  Without these options, % is an ordinary character.
  FILE has a row for each host: CSV, TSV (by its name), a JSON array or JSON Lines of values, arrays or objects.
  The first line of CSV is a header if the command takes all values by name, and data otherwise.
  If rows have a \"host\" (--host-column names another), it says whose row it is; else they stand in the order of the hosts.

Exit status:
  0  every host: exit status 0       3  some host: signal, timeout or cancelled
  1  our own failure                 4  some host: not reached, or lost
  2  usage; nothing was connected to 5  some host: another exit status
  3 beats 4, which beats 5.";

// Lines of at most 78 columns; a paragraph is one line, which is broken where the terminal ends.
const AFTER_PSCP: &str = "\
Nothing half-written is ever in place: each file is written beside its target under another name, its size is compared, and then it \
is renamed.

Exit status:
  0  every host: all files           3  some host: timeout or cancelled
  1  our own failure                 4  some host: not reached, lost, or not
  2  usage; nothing was connected to    all files";

const AFTER_PSLURP: &str = "\
What a host has goes into a directory of its own, HOST, or HOST:PORT where a port was given; nothing that a host says leads out of it. \
Each file is written under another name, its size is compared, and then it is renamed.

Exit status:
  0  every host: all files           3  some host: timeout or cancelled
  1  our own failure                 4  some host: not reached, or lost
  2  usage; nothing was connected to 5  some host: not all files
  3 beats 4, which beats 5.";

const AFTER_PRSYNC: &str = "\
rsync(1) is needed here and on the hosts; ssh is not.

Exit status:
  0  every host: rsync was content   3  some host: signal, timeout, cancelled
  1  our own failure                 4  some host: not reached, lost, or rsync
  2  usage; nothing was connected to    failed";

const AFTER_PNUKE: &str = "\
The pattern is given to 'pkill -9' by the login shell as it is.

Exit status:
  0  every host: processes killed    3  some host: signal, timeout, cancelled
  1  our own failure                 4  some host: not reached, or lost
  2  usage; nothing was connected to 5  some host: no match, or pkill failed
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
    command: CommandOpts,
    #[command(flatten)]
    sudo: SudoOpts,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    streams: StreamOpts,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    other: OtherOpts,

    /// The command; its words are joined by blanks and run by the login shell of each host. Options end at its first word
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
    copy: CopyOpts,
    #[command(flatten)]
    direction: Direction,
    #[command(flatten)]
    sudo: SudoOpts,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    other: OtherOpts,

    /// What is copied, and where to. Options end at the first of them
    #[arg(value_name = "PATH", trailing_var_arg = true, value_hint = ValueHint::AnyPath)]
    words: Vec<OsString>,
}

/// Which way pscp copies.
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
    copy: CopyOpts,
    #[command(flatten)]
    place: LocalDirOpt,
    #[command(flatten)]
    sudo: SudoOpts,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    other: OtherOpts,

    /// What is copied, and its name in the directory of each host. Options end at the first of them
    #[arg(value_name = "PATH", trailing_var_arg = true, value_hint = ValueHint::AnyPath)]
    words: Vec<OsString>,
}

/// Where pslurp copies to.
#[derive(Debug, Default, Args)]
struct LocalDirOpt {
    /// Where the directories of the hosts are made [default: here]
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
    other: OtherOpts,

    /// What is copied, and where to. Options end at the first of them
    #[arg(value_name = "PATH", trailing_var_arg = true, value_hint = ValueHint::AnyPath)]
    words: Vec<OsString>,
}

/// Which way prsync copies.
#[derive(Debug, Default, Args)]
struct RsyncDirection {
    /// Copy from the hosts, each into DIR/HOST
    #[arg(short = 'd', long = "download", help_heading = "Copying")]
    download: bool,
}

/// What prsync shows of what rsync prints.
#[derive(Debug, Default, Args)]
struct Inline {
    /// Show what rsync has printed for each host in one piece when it ends; the same as --format inline
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
    sudo: SudoOpts,
    #[command(flatten)]
    connection: ConnectionOpts,
    #[command(flatten)]
    show: ShowOpts,
    #[command(flatten)]
    reports: ReportOpts,
    #[command(flatten)]
    other: OtherOpts,

    /// What pkill(1) looks for. Options end here
    #[arg(value_name = "PATTERN", trailing_var_arg = true)]
    words: Vec<OsString>,
}

impl Program {
    /// What is shown when nothing was asked for.
    pub fn short_help(self) -> &'static str {
        match self {
            Program::Pssh => SHORT_PSSH,
            Program::Pscp => SHORT_PSCP,
            Program::Pslurp => SHORT_PSLURP,
            Program::Prsync => SHORT_PRSYNC,
            Program::Pnuke => SHORT_PNUKE,
        }
    }

    /// The definition of its command line.
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
        let command = abbreviations::add(command, self);
        command
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .infer_long_args(true)
            .max_term_width(110)
    }

    /// Says what the options mean that are about commands in pssh(1).
    fn reword(self, command: clap::Command) -> clap::Command {
        let (what, does) = match self {
            Program::Pnuke => ("pkill", "Run pkill"),
            _ => ("copying", "Read and write files there"),
        };
        let limit = format!("Stop {what} if it takes longer: 90, 1m30s; 0 is never [default: never]");
        let silence = format!("Stop {what} if nothing happens for this time; 0 is never [default: never]");
        let command = command
            .mut_arg("timeout", |arg| arg.help(limit))
            .mut_arg("channel_timeout", |arg| arg.help(silence))
            .mut_arg("format", |arg| arg.help("How it is shown how the hosts ended [default: status]"))
            .mut_arg("no_headers", |arg| match self {
                Program::Prsync => arg,
                _ => arg.help("Leave out the lines that say how each host ended"),
            })
            .mut_arg("dry_run", |arg| arg.help("Show what would be done on each host, connect to nothing"));
        if self == Program::Prsync {
            return command
                .mut_arg("extra-args", |arg| {
                    arg.help("Options of rsync, such as '--delete --exclude .git', with quotes as in a shell; may be repeated")
                })
                .mut_arg("extra-arg", |arg| arg.help("One option of rsync, as it is; may be repeated"));
        }
        let command = match self {
            Program::Pnuke => command,
            _ => command.mut_arg("extra-args", |arg| {
                arg.help("Options of scp in its own letters, such as '-P 2222 -p', with quotes as in a shell; may be repeated")
            }),
        };
        let asked = "its password is asked for on the terminal once, when a host first wants it";
        command
            .mut_arg("sudo", |arg| arg.help(format!("{does} by sudo; {asked}")))
            .mut_arg("run_as", |arg| arg.help(format!("{does} as this user, by sudo")))
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
        // They are told and nothing else.
        let given = |opts: &Opts| match opts.other.explain {
            true => given::of_command_line(&command, &matches),
            false => Vec::new(),
        };
        opts.map(|opts| Opts { given: given(&opts), ..opts })
    }
}

impl From<Pssh> for Opts {
    fn from(args: Pssh) -> Opts {
        let Pssh { hosts, running, command, sudo, connection, show, streams, reports, other, words } = args;
        let program = Program::Pssh;
        Opts {
            program,
            hosts,
            running,
            command,
            sudo,
            connection,
            show,
            streams,
            reports,
            other,
            words,
            ..Opts::default()
        }
    }
}

impl From<Pscp> for Opts {
    fn from(args: Pscp) -> Opts {
        let Pscp { hosts, running, copy, direction, sudo, connection, show, reports, other, words } = args;
        let (program, download) = (Program::Pscp, direction.download);
        Opts {
            program,
            hosts,
            running,
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
        let Pslurp { hosts, running, copy, place, sudo, connection, show, reports, other, words } = args;
        let (program, localdir) = (Program::Pslurp, place.localdir);
        Opts {
            program,
            hosts,
            running,
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
        let Prsync { hosts, running, rsync, direction, connection, show, inline, reports, other, words } = args;
        let (program, download) = (Program::Prsync, direction.download);
        let streams = StreamOpts { inline: inline.inline, ..StreamOpts::default() };
        Opts {
            program,
            hosts,
            running,
            rsync,
            download,
            connection,
            show,
            streams,
            reports,
            other,
            words,
            ..Opts::default()
        }
    }
}

impl From<Pnuke> for Opts {
    fn from(args: Pnuke) -> Opts {
        let Pnuke { hosts, running, sudo, connection, show, reports, other, words } = args;
        let program = Program::Pnuke;
        Opts { program, hosts, running, sudo, connection, show, reports, other, words, ..Opts::default() }
    }
}
