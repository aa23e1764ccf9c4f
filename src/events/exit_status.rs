//! From the tally of a run to the exit status of the program, as in pssh.

use super::event::Class;
use super::tally::{NO_STATUS, Tally};

/// All hosts succeeded: exit status 0, or what the user counts as success.
pub const OK: u8 = 0;
/// pssh itself failed: a file that cannot be read, standard output that cannot be written.
pub const FAILURE: u8 = 1;
/// The command line, a hosts file or another input is wrong; nothing was connected to.
pub const USAGE: u8 = 2;
/// A command was killed, timed out or was cancelled.
pub const KILLED: u8 = 3;
/// A host could not be reached or was lost.
pub const SSH: u8 = 4;
/// A command ended with a non-zero exit status, its check did not pass, or files could not be copied.
pub const COMMAND: u8 = 5;

/// Returns the exit status of a class of outcomes.
pub fn of_class(class: Class) -> u8 {
    match class {
        Class::Ok => OK,
        Class::Local => FAILURE,
        Class::Signal | Class::Timeout | Class::Cancelled => KILLED,
        Class::Dns | Class::Connect | Class::Proxy | Class::HostKey | Class::Auth | Class::Ssh | Class::Lost => SSH,
        Class::Exit | Class::Check | Class::Copy => COMMAND,
    }
}

/// Returns the exit status of a run: that of the gravest outcome. 1 beats 3, which beats 4, which beats 5 (pssh 2.3.6).
pub fn of_tally(tally: &Tally) -> u8 {
    // The statuses happen to be ordered by gravity, but for 0.
    tally.iter().map(|(class, _)| of_class(class)).filter(|status| *status != OK).min().unwrap_or(OK)
}

/// Returns the largest exit status of all hosts, for `--max-status`. A host without one counts as what ssh(1) would have exited
/// with, as with clush and pdsh, and so does a status above 255. A host that succeeded counts as 0, whatever its status.
pub fn largest(tally: &Tally) -> u8 {
    let have_one = tally.count(Class::Ok) + tally.count(Class::Exit);
    let status = tally.largest_status().filter(|_| have_one == tally.total()).unwrap_or(NO_STATUS);
    u8::try_from(status).unwrap_or(u8::MAX)
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

    #[test]
    fn the_largest_status_counts_those_that_have_none() {
        use crate::events::event::{HostStage, Outcome};
        use crate::events::host_error::HostError;
        let status = |outcomes: &[Outcome]| {
            let mut tally = Tally::default();
            outcomes.iter().for_each(|outcome| tally.add_outcome(outcome));
            largest(&tally)
        };
        use Outcome::{Cancelled, Exited};
        assert_eq!(status(&[Exited(0), Exited(0)]), 0);
        assert_eq!(status(&[Exited(3), Exited(7), Exited(0)]), 7);
        assert_eq!(status(&[Exited(256)]), 255);
        let judged = |is_success, outcome| Outcome::Judged { is_success, outcome: Box::new(outcome) };
        assert_eq!(status(&[judged(true, Exited(9)), Exited(0)]), 0);
        assert_eq!(status(&[judged(true, Exited(9)), Exited(3)]), 3);
        assert_eq!(status(&[judged(true, HostError::Lost { detail: String::new(), hint: None }.into())]), 0);
        assert_eq!(status(&[judged(false, Exited(0)), Exited(3)]), 255);
        assert_eq!(status(&[Exited(0), Cancelled { stage: HostStage::Waiting, why: None }]), 255);
        assert_eq!(status(&[Exited(0), Outcome::Signaled { name: "KILL".to_owned() }]), 255);
    }
}
