//! Joins a channel with a real command.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use super::Shared;
use super::channel::{Inbound, Inlet, Outlet, STDERR};
use super::process::sig_from_raw;

/// How long the output may take to end after the command. Then somebody else holds the pipes, and the exit status goes first.
const DRAIN: Duration = Duration::from_millis(50);

/// Runs from the start of a command to the close of its channel, in sshd's order of messages: the end of output and the exit
/// status in the order in which they happen, then the close. A client that goes away early leaves the command alone, with
/// closed pipes.
pub(super) async fn attend(mut child: Child, group: Pid, outlet: Outlet, inlet: Inlet, shared: Arc<Shared>) {
    tokio::spawn(feed(child.stdin.take(), inlet));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let [before, between, after] = shared.config.noise;
    // An error is the client's end, of which the rest is told in its own way.
    let _ = outlet.noise(before).await;
    let outputs = async {
        tokio::join!(pump(stdout, None, between, &outlet), pump(stderr, STDERR, 0, &outlet));
        let _ = outlet.noise(after).await;
    };
    tokio::pin!(outputs);

    let mut ended = false;
    let status = tokio::select! {
        _ = &mut outputs => {
            ended = true;
            outlet.eof().await;
            child.wait().await
        }
        status = child.wait() => status,
    };
    shared.children.leader_exited(group);
    if !ended && tokio::time::timeout(DRAIN, &mut outputs).await.is_ok() {
        ended = true;
        outlet.eof().await;
    }
    if let Ok(status) = status {
        report(status, &outlet).await;
    }
    if !ended {
        outputs.await;
        outlet.eof().await;
    }
    outlet.close().await;
}

async fn report(status: ExitStatus, outlet: &Outlet) {
    match (status.code(), status.signal()) {
        (Some(code), _) => outlet.exit_status(code.cast_unsigned()).await,
        (None, Some(signal)) => {
            let signal = sig_from_raw(signal);
            outlet.exit_signal(signal, status.core_dumped(), String::new()).await;
        }
        (None, None) => {}
    }
}

/// Sends what comes from `pipe`, and so much noise after its first piece.
async fn pump(pipe: Option<impl AsyncRead + Unpin>, extended: Option<u32>, mut noise: u64, outlet: &Outlet) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = tokio::select! {
            read = pipe.read(&mut buffer) => read,
            () = outlet.gone.wait() => return,
        };
        match read {
            Ok(length @ 1..) if outlet.data(extended, buffer[..length].to_vec()).await.is_ok() => {
                if outlet.noise(std::mem::take(&mut noise)).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Like sshd, swallows what comes after the command stopped to read.
async fn feed(mut stdin: Option<ChildStdin>, mut inlet: Inlet) {
    while let Some(inbound) = inlet.inbox.recv().await {
        let Inbound::Data(bytes) = inbound else {
            stdin = None;
            continue;
        };
        if let Some(pipe) = &mut stdin {
            let written = tokio::select! {
                written = pipe.write_all(&bytes) => written.is_ok(),
                () = inlet.gone.wait() => return,
            };
            if !written {
                stdin = None;
            }
        }
        inlet.backlog.fetch_sub(bytes.len(), Ordering::SeqCst);
    }
}
