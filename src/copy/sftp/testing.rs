//! A real SFTP server for tests, connected by pipes instead of a channel.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::ssh::channel::dialogue::{Dialogue, Say};

/// How long a server may be silent. Far more than any needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where distributions install OpenSSH's server.
const PLACES: [&str; 6] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/lib64/ssh/sftp-server",
    "/usr/lib/sftp-server",
];

/// The program of OpenSSH.
pub fn program() -> PathBuf {
    let place = PLACES.iter().map(Path::new).find(|place| place.exists());
    place.expect("these tests need OpenSSH's sftp-server (package openssh-sftp-server or openssh-server)").to_owned()
}

/// Changes bytes in transit.
type Change = Box<dyn FnMut(&mut Vec<u8>)>;

/// A running server.
pub struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    /// Incomplete packets from the server.
    partial: Vec<u8>,
    /// Bytes to the server before the connection breaks.
    pub sends: usize,
    /// Bytes sent to the server.
    pub sent: usize,
    /// Changes its output, packet by packet.
    pub rewrite: Change,
    /// Changes its input.
    pub tamper: Change,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends at the end of its input; one that hangs must be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one in `home` with umask 022.
    pub fn start(home: &Path) -> Server {
        let mut command = Command::new(program());
        command.arg("-d").arg(home).args(["-u", "022"]);
        Server::spawn(command)
    }

    /// Any program.
    pub fn spawn(mut command: Command) -> Server {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let (input, mut stdout) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(count) = stdout.read(&mut buffer) {
                if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Server {
            child,
            input,
            output,
            partial: Vec::new(),
            sends: usize::MAX,
            sent: 0,
            rewrite: Box::new(|_| ()),
            tamper: Box::new(|_| ()),
        }
    }

    /// Makes it look like a server without extensions.
    pub fn without_extensions(mut self) -> Server {
        self.rewrite = Box::new(|packet| {
            if packet[4] == 2 {
                *packet = vec![0, 0, 0, 5, 2, 0, 0, 0, 3];
            }
        });
        self
    }

    /// Sends what fits before the connection breaks; returns whether it still holds.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let fitting = bytes.len().min(self.sends - self.sent);
        let Some(input) = &mut self.input else {
            return false;
        };
        self.sent += fitting;
        let is_sent = input.write_all(&bytes[..fitting]).is_ok() && fitting == bytes.len();
        if !is_sent {
            self.input = None;
        }
        is_sent
    }

    /// Ends its input, and waits for its end.
    pub fn end(&mut self) -> Outcome {
        self.input = None;
        while self.output.recv_timeout(PATIENCE).is_ok() {}
        let status = self.child.wait().expect("it ends");
        match status.code() {
            Some(code) => Outcome::Exited(code as u32),
            None => Outcome::Signaled { name: "KILL".to_owned() },
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
    }

    /// Returns the next packet that it sends, with its length; `None` once it has ended.
    pub fn packet(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((length, rest)) = self.partial.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if rest.len() >= length {
                    let rest = self.partial.split_off(4 + length);
                    let mut packet = std::mem::replace(&mut self.partial, rest);
                    (self.rewrite)(&mut packet);
                    return Some(packet);
                }
            }
            match self.output.recv_timeout(PATIENCE) {
                Ok(bytes) => self.partial.extend(bytes),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("the server says nothing"),
            }
        }
    }

    /// Runs a whole dialogue; returns how it ended.
    pub fn talk(&mut self, dialogue: &mut dyn Dialogue) -> Outcome {
        self.talk_while(dialogue, |_| true)
    }

    /// Runs a dialogue that is aborted once `goes_on` returns false after a packet.
    pub fn talk_while<D: Dialogue + ?Sized>(
        &mut self,
        dialogue: &mut D,
        mut goes_on: impl FnMut(&D) -> bool,
    ) -> Outcome {
        let mut is_aborted = false;
        loop {
            let mut out = Vec::new();
            let said = dialogue.say(&mut out);
            assert!(out.len() < 2 << 20, "{} bytes are said at once", out.len());
            assert_eq!(out.is_empty(), said != Say::Said);
            (self.tamper)(&mut out);
            let holds = out.is_empty() || self.send(&out);
            if !holds {
                self.end();
                return dialogue.conclude(lost());
            }
            match said {
                Say::Said => {}
                Say::Over => {
                    let ended = self.end();
                    return dialogue.conclude(ended);
                }
                Say::Listening => match self.packet() {
                    Some(packet) => dialogue.hear(&packet),
                    None => {
                        let ended = self.end();
                        return dialogue.conclude(ended);
                    }
                },
            }
            if !is_aborted && !goes_on(dialogue) {
                is_aborted = true;
                dialogue.abort();
            }
        }
    }
}

/// Returns how a channel ends when its connection breaks.
pub fn lost() -> Outcome {
    HostError::Lost { detail: "the connection failed".to_owned(), hint: None }.into()
}
