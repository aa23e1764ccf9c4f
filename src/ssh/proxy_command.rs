//! A local command that makes the connection to a host: its standard input and output are the connection (ProxyCommand of
//! ssh_config(5)). It runs in a process group of its own, which does not outlive the session.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::process_group::{ProcessGroup, TICK};
use crate::error::{HostError, ProxyError, reason};
use crate::event::Outcome;
use crate::lock::lock;

/// How long a command whose connection has ended may take to end too, so that its exit status can be told.
const EXIT_GRACE: Duration = Duration::from_millis(200);
/// Bytes of stack of the thread that reads what the command says.
const STACK: usize = 128 * 1024;
/// Bytes of the longest line that is kept of what it says.
const LONGEST_LINE: u64 = 1000;
/// Characters of a command in a message.
const SHOWN: usize = 60;

/// A running command. Dropping it ends its process group and waits for it.
pub struct ProxyCommand {
    group: ProcessGroup,
    shown: String,
    said: Arc<Mutex<Said>>,
    listening: Option<thread::JoinHandle<()>>,
}

/// What the command has written to standard error.
struct Said {
    last_line: String,
    /// Who is told; nobody any more once the command has been ended: a process that has left the group may keep the pipe
    /// for ever, and the run waits for whoever can still tell something.
    news: Option<News>,
}

/// Where a line goes that the command writes to standard error.
pub type News = Box<dyn Fn(&str) + Send>;

impl ProxyCommand {
    /// Starts `text` by the shell. Gives the other end of its standard input and output too, which does not block. What it
    /// writes to standard error goes to `news`.
    ///
    /// # Errors
    /// The outcome of the job: it cannot be started.
    pub fn start(text: &str, news: Option<News>) -> Result<(ProxyCommand, OwnedFd), Outcome> {
        ProxyCommand::try_start(text, news).map_err(|error| {
            let detail = reason(&error);
            HostError::Local { doing: "starting the proxy command", detail, hint: None }.into()
        })
    }

    fn try_start(text: &str, news: Option<News>) -> std::io::Result<(ProxyCommand, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut shell = Command::new("/bin/sh");
        // `exec`, so that the command gets our signals, and no shell stays with it.
        shell.arg("-c").arg(format!("exec {text}")).stderr(Stdio::piped());
        shell.stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?))).stdout(Stdio::from(OwnedFd::from(theirs)));
        let mut group = ProcessGroup::spawn(&mut shell)?;
        // It keeps our copies of the other end, whose last must be the command's.
        drop(shell);
        let said = Arc::new(Mutex::new(Said { last_line: String::new(), news }));
        let stderr = group.child().stderr.take();
        let mut command = ProxyCommand { group, shown: shown(text), said, listening: None };
        if let Some(stderr) = stderr {
            let said = Arc::clone(&command.said);
            let listen = move || listen(stderr, &said);
            let thread = thread::Builder::new().name("pssh-proxy-stderr".to_owned()).stack_size(STACK);
            // On failure the command is dropped, and so ended.
            command.listening = Some(thread.spawn(listen)?);
        }
        Ok((command, ours.into()))
    }

    /// What became of a session over this command, seen in the light of what became of the command.
    pub fn explain(&mut self, outcome: Outcome) -> Outcome {
        let Outcome::Failed(error) = outcome else { return outcome };
        if !matches!(*error, HostError::Dropped { .. }) {
            return Outcome::Failed(error);
        }
        if !self.group.wait_until(Instant::now() + EXIT_GRACE) {
            return Outcome::Failed(error);
        }
        let how = match self.end().map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => format!("the command exited with {code}"),
            Some((_, Some(signal))) => format!("the command died by signal {signal}"),
            _ => "the command ended".to_owned(),
        };
        let said = lock(&self.said).last_line.clone();
        let cause = if said.is_empty() { how } else { format!("{how}: {said}") };
        HostError::Proxy { hop: self.shown.clone(), cause: ProxyError::Command(cause) }.into()
    }

    /// Ends whatever is left of the process group.
    fn end(&mut self) -> Option<ExitStatus> {
        let status = self.group.end();
        if let Some(listening) = self.listening.take() {
            // Its end of file has come, unless a process has left the group and keeps the pipe.
            let deadline = Instant::now() + EXIT_GRACE;
            while !listening.is_finished() && Instant::now() < deadline {
                thread::sleep(TICK);
            }
        }
        lock(&self.said).news = None;
        status
    }
}

impl Drop for ProxyCommand {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps the last line of what the command says, and passes all on.
fn listen(stderr: ChildStderr, said: &Mutex<Said>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        if text.is_empty() {
            continue;
        }
        let mut said = lock(said);
        if let Some(tell) = &said.news {
            tell(&format!("proxy command: {text}"));
        }
        said.last_line = text;
    }
}

/// The beginning of a command, for messages.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
