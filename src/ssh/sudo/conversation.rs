//! The dialogue with sudo before a command starts: which output belongs to whom, what sudo is sent, and how it ends.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::password::{Answer, SudoPassword, Waiting};
use super::stop::SudoStop;
use crate::command::GUARD_SAYS;
use crate::command::sudo::{Sudo, Target, Tokens};
use crate::events::event::Stream;
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::ssh::login::host_key_check::Trust;
use crate::system::password_source::Secret;
use crate::system::quotation;
use crate::system::redact::{Filter, MASK, SHORTEST};

/// Most bytes after the start token: two blanks, two numbers of ten digits, and a semicolon.
const START_TAIL: usize = 23;
/// sudo 1.9's text after any reason.
const CONSEQUENCE: &[u8] = b"sudo: error initializing audit plugin";
/// What sudo-rs puts around the given prompt.
const AROUND: [&[u8]; 2] = [b"[sudo: ", b"] Password: "];
/// Bytes kept of sudo's last line.
const SAID: usize = 8 << 10;

/// The dialogue with the sudo of one host.
pub struct Conversation {
    task: &'static str,
    sudo: Sudo,
    prompt: Vec<u8>,
    start: Vec<u8>,
    /// Texts removed where sudo quotes the command that it refuses, the longest first.
    wrappers: Vec<Vec<u8>>,
    password: Arc<SudoPassword>,
    trust: Trust,
    /// Whether the user may be asked for this host.
    may_ask: bool,
    state: ConversationState,
    /// The password sent to sudo.
    told: Option<Arc<Secret>>,
    /// The target of signals for the command, once that has started.
    target: Option<Target>,
    /// The last bytes of each stream, in the order of [`place`], while they may be the start of a token.
    held: [Vec<u8>; 2],
    /// The rest of the prompt before it, and its stream: the rest of the text, and a line break, which a terminal shows
    /// after a hidden answer.
    after_prompt: Option<(Stream, &'static [u8])>,
    /// sudo's output, without passwords.
    filter: Filter,
    /// The start of the current line.
    line: Vec<u8>,
    /// The last line that was not empty.
    said: Vec<u8>,
}

enum ConversationState {
    /// sudo has not asked.
    Silent,
    /// It has asked, and the password was not looked up yet.
    Asked,
    /// It has asked, and the user is being asked.
    Waiting(Waiting),
    /// The password was sent.
    Told,
    /// It has asked again.
    Refused,
    /// The command has started, which is not reported yet.
    Beginning,
    /// The command has started.
    Begun,
    /// Nothing more is sent, whatever sudo asks.
    Silenced,
}

/// The next action.
pub enum Step {
    /// Nothing.
    Listen,
    /// Send this to sudo, on a line of its own.
    Tell(Arc<Secret>),
    /// The command has started: send its input. This is how to stop it.
    Begin(Option<SudoStop>),
    /// It will never start. End whatever waits for an answer.
    End(HostError),
}

impl Conversation {
    /// Starts one. `task` is what sudo runs, as the subject of a sentence.
    pub fn new(
        task: &'static str,
        sudo: Sudo,
        tokens: &Tokens,
        password: Arc<SudoPassword>,
        trust: Trust,
        may_ask: bool,
    ) -> Conversation {
        Conversation {
            task,
            sudo,
            prompt: tokens.prompt(),
            start: tokens.start(),
            wrappers: Sudo::wrappers(tokens),
            password,
            trust,
            may_ask,
            state: ConversationState::Silent,
            told: None,
            target: None,
            held: [Vec::new(), Vec::new()],
            after_prompt: None,
            filter: Filter::default(),
            line: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Takes a piece of output, and returns the user's part of it. On a terminal sudo prints to standard output.
    pub fn hear(&mut self, stream: Stream, bytes: Vec<u8>) -> Vec<u8> {
        let held = &mut self.held[place(stream)];
        let mut rest = if held.is_empty() { bytes } else { [std::mem::take(held), bytes].concat() };
        let mut heard = Vec::new();
        while !self.has_begun() {
            if !self.drop_rest_of_prompt(stream, &mut rest) {
                self.held[place(stream)] = std::mem::take(&mut rest);
                break;
            }
            match self.find(&rest) {
                Found::Nothing => {
                    let keep = self.possible_token(&rest);
                    self.held[place(stream)] = rest.split_off(rest.len() - keep);
                    break;
                }
                Found::Wrapper { at, end } => {
                    heard.extend_from_slice(&rest[..at]);
                    rest.drain(..end);
                }
                Found::Prompt(at) => {
                    let before = rest[..at].strip_suffix(AROUND[0]);
                    heard.extend_from_slice(before.unwrap_or(&rest[..at]));
                    self.after_prompt = Some((stream, if before.is_some() { AROUND[1] } else { b"" }));
                    rest.drain(..at + self.prompt.len());
                    self.take_question();
                }
                Found::Password { at, end } => {
                    heard.extend_from_slice(&rest[..at]);
                    heard.extend_from_slice(MASK.as_bytes());
                    rest.drain(..end);
                }
                Found::Start { at, end: Some(end) } => {
                    heard.extend_from_slice(&rest[..at]);
                    self.target = Target::parse(&rest[(at + self.start.len()).min(end)..end]);
                    rest.drain(..end);
                    if !matches!(self.state, ConversationState::Silenced) {
                        self.state = ConversationState::Beginning;
                    }
                }
                Found::Start { at, end: None } => {
                    self.held[place(stream)] = rest.split_off(at);
                    break;
                }
            }
        }
        heard.append(&mut rest);
        if !self.has_begun() {
            self.note(&heard);
        }
        heard
    }

    /// Notes that sudo asks for the password.
    fn take_question(&mut self) {
        use ConversationState::{Asked, Beginning, Begun, Refused, Silenced, Silent, Told, Waiting};
        match self.state {
            Silent => self.state = Asked,
            // Two questions in one piece, or an invalid answer.
            Asked | Waiting(_) | Told | Refused => self.state = Refused,
            Silenced | Beginning | Begun => {}
        }
    }

    /// Returns the held-back data of a stream that has ended.
    pub fn rest(&mut self) -> Option<(Stream, Vec<u8>)> {
        [Stream::Stderr, Stream::Stdout].into_iter().find_map(|stream| {
            let mut held = std::mem::take(&mut self.held[place(stream)]);
            if let Some((_, rest)) = self.after_prompt.take_if(|(of, _)| *of == stream) {
                if rest.starts_with(&held) {
                    held.clear();
                } else if held.starts_with(rest) {
                    held.drain(..rest.len());
                }
            }
            (!held.is_empty()).then_some((stream, held))
        })
    }

    /// Returns the next action.
    pub fn next(&mut self) -> Step {
        match &self.state {
            ConversationState::Silent
            | ConversationState::Told
            | ConversationState::Begun
            | ConversationState::Silenced => return Step::Listen,
            ConversationState::Asked if self.trust == Trust::NoSecrets => {
                return self.end("it asks for a password, but the host key has changed", None);
            }
            ConversationState::Asked => match self.password.get(self.may_ask) {
                Answer::Known(password) => return self.tell(password),
                Answer::Nobody(why) => return self.nobody(&why),
                Answer::Later(waiting) => self.state = ConversationState::Waiting(waiting),
            },
            ConversationState::Waiting(waiting) => match waiting.answer() {
                Some(Ok(password)) => return self.tell(password),
                Some(Err(why)) => return self.nobody(&why),
                None => {}
            },
            ConversationState::Refused => {
                return self.end("the password was refused", Some(Remedy::SudoPasswordRefused));
            }
            ConversationState::Beginning => {
                self.state = ConversationState::Begun;
                let (sudo, password) = (self.sudo.clone(), self.told.take());
                return Step::Begin(self.target.map(|target| SudoStop::new(sudo, target, password)));
            }
        }
        Step::Listen
    }

    fn tell(&mut self, password: Arc<Secret>) -> Step {
        self.state = ConversationState::Told;
        self.told = Some(Arc::clone(&password));
        Step::Tell(password)
    }

    fn nobody(&mut self, why: &str) -> Step {
        self.end(&format!("it asks for a password, and {why}"), Some(Remedy::SudoPasswordNeeded))
    }

    fn end(&mut self, detail: &str, hint: Option<Remedy>) -> Step {
        self.give_up();
        Step::End(HostError::Sudo { detail: detail.to_owned(), hint })
    }

    /// Sends nothing more, since the command is being stopped.
    pub fn give_up(&mut self) {
        self.state = ConversationState::Silenced;
    }

    /// Whether the guard for csh ended with `status`: sudo was never started, and the command ends as it does without
    /// sudo.
    pub fn was_kept_by_guard(&self, status: u32) -> bool {
        let (words, guards) = GUARD_SAYS;
        status == guards && self.said.starts_with(words.as_bytes())
    }

    /// Returns the error for a command that ended with `status` before it started.
    pub fn never_began(&self, status: u32) -> HostError {
        let said = String::from_utf8_lossy(&self.said);
        let said = said.trim().trim_start_matches("sudo: ");
        let said = if said.is_empty() { String::new() } else { format!(": {}", quotation::said(said)) };
        let task = self.task;
        let detail = format!("ended before {task} started (exit status {status}){said}");
        HostError::Sudo { detail, hint: Some(Remedy::SudoNotBegun { was_told: self.told.is_some() }) }
    }

    /// Returns what to wait for while the user is being asked.
    pub fn awaits(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            ConversationState::Waiting(waiting) => Some(waiting.as_fd()),
            _ => None,
        }
    }

    /// Whether the command has started.
    pub fn has_begun(&self) -> bool {
        matches!(self.state, ConversationState::Beginning | ConversationState::Begun)
    }

    /// Returns the password sent to sudo, which may repeat it before the command starts; one that is too short is part
    /// of its words.
    fn password(&self) -> Option<&[u8]> {
        self.told.as_ref().map(|told| told.expose()).filter(|told| told.len() >= SHORTEST)
    }

    fn find(&self, bytes: &[u8]) -> Found {
        let password = self.password();
        // Without its first byte there is no token: most output has none.
        let begins = |byte: u8| self.wrappers.iter().chain([&self.prompt]).any(|token| token[0] == byte);
        let is_first = |byte: &u8| begins(*byte) || password.is_some_and(|password| *byte == password[0]);
        let mut from = 0;
        while let Some(at) = bytes[from..].iter().position(is_first).map(|at| from + at) {
            let rest = &bytes[at..];
            if let Some(wrapper) = self.wrappers.iter().find(|wrapper| rest.starts_with(wrapper)) {
                return Found::Wrapper { at, end: at + wrapper.len() };
            }
            if rest.starts_with(&self.prompt) {
                return Found::Prompt(at);
            }
            if let Some(password) = password.filter(|password| rest.starts_with(password)) {
                return Found::Password { at, end: at + password.len() };
            }
            if let Some(tail) = rest.strip_prefix(&self.start[..]) {
                let tail = &tail[..tail.len().min(START_TAIL)];
                let end = match tail.iter().position(|byte| *byte == b';') {
                    Some(end) => Some(end + 1),
                    // It was interrupted: the data is not ours.
                    None if tail.len() == START_TAIL => Some(0),
                    None => None,
                };
                return Found::Start { at, end: end.map(|end| at + self.start.len() + end) };
            }
            from = at + 1;
        }
        Found::Nothing
    }

    /// Returns how many of the last bytes may be the start of a token, with what precedes it.
    fn possible_token(&self, bytes: &[u8]) -> usize {
        let password = self.password().unwrap_or_default();
        let token = AROUND[0].len() + self.prompt.len().max(self.start.len());
        let wrapper = self.wrappers.iter().map(Vec::len).max().unwrap_or_default();
        let longest = bytes.len().min(token.max(password.len()).max(wrapper) - 1);
        let tokens = [&self.prompt[..], &self.start[..], password];
        let tokens = || tokens.into_iter().chain(self.wrappers.iter().map(Vec::as_slice));
        let is_beginning = |end: &[u8]| tokens().any(|token| token.starts_with(end));
        let may_be = |count: &usize| {
            let end = &bytes[bytes.len() - count..];
            let inner = end.strip_prefix(AROUND[0]);
            is_beginning(end) || AROUND[0].starts_with(end) || inner.is_some_and(|inner| self.prompt.starts_with(inner))
        };
        (1..=longest).rev().find(may_be).unwrap_or(0)
    }

    /// Removes what belongs to the prompt before it; returns whether there is enough data to tell.
    fn drop_rest_of_prompt(&mut self, stream: Stream, bytes: &mut Vec<u8>) -> bool {
        let Some((_, rest)) = self.after_prompt.filter(|(of, _)| *of == stream) else { return true };
        let count = if bytes.starts_with(rest) { rest.len() } else { 0 };
        let after = &bytes[count..];
        if rest.starts_with(bytes) || after.is_empty() || after == b"\r" {
            return false;
        }
        let line_break = if after.starts_with(b"\r\n") { 2 } else { usize::from(after[0] == b'\n') };
        bytes.drain(..count + line_break);
        self.after_prompt = None;
        true
    }

    /// Keeps the last line of the output.
    fn note(&mut self, bytes: &[u8]) {
        for byte in &self.filter.pass(bytes.to_vec()) {
            if *byte != b'\n' && *byte != b'\r' {
                if self.line.len() < SAID {
                    self.line.push(*byte);
                }
            } else if !self.line.is_empty() {
                let line = std::mem::take(&mut self.line);
                if !line.starts_with(CONSEQUENCE) {
                    self.said = line;
                }
            }
        }
    }
}

/// A token in the output at a place.
enum Found {
    Nothing,
    /// The text that pssh puts before the command.
    Wrapper {
        at: usize,
        /// The first byte after it.
        end: usize,
    },
    Prompt(usize),
    /// The password sent to sudo.
    Password {
        at: usize,
        /// The first byte after it.
        end: usize,
    },
    Start {
        at: usize,
        /// The first byte after it; not received yet if `None`.
        end: Option<usize>,
    },
}

fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stderr => 0,
        Stream::Stdout => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::system::terminal::Terminal;

