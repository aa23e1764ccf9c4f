//! Process entry: command line in, exit status out.

use std::process::ExitCode;

use pssh::cli::{self, SHORT_HELP};
use pssh::run::Ending;
use pssh::{exit, output, pool, rsync, run, signals};

fn main() -> ExitCode {
    if let Some(status) = rsync::as_remote_shell(std::env::args_os()) {
        return status;
    }
    quiet_worker_panics();
    if std::env::args_os().len() <= 1 {
        output::raw_stderr(SHORT_HELP);
        return ExitCode::from(exit::USAGE);
    }
    let opts = match cli::parse(std::env::args_os()) {
        Ok(opts) => opts,
        Err(error) => {
            // Whoever asked may have closed the pipe already.
            let _ = error.print();
            return ExitCode::from(if run::is_question(&error) { exit::OK } else { exit::USAGE });
        }
    };
    match run::run(opts) {
        Ok(Ending::Status(status)) => ExitCode::from(status),
        Ok(Ending::Signal(signal)) => {
            signals::die_by(signal);
            ExitCode::from(exit::KILLED)
        }
        Err(fatal) => {
            output::complain(&format!("{:#}", fatal.error));
            ExitCode::from(fatal.status)
        }
    }
}

/// A panic of a worker is reported as the outcome of its host; only others are told in Rust's way.
fn quiet_worker_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(pool::WORKER_NAME) {
            tell(panic);
        }
    }));
}
