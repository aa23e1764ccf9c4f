//! The password for sudo: given beforehand, or asked on the terminal once for all hosts, when the first host needs it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::system::cancel::{Cancel, Reason};
use crate::system::lock::lock;
use crate::system::password_source::Secret;
use crate::system::poll::Patience;
use crate::system::terminal::{AskError, Terminal};
use crate::text::message::reason;

/// The prompt on the terminal.
const PROMPT: &str = "Password for sudo on all hosts: ";
/// The prompt if there is a password for the login.
const PROMPT_OR_SAME: &str = "Password for sudo on all hosts (Enter: same as for login): ";
/// Stack size in bytes of the thread that asks.
const STACK: usize = 256 << 10;

/// Where sessions get the password.
pub struct SudoPassword {
    /// The password for the login of all hosts. An empty answer means the same.
    login: Option<Arc<Secret>>,
    terminal: Arc<Terminal>,
    state: Mutex<PasswordState>,
    /// The threads that asked: more than one only if all sessions that waited for an answer are gone.
    askers: Mutex<Vec<JoinHandle<()>>>,
}

enum PasswordState {
    Known(Arc<Secret>),
    Unasked,
    Asking(Question),
    /// It is unavailable; the reason.
    Nobody(String),
}

/// A question on the terminal.
struct Question {
    /// How many sessions wait for the answer. With none left, the question is withdrawn.
    waiting: usize,
    withdraw: Cancel,
    /// Readable once there is an answer: its other end is closed then.
    answered: Arc<OwnedFd>,
    _alarm: OwnedFd,
}

/// The answer to a session that needs the password.
pub enum Answer {
    /// The password.
    Known(Arc<Secret>),
    /// The user is being asked.
    Later(Waiting),
    /// It is unavailable; the reason.
    Nobody(String),
}

/// A session that waits for the answer.
pub struct Waiting {
    of: Arc<SudoPassword>,
    answered: Arc<OwnedFd>,
}

impl SudoPassword {
    /// Starts with the password, or without one; `login` is the one for the login of all hosts.
    pub fn new(password: Option<Secret>, login: Option<Arc<Secret>>, terminal: Arc<Terminal>) -> Arc<SudoPassword> {
        let state = password.map_or(PasswordState::Unasked, |password| PasswordState::Known(Arc::new(password)));
        Arc::new(SudoPassword { login, terminal, state: Mutex::new(state), askers: Mutex::default() })
    }

    /// Returns the password; starts asking for it if needed and allowed. Does not wait.
    pub fn get(self: &Arc<Self>, may_ask: bool) -> Answer {
        let mut state = lock(&self.state);
        if matches!(*state, PasswordState::Unasked) && !may_ask {
            let why = if self.terminal.is_there() { AskError::Mute } else { AskError::NoTerminal };
            return Answer::Nobody(why.to_string());
        }
        if matches!(*state, PasswordState::Unasked) {
            *state = self.ask().map_or_else(PasswordState::Nobody, PasswordState::Asking);
        }
        match &mut *state {
            PasswordState::Known(password) => Answer::Known(Arc::clone(password)),
            PasswordState::Asking(question) => {
                question.waiting += 1;
                Answer::Later(Waiting { of: Arc::clone(self), answered: Arc::clone(&question.answered) })
            }
            PasswordState::Nobody(why) => Answer::Nobody(why.clone()),
            PasswordState::Unasked => Answer::Nobody(AskError::NoTerminal.to_string()),
        }
    }

    /// Asks on a thread of its own: the waiting threads have sessions to serve.
    fn ask(self: &Arc<Self>) -> Result<Question, String> {
        if !self.terminal.is_there() {
            return Err(AskError::NoTerminal.to_string());
        }
        let failed = |error: std::io::Error| reason(&error);
        let withdraw = Cancel::new().map_err(failed)?;
        let (answered, alarm) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let answered = Arc::new(answered);
        let (asking, of) = (Arc::clone(self), Arc::clone(&answered));
        let withdrawn = withdraw.clone();
        let work = move || {
            let question = if asking.login.is_some() { PROMPT_OR_SAME } else { PROMPT };
            let answer = asking.terminal.ask(question, false, Patience::endless(&withdrawn));
            asking.answer(&of, answer);
        };
        let asker = thread::Builder::new().name("pssh-sudo".to_owned()).stack_size(STACK).spawn(work);
        let asker = asker.map_err(failed)?;
        lock(&self.askers).push(asker);
        Ok(Question { waiting: 0, withdraw, answered, _alarm: alarm })
    }

    /// Takes the answer to a question, unless it was withdrawn meanwhile.
    fn answer(&self, of: &Arc<OwnedFd>, answer: Result<Secret, AskError>) {
        let mut state = lock(&self.state);
        if !matches!(&*state, PasswordState::Asking(question) if Arc::ptr_eq(&question.answered, of)) {
            return;
        }
        // This wakes the waiting sessions, since it ends the question.
        *state = match answer {
            Ok(password) if password.expose().is_empty() => match &self.login {
                Some(login) => PasswordState::Known(Arc::clone(login)),
                None => PasswordState::Nobody(AskError::Nothing.to_string()),
            },
            Ok(password) => PasswordState::Known(Arc::new(password)),
            Err(error) => PasswordState::Nobody(error.to_string()),
        };
    }

    /// Withdraws a pending question, and restores the terminal.
    pub fn close(&self) {
        if let PasswordState::Asking(question) = &*lock(&self.state) {
            withdraw(question);
        }
        let askers = std::mem::take(&mut *lock(&self.askers));
        for asker in askers {
            // It has panicked, or ended: either way the terminal is restored.
            let _ = asker.join();
        }
    }
}

fn withdraw(question: &Question) {
    // The reason is never read: this cancel belongs to the question.
    question.withdraw.trigger(Reason::OutputClosed);
}

impl Waiting {
    /// Becomes readable once there is an answer; only to wait for, not to read.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.answered.as_fd()
    }

    /// Returns the answer, once there is one.
    pub fn answer(&self) -> Option<Result<Arc<Secret>, String>> {
        match &*lock(&self.of.state) {
            PasswordState::Known(password) => Some(Ok(Arc::clone(password))),
            PasswordState::Nobody(why) => Some(Err(why.clone())),
            PasswordState::Asking(_) | PasswordState::Unasked => None,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = lock(&self.of.state);
        if let PasswordState::Asking(question) = &mut *state {
            question.waiting -= 1;
            if question.waiting == 0 {
                withdraw(question);
                *state = PasswordState::Unasked;
            }
        }
    }
}