    fn conversation(password: Option<&str>, trust: Trust) -> (Conversation, String, String) {
        let tokens = Tokens::random().expect("tokens");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (conversation_of(&tokens, password, trust), text(tokens.prompt()), text(tokens.start()))
    }

    fn conversation_of(tokens: &Tokens, password: Option<&str>, trust: Trust) -> Conversation {
        let password = password.map(|password| Secret::new(password.as_bytes()));
        let terminal = Arc::new(Terminal::new().expect("a pipe"));
        Conversation::new(
            "the command",
            Sudo { user: None },
            tokens,
            SudoPassword::new(password, None, terminal),
            trust,
            true,
        )
    }

    fn hear(conversation: &mut Conversation, text: &str) -> String {
        let heard = conversation.hear(Stream::Stderr, text.as_bytes().to_vec());
        String::from_utf8(heard).expect("text")
    }

    fn words(step: Step) -> String {
        match step {
            Step::Listen => "listen".to_owned(),
            Step::Tell(secret) => format!("tell {}", String::from_utf8_lossy(secret.expose())),
            Step::Begin(_) => "begin".to_owned(),
            Step::End(error) => error.to_string(),
        }
    }

    #[test]
    fn sudo_is_told_the_password_once() {
        let (mut it, prompt, start) = conversation(Some("pw"), Trust::Full);
        assert_eq!(hear(&mut it, &format!("lecture\n{prompt}")), "lecture\n");
        assert_eq!(words(it.next()), "tell pw");
        assert_eq!(words(it.next()), "listen");
        assert_eq!(hear(&mut it, &format!("{start} 4711 4710;out{prompt}")), format!("out{prompt}"));
        assert_eq!(words(it.next()), "begin");
        assert_eq!(words(it.next()), "listen");
        assert_eq!(hear(&mut it, &prompt), prompt, "what the command prints is its own");
        assert_eq!(words(it.next()), "listen");
    }

