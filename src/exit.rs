//! From the tally of a run to the exit status of the program, as pssh has it.

use crate::event::{Class, Tally};

/// All hosts ended with exit status 0.
pub const OK: u8 = 0;
/// Our own failure: a file that cannot be read, standard output that cannot be written.
pub const FAILURE: u8 = 1;
/// The command line, a hosts file or another input is wrong; nothing was connected to.
pub const USAGE: u8 = 2;
/// A command was killed, timed out or was cancelled.
pub const KILLED: u8 = 3;
/// A host could not be reached or was lost.
pub const SSH: u8 = 4;
/// A command ended with a non-zero exit status.
pub const COMMAND: u8 = 5;

/// The exit status that stands for one class of outcome.
pub fn of_class(class: Class) -> u8 {
    match class {
        Class::Ok => OK,
        Class::Local => FAILURE,
        Class::Signal | Class::Timeout | Class::Cancelled => KILLED,
        Class::Dns | Class::Connect | Class::Proxy | Class::HostKey | Class::Auth | Class::Ssh | Class::Lost => SSH,
        Class::Exit => COMMAND,
    }
}

/// The exit status of a run: the gravest of its outcomes. Our own failure beats 3, which beats 4, which beats 5 (pssh 2.3.6).
pub fn of_tally(tally: &Tally) -> u8 {
    // The statuses happen to be ordered by gravity, but for 0.
    tally.iter().map(|(class, _)| of_class(class)).filter(|status| *status != OK).min().unwrap_or(OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(classes: &[Class]) -> u8 {
        let mut tally = Tally::default();
        classes.iter().for_each(|class| tally.add(*class));
        of_tally(&tally)
    }

    #[test]
    fn the_gravest_outcome_decides() {
        assert_eq!(status(&[Class::Ok, Class::Ok]), 0);
        assert_eq!(status(&[Class::Ok, Class::Exit]), 5);
        assert_eq!(status(&[Class::Exit, Class::Auth, Class::Ok]), 4);
        assert_eq!(status(&[Class::Exit, Class::Lost]), 4);
        assert_eq!(status(&[Class::Exit, Class::Connect, Class::Timeout]), 3);
        assert_eq!(status(&[Class::Signal, Class::HostKey]), 3);
        assert_eq!(status(&[Class::Cancelled]), 3);
        assert_eq!(status(&[Class::Timeout, Class::Local]), 1);
    }
}
