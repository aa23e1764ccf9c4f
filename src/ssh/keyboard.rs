//! Keyboard-interactive authentication (RFC 4256): what the server asks, and who answers.
//!
//! A password that the run has answers the server's question for a password. Everything else, such as a one-time code, is
//! asked on the terminal, one host at a time.

use std::os::fd::BorrowedFd;

use rustix::net::{Shutdown, shutdown};

use super::ffi::{Answerer, Question};
use super::host::Host;
use super::wait::Watch;
use crate::event::Outcome;
use crate::output::quoted;
use crate::secret::Secret;
use crate::terminal::{AskError, Terminal};

/// Characters of a question, and of what is said before it, that are shown.
const LONGEST: usize = 200;

/// The conversation with one host.
pub struct Conversation<'a> {
    host: &'a Host,
    /// The password, until the server has been told it.
    password: Option<&'a Secret>,
    terminal: &'a Terminal,
    watch: &'a Watch<'a>,
    socket: BorrowedFd<'a>,
    /// Whether the server has been told the password.
    pub told_password: bool,
    /// Why there was no answer, in which case the connection has been ended: libssh2 would otherwise send an empty one,
    /// which counts as a failed attempt.
    pub stop: Option<Silence>,
}

/// Why a question was not answered.
#[derive(Debug)]
pub enum Silence {
    /// The job is over.
    Job(Outcome),
    /// Nobody has the answer; in words, for the message.
    NoAnswer(String),
}

impl<'a> Conversation<'a> {
    /// A conversation that has not begun.
    pub fn new(
        host: &'a Host,
        password: Option<&'a Secret>,
        terminal: &'a Terminal,
        watch: &'a Watch<'a>,
        socket: BorrowedFd<'a>,
    ) -> Self {
        Conversation { host, password, terminal, watch, socket, told_password: false, stop: None }
    }

    /// Answers one question; `introduction` is what the server says before it.
    fn answer_one(&mut self, introduction: &str, question: &Question) -> Result<Secret, Silence> {
        let asks_password = asks_for_password(question);
        if asks_password && let Some(password) = self.password.take() {
            self.told_password = true;
            return Ok(password.duplicate());
        }
        let text = quoted(question.text.trim(), LONGEST);
        if asks_password && !self.told_password {
            return Err(Silence::NoAnswer(format!("it asks {text}, and there is no password for it")));
        }
        let introduction = if introduction.is_empty() { String::new() } else { quoted(introduction, LONGEST) + " " };
        // The server's words stand in quotes behind the host's name: they are no question of ours, nor of another host.
        let prompt = format!("({}) {introduction}{text} ", self.host);
        self.terminal.ask(&prompt, question.echo, self.watch.patience()).map_err(|error| match error {
            // The watch knows how to say it.
            AskError::Cancelled | AskError::TooLate => match self.watch.check() {
                Err(outcome) => Silence::Job(outcome),
                Ok(()) => Silence::NoAnswer(format!("it asks {text}, and {error}")),
            },
            error => Silence::NoAnswer(format!("it asks {text}, and {error}")),
        })
    }

    fn answer_all(&mut self, introduction: &str, questions: &[Question]) -> Result<Vec<Secret>, Silence> {
        // A server that asks on and on would otherwise never let libssh2 return.
        self.watch.check().map_err(Silence::Job)?;
        let introductions = std::iter::once(introduction).chain(std::iter::repeat(""));
        introductions.zip(questions).map(|(introduction, question)| self.answer_one(introduction, question)).collect()
    }
}

impl Answerer for Conversation<'_> {
    fn answer(&mut self, name: &str, instruction: &str, questions: &[Question]) -> Vec<Secret> {
        match self.answer_all(&introduction(name, instruction), questions) {
            Ok(answers) => answers,
            Err(silence) => {
                self.stop = Some(silence);
                // What libssh2 goes on to send does not reach anybody.
                let _ = shutdown(self.socket, Shutdown::Both);
                Vec::new()
            }
        }
    }
}

/// What the server says before its questions: name and instruction may hold what the user has to know, such as a
/// challenge. In one line, since line breaks are among what is made harmless.
fn introduction(name: &str, instruction: &str) -> String {
    let lines = name.lines().chain(instruction.lines()).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" | ")
}

/// Whether the password of the run is the answer: the answer is not to be seen, and the text asks for a password, as in
/// `Password:` or `Password for root@db1:`, but for none that is used once or is to replace it, as in `One-time password:`
/// or `New password:`.
fn asks_for_password(question: &Question) -> bool {
    const OTHERS: [&str; 8] = ["one", "onetime", "otp", "new", "next", "retype", "repeat", "confirm"];
    let text = question.text.to_lowercase();
    let Some(place) = text.rfind("password") else { return false };
    let mut before = text[..place].split(|c: char| !c.is_alphanumeric());
    !question.echo && !before.any(|word| OTHERS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Question {
        Question { text: text.to_owned(), echo: false }
    }

    #[test]
    fn a_password_is_told_from_a_code() {
        for text in ["Password: ", "password:", "Password for root@newyork:", "root@h's password: ", "LDAP Password: "]
        {
            assert!(asks_for_password(&question(text)), "{text}");
            assert!(!asks_for_password(&Question { text: text.to_owned(), echo: true }), "{text}");
        }
        for text in [
            "Verification code: ",
            "One-time password (OATH) for `root': ",
            "New password: ",
            "Retype new password: ",
            "Enter OTP password:",
            "Passcode or option (1-3): ",
            "",
        ] {
            assert!(!asks_for_password(&question(text)), "{text}");
        }
    }

    #[test]
    fn an_instruction_comes_before_the_first_question() {
        assert_eq!(introduction("Duo", "challenge 42\r\n\nnow\n"), "Duo | challenge 42 | now");
        assert_eq!(introduction("", " \n"), "");
    }
}