    #[test]
    fn what_we_put_around_the_command_is_not_quoted_to_the_user() {
        let tokens = Tokens::random().expect("tokens");
        for wrapper in Sudo::wrappers(&tokens) {
            let wrapper = String::from_utf8(wrapper).expect("text");
            let said =
                format!("Sorry, user joe is not allowed to execute '{wrapper}/bin/dash -c id' as root on web1.\n");
            for length in [1, 7, said.len()] {
                let mut it = conversation_of(&tokens, None, Trust::Full);
                let heard: Vec<String> = said
                    .as_bytes()
                    .chunks(length)
                    .map(|piece| hear(&mut it, &String::from_utf8_lossy(piece)))
                    .collect();
                let rest = "Sorry, user joe is not allowed to execute '/bin/dash -c id' as root on web1.";
                assert_eq!(heard.concat(), format!("{rest}\n"));
                assert!(it.never_began(1).to_string().ends_with(&format!(": \"{rest}\"")));
            }
        }
    }

    #[test]
    fn a_second_question_is_a_refusal() {
        let (mut it, prompt, _) = conversation(Some("pw"), Trust::Full);
        hear(&mut it, &prompt);
        assert_eq!(words(it.next()), "tell pw");
        assert_eq!(hear(&mut it, &format!("\nSorry, try again.\n{prompt}")), "Sorry, try again.\n");
        assert_eq!(words(it.next()), "sudo: the password was refused");
        assert_eq!(words(it.next()), "listen");
        let (mut it, prompt, _) = conversation(Some("pw"), Trust::Full);
        hear(&mut it, &format!("{prompt}{prompt}"));
        assert_eq!(words(it.next()), "sudo: the password was refused");
    }

