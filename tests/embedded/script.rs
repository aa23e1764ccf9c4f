//! What an exec request does instead of running a command.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use russh::{Disconnect, Sig};

use super::channel::{Gone, Inbound, Inlet, Outlet, STDERR};
use super::wire::{End, Line};

/// What an exec request does.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Really runs `sh -c COMMAND`.
    Run,
    /// Answers without a process or a task, for benchmarks of the client. `stdout` must fit the client's window.
    Cheap { stdout: Vec<u8>, status: u32 },
    /// After a while, answers with one line that names the address at which the client has reached this server, and exit status
    /// 0; without a process, and without a task if there is nothing to wait for.
    Name { after: Duration },
    /// Sends that many bytes of different lines, each of 80 bytes with its newline, and exit status 0.
    Lines { bytes: u64 },
    /// Plays the steps. The channel stays open after the last one, unless a step closes it.
    Script(Vec<Step>),
}

impl Behaviour {
    /// Output and exit status, as a well-behaved server sends them.
    pub(crate) fn answer(stdout: &str, stderr: &str, status: u32) -> Self {
        Self::Script(vec![
            Step::Stdout(stdout.into()),
            Step::Stderr(stderr.into()),
            Step::Eof,
            Step::ExitStatus(status),
            Step::Close,
        ])
    }
}

/// One thing that a scripted server does after it accepted the exec request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Standard output as [`Behaviour::Lines`].
    FloodStdout(u64),
    Sleep(Duration),
    ExitStatus(u32),
    ExitSignal {
        name: String,
        core_dumped: bool,
        message: String,
    },
    Eof,
    Close,
    /// Opens a channel to the client's agent, and says on standard output whether the client agrees: `opened` or `refused`.
    OpenAgent,
    /// Opens a channel to the client's agent, says so many bytes of extended data there, and on standard output that the client has
    /// taken them: `taken`.
    NoisyAgent(u64),
    /// Waits for the client's end of standard input.
    WaitForEof,
    /// Sends SSH_MSG_DISCONNECT with this text.
    Disconnect(String),
    /// Cuts the TCP connection after the earlier steps were sent.
    DropConnection(End),
    /// Neither sends nor reads anything any more, with the TCP connection open.
    Freeze,
    /// Answers the exec request with a failure. Only as the first step.
    RejectExec,
    /// Never answers the exec request. Only as the first step.
    NeverAnswer,
}

/// The line of [`Behaviour::Name`].
pub(super) fn name(address: IpAddr) -> Vec<u8> {
    format!("{address} up 12 days, load average: 0.08, 0.03, 0.01\n").into_bytes()
}

/// Plays [`Behaviour::Name`] with a wait.
pub(super) async fn name_after(after: Duration, address: IpAddr, outlet: Outlet) {
    let gone = outlet.gone.clone();
    let answer = async {
        tokio::time::sleep(after).await;
        if outlet.data(None, name(address)).await.is_ok() {
            outlet.eof().await;
            outlet.exit_status(0).await;
            outlet.close().await;
        }
    };
    tokio::select! {
        () = answer => {}
        () = gone.wait() => {}
    }
}

/// The lines that [`Behaviour::Lines`] repeats. As many as fit one packet.
static LINES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let lines = (0..400).flat_map(|number| format!("{number:<79}\n").into_bytes());
    lines.collect()
});

pub(super) async fn play(steps: Vec<Step>, outlet: Outlet, mut inlet: Inlet, line: Line) {
    for step in steps {
        if perform(step, &outlet, &mut inlet, &line).await.is_err() {
            return;
        }
    }
    // Somebody has to take the client's data and to keep the channel's ends.
    while inlet.inbox.recv().await.is_some() {}
}

async fn perform(step: Step, outlet: &Outlet, inlet: &mut Inlet, line: &Line) -> Result<(), Gone> {
    match step {
        Step::Stdout(bytes) => outlet.data(None, bytes).await?,
        Step::Stderr(bytes) => outlet.data(STDERR, bytes).await?,
        Step::FloodStdout(bytes) => flood(bytes, outlet).await?,
        Step::Sleep(duration) => tokio::time::sleep(duration).await,
        Step::ExitStatus(status) => outlet.exit_status(status).await,
        Step::ExitSignal { name, core_dumped, message } => {
            outlet.exit_signal(Sig::Custom(name), core_dumped, message).await
        }
        Step::Eof => outlet.eof().await,
        Step::Close => outlet.close().await,
        Step::OpenAgent => {
            let opened = outlet.handle.channel_open_agent().await;
            let word: &[u8] = if opened.is_ok() { b"opened\n" } else { b"refused\n" };
            outlet.data(None, word.to_vec()).await?;
        }
        Step::NoisyAgent(bytes) => {
            let channel = outlet.handle.channel_open_agent().await.map_err(|_| Gone)?;
            let noise = vec![b'#'; bytes as usize];
            for code in [1, 2] {
                channel.extended_data(code, &noise[..]).await.map_err(|_| Gone)?;
            }
            outlet.data(None, b"taken\n".to_vec()).await?;
        }
        Step::WaitForEof => wait_for_eof(inlet).await?,
        Step::Disconnect(text) => {
            let sent = outlet.handle.disconnect(Disconnect::ByApplication, text, String::new());
            return sent.await.map_err(|_| Gone);
        }
        Step::DropConnection(end) => line.end(end).await,
        Step::Freeze => line.freeze().await,
        Step::RejectExec | Step::NeverAnswer => {}
    }
    Ok(())
}

async fn wait_for_eof(inlet: &mut Inlet) -> Result<(), Gone> {
    loop {
        match inlet.inbox.recv().await {
            Some(Inbound::Eof) => return Ok(()),
            Some(Inbound::Data(_)) => {}
            None => return Err(Gone),
        }
    }
}

/// Sends `bytes` bytes of lines, with an end of output, status and close of its own.
pub(super) async fn lines(bytes: u64, outlet: Outlet) {
    if flood(bytes, &outlet).await.is_ok() {
        outlet.eof().await;
        outlet.exit_status(0).await;
        outlet.close().await;
    }
}

async fn flood(mut bytes: u64, outlet: &Outlet) -> Result<(), Gone> {
    while bytes > 0 {
        let length = usize::try_from(bytes).map_or(LINES.len(), |bytes| bytes.min(LINES.len()));
        outlet.data(None, LINES[..length].to_vec()).await?;
        bytes -= length as u64;
    }
    Ok(())
}
