//! The five programs of the suite, and what is the same for all of them: the way in and out of the process.

use std::process::ExitCode;
use std::sync::OnceLock;

use crate::cli;
use crate::error::reason;
use crate::run::{self, Ending, STDOUT};
use crate::ssh::was_closed_at_start;
use crate::{exit, output, panics, redact, rsync, secret, signals};

/// One of the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// Runs a command.
    #[default]
    Pssh,
    /// Copies files to hosts, or from them.
    Pscp,
    /// Copies files from hosts.
    Pslurp,
    /// Has rsync copy files.
    Prsync,
    /// Kills processes.
    Pnuke,
}

/// The program that this process is.
static CURRENT: OnceLock<Program> = OnceLock::new();

impl Program {
    /// All of them.
    pub const ALL: [Program; 5] = [Program::Pssh, Program::Pscp, Program::Pslurp, Program::Prsync, Program::Pnuke];

    /// What a copy has come to that was interrupted.
    pub const INCOMPLETE: &str =
        "what had not arrived completely is not in place; --resume keeps it, and goes on with it";

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Program::Pssh => "pssh",
            Program::Pscp => "pscp",
            Program::Pslurp => "pslurp",
            Program::Prsync => "prsync",
            Program::Pnuke => "pnuke",
        }
    }

    /// The one that this process is; pssh where it is somebody else's.
    pub fn current() -> Program {
        CURRENT.get().copied().unwrap_or_default()
    }

    /// What it does on a host, as the subject of a sentence.
    pub fn task(self) -> &'static str {
        match self {
            Program::Pssh | Program::Pnuke => "the command",
            Program::Pscp | Program::Pslurp => "the copy",
            Program::Prsync => "rsync",
        }
    }

    /// What an exit status of what it runs on the hosts means, where that is known.
    pub fn meaning(self, status: u32) -> Option<String> {
        const SEE: &str = "-i shows all that rsync has said, -e DIR keeps it";
        let meaning = match (self, status) {
            (Program::Prsync, 0) => None,
            (Program::Prsync, _) => {
                let words = rsync::hint(status).or_else(|| rsync::meaning(status)).unwrap_or("rsync failed");
                return Some(format!("{words}; {SEE}"));
            }
            // pkill(1), EXIT STATUS.
            (Program::Pnuke, 1) => Some("no process has matched"),
            (Program::Pnuke, 2) => Some("pkill does not understand the pattern"),
            (Program::Pnuke, 127) => Some("there is no pkill on the host (procps has it)"),
            _ => None,
        };
        meaning.map(str::to_owned)
    }

    /// The exit status for hosts on which a command has failed or files could not be copied: pscp and prsync of pssh 2.3.6 make no
    /// difference to a host that was not reached.
    pub fn failed(self) -> u8 {
        match self {
            Program::Pssh | Program::Pslurp | Program::Pnuke => exit::COMMAND,
            Program::Pscp | Program::Prsync => exit::SSH,
        }
    }
}

/// The whole process, from the command line to the exit status.
pub fn main(program: Program) -> ExitCode {
    // Nobody has set it before.
    let _ = CURRENT.set(program);
    if let Some(status) = rsync::as_remote_shell(std::env::args_os()) {
        return status;
    }
    panics::install();
    secret::keep_out_of_dumps();
    if let Err(error) = signals::outlive_large_files() {
        output::complain(&format!("cannot handle SIGXFSZ: {}", reason(&error)));
        return ExitCode::from(exit::FAILURE);
    }
    if std::env::args_os().len() <= 1 {
        output::raw_stderr(program.short_help());
        return ExitCode::from(exit::USAGE);
    }
    let opts = match cli::parse(program, std::env::args_os()) {
        Ok(opts) => opts,
        Err(error) => {
            let is_question = run::is_question(&error);
            if is_question && was_closed_at_start(STDOUT) {
                output::complain(run::CLOSED_STDOUT);
                return ExitCode::from(exit::FAILURE);
            }
            if !is_question {
                output::raw_stderr(&format!("{}: ", program.name()));
            }
            // Whoever asked may have closed the pipe already.
            let _ = error.print();
            return ExitCode::from(if is_question { exit::OK } else { exit::USAGE });
        }
    };
    let ending = run::run(opts);
    if let Err(fatal) = &ending {
        output::complain(&format!("{:#}", fatal.error));
    }
    // Nobody has a password any more: they are zeroed.
    redact::forget();
    match ending {
        Ok(Ending::Status(status)) => ExitCode::from(status),
        Ok(Ending::Signal(signal)) => {
            signals::die_by(signal);
            ExitCode::from(exit::KILLED)
        }
        Err(fatal) => ExitCode::from(fatal.status),
    }
}
