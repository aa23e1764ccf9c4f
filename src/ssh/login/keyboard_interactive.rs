//! Keyboard-interactive authentication (RFC 4256): the server's questions, and their answers.
//!
//! A password that the run has answers the server's question for a password. Everything else, such as a one-time code, is
//! asked on the terminal, one host at a time.

use std::os::fd::BorrowedFd;

use rustix::net::{Shutdown, shutdown};

use super::question::{self, Asks};
use crate::events::event::Outcome;
use crate::events::remedy::Remedy;
use crate::ssh::destination::Destination;
use crate::ssh::ffi::{Answerer, Question};
use crate::ssh::watch::Watch;
use crate::system::password_source::Secret;
use crate::system::quotation::quoted;
use crate::system::terminal::{AskError, Terminal};

/// Most characters shown of a question, and of the text before it.
const LONGEST: usize = 200;

/// The dialogue with one host.
pub struct Conversation<'a> {
    host: &'a Destination,
    /// The password, until it was sent.
    password: Option<&'a Secret>,
    terminal: &'a Terminal,
    watch: &'a Watch<'a>,
    socket: BorrowedFd<'a>,
    /// The server's texts since the last question.
    said: String,
    /// Whether the password was sent.
    pub told_password: bool,
    /// Whether any answer was sent.
    pub told_any: bool,
    /// Whether the password has another method if a question stays unanswered: then the server gets an empty answer, as
    /// from ssh(1), which counts as a failed attempt, and the connection goes on.
    may_pass: bool,
    /// The question that got an empty answer for that reason, in words.
    pub passed: Option<String>,
    /// Why there was no answer, in which case the connection has been ended: libssh2 would otherwise send an empty one,
    /// which counts as a failed attempt.
    pub stop: Option<Silence>,
}

/// Why a question was not answered.
#[derive(Debug)]
pub enum Silence {
    /// The job has ended.
    Job(Outcome),
    /// There is no answer.
    NoAnswer {
        /// The question and the reason, in words.
        problem: String,
        /// The remedy.
        advice: Remedy,
    },
}

impl<'a> Conversation<'a> {
    /// Starts a dialogue.
    pub fn new(
        host: &'a Destination,
        password: Option<&'a Secret>,
        terminal: &'a Terminal,
        watch: &'a Watch<'a>,
        socket: BorrowedFd<'a>,
        may_pass: bool,
    ) -> Self {
        Conversation {
            host,
            password,
            terminal,
            watch,
            socket,
            said: String::new(),
            told_password: false,
            told_any: false,
            may_pass,
            passed: None,
            stop: None,
        }
    }

    /// Answers one question; `introduction` is the server's text before it.
    fn answer_one(&mut self, introduction: &str, question: &Question, is_alone: bool) -> Result<Secret, Silence> {
        // A question with an echoed answer is not for a password.
        let asked = if question.echo { Asks::Code } else { question::asks(&self.without_names(&question.text)) };
        let asks_password = asked == Asks::Password;
        let may_ask_password = asks_password || is_alone && asked == Asks::Unknown;
        let is_meant = self.host.credentials.password_prompt.as_ref().is_some_and(|prompt| prompt.fits(&question.text));
        if (may_ask_password || is_meant)
            && let Some(password) = self.password.take()
        {
            self.told_password = true;
            self.told_any = true;
            return Ok(password.duplicate());
        }
        let asks_another = matches!(asked, Asks::Password | Asks::NewPassword);
        let text = quoted(question.text.trim(), LONGEST);
        if asks_password && !self.told_password {
            let problem = format!("it asks {text}, and no password answers it");
            return Err(Silence::NoAnswer { problem, advice: Remedy::PasswordNeeded });
        }
        let introduction = if introduction.is_empty() { String::new() } else { quoted(introduction, LONGEST) + " " };
        // The server's text is quoted after the host's name: it cannot imitate a question of pssh, or of another host.
        let prompt = format!("({}) {introduction}{text} ", self.host);
        let answer = self.terminal.ask(&prompt, question.echo, self.watch.patience());
        self.told_any |= answer.is_ok();
        answer.map_err(|error| {
            // The watch has the right outcome.
            if let (AskError::Cancelled | AskError::TooLate, Err(outcome)) = (&error, self.watch.check()) {
                return Silence::Job(outcome);
            }
            // After the password was sent, another one is asked for: the password must be changed.
            let advice = if self.told_password && asks_another { Remedy::ChangePassword } else { Remedy::AnswerNeeded };
            Silence::NoAnswer { problem: format!("it asks {text}, and {error}"), advice }
        })
    }