    #[test]
    fn a_sudo_that_repeats_the_password_is_not_quoted() {
        let (mut it, prompt, start) = conversation(Some("hunter2"), Trust::Full);
        assert_eq!(hear(&mut it, &format!("hunter2?\n{prompt}")), "hunter2?\n", "it was not told yet");
        assert_eq!(words(it.next()), "tell hunter2");
        let mut heard = String::new();
        for piece in ["wrong: hun", "ter", "2hunter", "2 hunt", "ed", "\r\n"] {
            heard += &hear(&mut it, piece);
        }
        assert_eq!(heard, "wrong: ****** hunted\r\n");
        let error = it.never_began(1).to_string();
        assert!(error.ends_with(": \"wrong: ****** hunted\""), "{error}");
        assert_eq!(hear(&mut it, &format!("{start} 1 1;hunter2")), "hunter2", "the command's output is its own");
    }

    #[test]
    fn a_host_that_is_not_trusted_is_told_nothing() {
        let (mut it, prompt, _) = conversation(Some("pw"), Trust::NoSecrets);
        hear(&mut it, &prompt);
        assert!(words(it.next()).contains("it asks for a password, but the host key has changed"));
        assert_eq!(words(it.next()), "listen");
    }

    #[test]
    fn what_sudo_said_last_is_the_reason() {
        let (mut it, _, start) = conversation(None, Trust::Full);
        hear(&mut it, "sudo: no tty present\r\n\n");
        hear(&mut it, &start[..9]);
        assert_eq!(
            it.never_began(1).to_string(),
            "sudo: ended before the command started (exit status 1): \"no tty present\""
        );
        assert_eq!(it.rest(), Some((Stream::Stderr, start.as_bytes()[..9].to_vec())));
        assert_eq!(it.rest(), None);
    }

