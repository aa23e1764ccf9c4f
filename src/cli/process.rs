//! Entry and exit of the process.

use std::process::ExitCode;

use super::notices;
use super::options;
use super::signals;
use super::start::{self, Ending, STDOUT};
use crate::copy::rsync;
use crate::events::exit_status;
use crate::plan::program::Program;
use crate::ssh::was_closed_at_start;
use crate::system::panics::Told;
use crate::system::{panics, password_source, process_name, redact};
use crate::text::message::reason;

/// Runs the process, from the command line to the exit status.
pub fn main() -> ExitCode {
    if let Some(status) = rsync::as_remote_shell(std::env::args_os()) {
        return ExitCode::from(status.unwrap_or_else(|problem| {
            // rsync starts the file of prsync, whose name is pssh.
            notices::complain(Program::Prsync, &problem);
            rsync::NO_CONNECTION
        }));
    }
    let called = std::env::args_os().next();
    let program = Program::called(called.as_deref());
    if let Some(called) = called.filter(|_| program != Program::Pssh) {
        process_name::set(&called);
    }
    panics::install(move |told| match told {
        Told::Line(text) => notices::complain(program, text),
        Told::Trace(text) => notices::raw_stderr(text),
    });
    password_source::keep_out_of_dumps();
    if let Err(error) = signals::outlive_large_files() {
        notices::complain(program, &format!("cannot handle SIGXFSZ: {}", reason(&error)));
        return ExitCode::from(exit_status::FAILURE);
    }
    if std::env::args_os().len() <= 1 {
        notices::raw_stderr(program.short_help());
        return ExitCode::from(exit_status::USAGE);
    }
    let opts = match options::parse(program, std::env::args_os()) {
        Ok(opts) => opts,
        Err(error) => {
            let is_question = start::is_question(&error);
            if is_question && was_closed_at_start(STDOUT) {
                notices::complain(program, start::CLOSED_STDOUT);
                return ExitCode::from(exit_status::FAILURE);
            }
            if !is_question {
                notices::raw_stderr(&format!("{}: ", program.name()));
            }
            // The reader may have closed the pipe already.
            let _ = error.print();
            return ExitCode::from(if is_question { exit_status::OK } else { exit_status::USAGE });
        }
    };
    let ending = start::run(opts);
    if let Err(fatal) = &ending {
        notices::complain(program, &format!("{:#}", fatal.error));
    }
    // All passwords are zeroed by now.
    redact::forget();
    match ending {
        Ok(Ending::Status(status)) => ExitCode::from(status),
        Ok(Ending::Signal(signal)) => {
            signals::die_by(signal);
            ExitCode::from(exit_status::KILLED)
        }
        Err(fatal) => ExitCode::from(fatal.status),
    }
}
