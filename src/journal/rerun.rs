//! Which hosts a run that continues another one runs again.

use super::history::Standing;
use super::record::Ending;
use crate::events::event::Class;
use crate::text::suggest::did_you_mean;

/// Hosts that did not get as far as a command.
const UNREACHED: &str = "unreached";
/// Hosts that have not succeeded, without those whose command may have run or may still run.
const FAILED: &str = "failed";

/// Which hosts run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Those whose command was not sent, unless they have an end of their own.
    Resume,
    /// Those that ended in one of these ways.
    Rerun(Set),
}

/// Ways to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    unreached: bool,
    failed: bool,
    classes: Vec<Class>,
}

impl Set {
    /// Returns the words that it reads.
    pub fn words() -> impl Iterator<Item = &'static str> + Clone {
        [UNREACHED, FAILED].into_iter().chain(Class::ALL.into_iter().map(Class::word))
    }

    /// Reads words with commas between them: `unreached`, `failed` and the words of outcomes.
    ///
    /// # Errors
    /// A word is none of these.
    pub fn parse(text: &str) -> Result<Set, String> {
        let mut set = Set::default();
        for word in text.split(',').map(str::trim) {
            match (word, Class::of_word(word)) {
                (UNREACHED, _) => set.unreached = true,
                (FAILED, _) => set.failed = true,
                (_, Some(class)) => set.classes.push(class),
                (_, None) => {
                    let tip = did_you_mean(word, Set::words());
                    let words = Set::words().collect::<Vec<_>>().join(", ");
                    return Err(format!("there is no outcome {word:?}{tip}; the outcomes are {words}"));
                }
            }
        }
        Ok(set)
    }

    fn has(&self, ending: &Ending) -> bool {
        // A command that may still run is repeated only by the name of its outcome.
        let is_failed = !ending.is_success && ending.class != Class::Lost && !ending.may_still_run;
        let is_ok = ending.is_success && self.classes.contains(&Class::Ok);
        let is_named = !ending.is_success && self.classes.contains(&ending.class);
        is_ok || is_named || self.failed && is_failed || self.unreached && ending.is_unreached
    }
}

impl Choice {
    /// Whether a host runs.
    pub fn runs(&self, standing: Standing) -> bool {
        match (self, standing) {
            // The run was stopped before it came to this host: that is not an end of its own.
            (Choice::Resume, Standing::Ended(ending)) => ending.class == Class::Cancelled && !ending.was_sent,
            (Choice::Resume, Standing::Lost | Standing::InDoubt) => false,
            (Choice::Resume, Standing::NotStarted) => true,
            (Choice::Rerun(set), Standing::Ended(ending)) => set.has(&ending),
            (Choice::Rerun(set), Standing::Lost | Standing::InDoubt) => set.classes.contains(&Class::Lost),
            (Choice::Rerun(set), Standing::NotStarted) => set.failed || set.classes.contains(&Class::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(class: Class) -> Ending {
        Ending {
            class,
            may_still_run: false,
            was_sent: true,
            is_unreached: false,
            is_success: class == Class::Ok,
            started: None,
            connected: None,
        }
    }

    #[test]
    fn sets_are_words_with_commas() {
        assert_eq!(Set::parse("ok"), Ok(Set { classes: vec![Class::Ok], ..Set::default() }));
        let both = Set { unreached: true, failed: true, classes: vec![Class::Lost, Class::Timeout] };
        assert_eq!(Set::parse("unreached, failed,lost,timeout"), Ok(both));
        for bad in ["", ",", "ok,", "all", "OK", "exit 1"] {
            assert!(Set::parse(bad).expect_err(bad).contains("there is no outcome"));
        }
        assert!(Set::parse("canceled").expect_err("a slip").contains("cancelled"));
    }

    #[test]
    fn what_may_have_run_has_to_be_named() {
        let runs = |words: &str, standing| Choice::Rerun(Set::parse(words).expect("a set")).runs(standing);
        let of = |class| Standing::Ended(ended(class));
        let unstopped = Standing::Ended(Ending { may_still_run: true, ..ended(Class::Timeout) });
        let unreached = Standing::Ended(Ending { is_unreached: true, was_sent: false, ..ended(Class::Timeout) });
        for (words, expected) in [
            //             ok     exit   lost   end?   none   runs   not reached
            ("failed", [false, true, false, false, true, false, true]),
            ("unreached", [false, false, false, false, false, false, true]),
            ("timeout", [false, false, false, false, false, true, true]),
            ("lost", [false, false, true, true, false, false, false]),
            ("cancelled", [false, false, false, false, true, false, false]),
            ("ok", [true, false, false, false, false, false, false]),
            ("exit,lost", [false, true, true, true, false, false, false]),
        ] {
            let all = [
                of(Class::Ok),
                of(Class::Exit),
                of(Class::Lost),
                Standing::Lost,
                Standing::NotStarted,
                unstopped,
                unreached,
            ];
            assert_eq!(all.map(|standing| runs(words, standing)), expected, "{words}");
        }
        let in_doubt = ["failed,unreached,cancelled,timeout", "lost"].map(|words| runs(words, Standing::InDoubt));
        assert_eq!(in_doubt, [false, true], "it has to be named");
        // An exit status that counts as a success is one.
        let success = Standing::Ended(Ending { is_success: true, ..ended(Class::Exit) });
        assert_eq!(["exit", "failed", "ok"].map(|words| runs(words, success)), [false, false, true]);
    }

    #[test]
    fn nothing_that_was_sent_is_resumed() {
        let resumes = |standing| Choice::Resume.runs(standing);
        assert!(resumes(Standing::NotStarted) && !resumes(Standing::Lost) && !resumes(Standing::InDoubt));
        for class in Class::ALL {
            assert!(!resumes(Standing::Ended(ended(class))), "{class:?}");
            let not_sent = Standing::Ended(Ending { was_sent: false, ..ended(class) });
            assert_eq!(resumes(not_sent), class == Class::Cancelled, "{class:?}: it has an end of its own, or none");
        }
    }
}