    #[test]
    fn what_surrounds_a_prompt_is_not_handed_on() {
        for after in ["", "]", "] Password: ", "] Password: \r"] {
            let (mut it, prompt, _) = conversation(None, Trust::Full);
            assert_eq!(hear(&mut it, &format!("Hello\n[sudo: {prompt}{after}")), "Hello\n");
            let left = it.rest().map(|(_, left)| left).unwrap_or_default();
            assert!(left.is_empty() || left == b"\r", "{left:?}");
        }
        let (mut it, prompt, _) = conversation(None, Trust::Full);
        assert_eq!(hear(&mut it, &format!("[sudo: {prompt}] Passwort: ")), "] Passwort: ");
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_tokens_are_found(
            cuts in prop::collection::vec(1..9_usize, 400), noise in "[pssh\\[ud:\\-\n%0-9a-f]{0,30}", stdout: bool, decorated: bool,
        ) {
            let (mut it, prompt, start) = conversation(Some("pw"), Trust::Full);
            let stream = if stdout { Stream::Stdout } else { Stream::Stderr };
            let asked = if decorated { format!("[sudo: {prompt}] Password: ") } else { prompt.clone() };
            let text = format!("{noise}{asked}\r\n{noise}{start} 99 0;\n{noise}{prompt}");
            let (mut heard, mut steps) = (Vec::new(), Vec::new());
            let (mut rest, mut cuts) = (text.as_bytes(), cuts.into_iter());
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                heard.extend(it.hear(stream, piece.to_vec()));
                rest = later;
                match words(it.next()).as_str() {
                    "listen" => {}
                    step => steps.push(step.to_owned()),
                }
            }
            prop_assert_eq!(it.rest(), None);
            prop_assert_eq!(steps, ["tell pw", "begin"]);
            let heard = String::from_utf8(heard).expect("text");
            prop_assert_eq!(heard, format!("{noise}{noise}\n{noise}{prompt}"));
        }
    }
}
