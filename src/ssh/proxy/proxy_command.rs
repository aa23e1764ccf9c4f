//! A local command that connects to a host: its standard input and output are the connection (ProxyCommand of
//! ssh_config(5)). It runs in a process group of its own, which does not outlive the session.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use rustix::process::Signal;

use crate::events::event::Outcome;
use crate::events::host_error::{HostError, ProxyError};
use crate::events::remedy::Remedy;
use crate::system::child::{ProcessGroup, TICK};
use crate::system::lock::lock;
use crate::system::redact::{self, Filtered};
use crate::text::message::reason;

/// How long a command whose connection has ended may take to exit, so that its exit status can be reported.
const EXIT_GRACE: Duration = Duration::from_millis(200);
/// Stack size in bytes of the thread that reads the command's standard error.
const STACK: usize = 128 * 1024;
/// Bytes kept of its longest line.
const LONGEST_LINE: u64 = 1000;
/// Bytes that it may write to standard error before there is a session.
const FLOOD: u64 = 1 << 20;
/// Bytes of that which are reported: `ssh -vvv` prints less.
const TOLD: u64 = 64 << 10;
/// SIGPIPE.
const PIPE: i32 = Signal::PIPE.as_raw();
/// Characters of a command in a message.
const SHOWN: usize = 60;

/// A running command. Dropping it ends its process group and waits for it.
pub struct ProxyCommand {
    group: ProcessGroup,
    shown: String,
    said: Arc<Mutex<Said>>,
    listening: Option<thread::JoinHandle<()>>,
}

/// The command's standard error.
struct Said {
    last_line: String,
    /// Bytes of it.
    bytes: u64,
    /// The connection, while there is no session over it: it is closed if the command only prints errors.
    unused: Option<Weak<OwnedFd>>,
    /// Whether it was closed.
    has_flooded: bool,
    /// The receiver of notes; `None` once the command was ended: a process that has left the group may keep the pipe
    /// forever, and the run waits for everything that can still send a note.
    news: Option<News>,
}

/// The receiver of a line of the command's standard error.
pub type News = Box<dyn Fn(&str) + Send>;

impl ProxyCommand {
    /// Starts `text` in the shell. Returns also the other end of its standard input and output, which is non-blocking.
    /// Its standard error goes to `news`.
    ///
    /// # Errors
    /// The outcome of the job: it cannot be started.
    pub fn start(text: &str, news: Option<News>) -> Result<(ProxyCommand, Arc<OwnedFd>), Outcome> {
        ProxyCommand::try_start(text, news).map_err(|error| {
            let detail = reason(&error);
            HostError::Local { doing: "starting the proxy command", detail, hint: None }.into()
        })
    }

    fn try_start(text: &str, news: Option<News>) -> std::io::Result<(ProxyCommand, Arc<OwnedFd>)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = Arc::new(OwnedFd::from(ours));
        let mut shell = Command::new("/bin/sh");
        // `exec`, so that the command gets our signals, and no shell stays around it.
        shell.arg("-c").arg(format!("exec {text}")).stderr(Stdio::piped());
        shell.stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?))).stdout(Stdio::from(OwnedFd::from(theirs)));
        let mut group = ProcessGroup::spawn(&mut shell)?;
        // It keeps our copies of the other end, and the command's must be the last.
        drop(shell);
        let unused = Some(Arc::downgrade(&ours));
        let said = Said { last_line: String::new(), bytes: 0, unused, has_flooded: false, news };
        let said = Arc::new(Mutex::new(said));
        let stderr = group.child().stderr.take();
        let mut command = ProxyCommand { group, shown: shown(text), said, listening: None };
        if let Some(stderr) = stderr {
            let said = Arc::clone(&command.said);
            let listen = move || listen(stderr, &said);
            let thread = thread::Builder::new().name("pssh-proxy-stderr".to_owned()).stack_size(STACK);
            // A failure drops the command and so ends it.
            command.listening = Some(thread.spawn(listen)?);
        }
        Ok((command, ours))
    }

    /// Notes that there is a session over it: its standard error no longer ends it.
    pub fn set_used(&self) {
        lock(&self.said).unused = None;
    }

    /// Reports no more of its standard error: the run that wanted that has ended.
    pub fn hush(&self) {
        lock(&self.said).news = None;
    }

    /// Adjusts the outcome of a session over this command to how the command ended.
    pub fn explain(&mut self, outcome: Outcome) -> Outcome {
        let Outcome::Failed(error) = outcome else { return outcome };
        let failed = |command: &ProxyCommand, cause: String| {
            Outcome::from(HostError::Proxy { hop: command.shown.clone(), cause: ProxyError::Command(cause) })
        };
        if lock(&self.said).has_flooded {
            let said = shown(&lock(&self.said).last_line);
            return failed(self, format!("it keeps writing to standard error and does not connect: {said}"));
        }
        let detail = match *error {
            HostError::Ssh { hint: Some(Remedy::IsItSsh), ref detail, .. } => {
                return failed(self, format!("its output is not SSH: {detail}"));
            }
            HostError::Dropped { banner_seen, ref detail, .. } => (!banner_seen).then(|| detail.clone()),
            _ => return Outcome::Failed(error),
        };
        if !self.group.wait_until(Instant::now() + EXIT_GRACE) {
            return Outcome::Failed(error);
        }
        let how = match (self.end().map(|status| (status.code(), status.signal())), detail) {
            (Some((Some(code), _)), _) => format!("the command exited with {code}"),
            // The connection was closed while it was writing.
            (Some((_, Some(PIPE))), Some(_)) => "its output is not SSH".to_owned(),
            (Some((_, Some(signal))), _) => format!("the command was killed by signal {signal}"),
            _ => "the command ended".to_owned(),
        };
        let said = lock(&self.said).last_line.clone();
        failed(self, if said.is_empty() { how } else { format!("{how}: {said}") })
    }

    /// Ends the whole process group.
    fn end(&mut self) -> Option<ExitStatus> {
        let status = self.group.end();
        if let Some(listening) = self.listening.take() {
            // Its end of file has come, unless a process left the group and keeps the pipe.
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

/// Keeps the last line of the command's standard error, and reports the first lines.
fn listen(stderr: ChildStderr, said: &Mutex<Said>) {
    let mut reader = BufReader::new(Filtered::new(stderr));
    let mut line = Vec::new();
    while let Ok(count @ 1..) = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
        line.clear();
        let mut said = lock(said);
        let before = said.bytes;
        said.bytes += count as u64;
        if said.bytes > FLOOD
            && let Some(socket) = said.unused.take().and_then(|socket| socket.upgrade())
        {
            said.has_flooded = true;
            // The thread that waits for the session sees its end.
            let _ = shutdown(&*socket, Shutdown::Both);
            return;
        }
        if text.is_empty() {
            continue;
        }
        if let Some(tell) = said.news.as_ref().filter(|_| before <= TOLD) {
            let more = if said.bytes > TOLD { " ... (further output is not shown)" } else { "" };
            tell(&format!("proxy command: {}{more}", redact::redacted(&text)));
        }
        said.last_line = text;
    }
}

/// Returns the start of a command, for messages.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