    fn fall_silent(&mut self, silence: Silence) -> Vec<Secret> {
        match silence {
            Silence::NoAnswer { problem, .. } if self.may_pass && !self.told_password => {
                self.passed = Some(problem);
                return Vec::new();
            }
            _ => {}
        }
        self.stop = Some(silence);
        // What libssh2 sends after that reaches no server.
        let _ = shutdown(self.socket, Shutdown::Both);
        Vec::new()
    }

    fn answer_all(&mut self, introduction: &str, questions: &[Question]) -> Result<Vec<Secret>, Silence> {
        // A server that never stops asking would otherwise keep libssh2 from returning.
        self.watch.check().map_err(Silence::Job)?;
        let introductions = std::iter::once(introduction).chain(std::iter::repeat(""));
        let is_alone = questions.len() == 1;
        let mut answer = |(introduction, question)| self.answer_one(introduction, question, is_alone);
        introductions.zip(questions).map(&mut answer).collect()
    }

    /// Returns a question without the user and host in it, which may look like its words: `root@one's password:`.
    fn without_names(&self, text: &str) -> String {
        let text = text.to_lowercase();
        let host = self.host.name.to_lowercase();
        let short = host.split('.').next().unwrap_or_default().to_owned();
        let names = [&host, &short, &self.host.user].map(|name| name.to_lowercase());
        let is_name = |word: &str| names.iter().any(|name| !name.is_empty() && word == *name);
        let is_whole = |word: &str| {
            is_name(
                word.trim_matches(|c: char| !c.is_alphanumeric()).trim_end_matches("'s").trim_end_matches("\u{2019}s"),
            )
        };
        let words: Vec<&str> = text.split_whitespace().filter(|word| !is_whole(word)).collect();
        // Some languages have no blanks around a name.
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
        let mut rest = String::new();
        let words = words.join(" ");
        for piece in words.split_inclusive(|c| !is_part(c)) {
            let end =
                piece.char_indices().next_back().filter(|(_, c)| !is_part(*c)).map_or(piece.len(), |(end, _)| end);
            let (word, separator) = piece.split_at(end);
            if !(word.contains('@') || is_name(word.trim_matches(['.', '-']))) {
                rest.push_str(word);
            }
            rest.push_str(separator);
        }
        rest
    }
}

impl Answerer for Conversation<'_> {
    fn answer(&mut self, name: &str, instruction: &str, questions: &[Question]) -> Vec<Secret> {
        let words = introduction(name, instruction);
        // Longer text is cut anyway.
        if self.said.chars().count() < LONGEST && !words.is_empty() {
            let separator = if self.said.is_empty() { "" } else { " | " };
            self.said.push_str(separator);
            self.said.push_str(&words);
        }
        if questions.is_empty() || self.passed.is_some() {
            // It is shown with the question that follows. If none follows, it is in the message.
            return match self.watch.check() {
                Ok(()) => Vec::new(),
                Err(outcome) => self.fall_silent(Silence::Job(outcome)),
            };
        }
        let said = std::mem::take(&mut self.said);
        match self.answer_all(&said, questions) {
            Ok(answers) => answers,
            Err(silence) => self.fall_silent(silence),
        }
    }
}

/// Returns the server's text before its questions: name and instruction may contain what the user must know, such as a
/// challenge. In one line, since sanitizing escapes line breaks.
fn introduction(name: &str, instruction: &str) -> String {
    let lines = name.lines().chain(instruction.lines()).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_comes_before_the_first_question() {
        assert_eq!(introduction("Duo", "challenge 42\r\n\nnow\n"), "Duo | challenge 42 | now");
        assert_eq!(introduction("", " \n"), "");
    }
}
