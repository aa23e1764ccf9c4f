//! A channel as its handler and its tasks see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::server::{Handle, Msg, Session};
use russh::{Channel, ChannelId, ChannelWriteHalf, Sig};
use rustix::process::Pid;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// SSH_EXTENDED_DATA_STDERR.
pub(super) const STDERR: Option<u32> = Some(1);

/// Standard input that a command has not read yet. Beyond it, the client's window stops to grow.
const BACKLOG: usize = 1024 * 1024;

/// What the client sends into a channel.
pub(super) enum Inbound {
    Data(Vec<u8>),
    Eof,
}

/// The channel or its connection is gone.
pub(super) struct Gone;

/// The server's direction of a channel.
pub(super) struct Outlet {
    pub(super) id: ChannelId,
    pub(super) writer: ChannelWriteHalf<Msg>,
    pub(super) handle: Handle,
    pub(super) gone: GoneSignal,
}

impl Outlet {
    /// Sends data; waits for the client's window and for the session's queue, so that a command cannot run ahead of a client.
    pub(super) async fn data(&self, extended: Option<u32>, bytes: Vec<u8>) -> Result<(), Gone> {
        let send = async {
            match extended {
                None => self.writer.data_bytes(bytes).await,
                Some(code) => self.writer.extended_data_bytes(code, bytes).await,
            }
        };
        tokio::select! {
            sent = send => sent.map_err(|_| Gone),
            () = self.gone.wait() => Err(Gone),
        }
    }

    /// Sends so many bytes of extended data of types that nobody knows, and some of no bytes.
    pub(super) async fn noise(&self, mut bytes: u64) -> Result<(), Gone> {
        /// The first and the last number that may be taken for another thing, and one between.
        const TYPES: [u32; 3] = [2, 0, u32::MAX];
        let mut round = 0;
        while bytes > 0 {
            let length = bytes.min(30_000);
            let code = TYPES[round % TYPES.len()];
            self.data(Some(code), Vec::new()).await?;
            self.data(Some(code), vec![b'#'; length as usize]).await?;
            bytes -= length;
            round += 1;
        }
        Ok(())
    }

    // The results of the following only say that the connection is gone, where nothing is left to be done.

    pub(super) async fn eof(&self) {
        let _ = self.handle.eof(self.id).await;
    }

    pub(super) async fn close(&self) {
        let _ = self.handle.close(self.id).await;
    }

    pub(super) async fn exit_status(&self, status: u32) {
        let _ = self.handle.exit_status_request(self.id, status).await;
    }

    pub(super) async fn exit_signal(&self, signal: Sig, core_dumped: bool, message: String) {
        let sent = self.handle.exit_signal_request(self.id, signal, core_dumped, message, String::new());
        let _ = sent.await;
    }
}

/// Fires when the handler lets go of the channel: the client closed it, or the connection ended.
#[derive(Clone)]
pub(super) struct GoneSignal(pub(super) watch::Receiver<()>);

impl GoneSignal {
    pub(super) async fn wait(&self) {
        let mut open = self.0.clone();
        while open.changed().await.is_ok() {}
    }
}

/// The client's direction of a channel.
pub(super) struct Inlet {
    pub(super) inbox: UnboundedReceiver<Inbound>,
    /// Bytes in `inbox`.
    pub(super) backlog: Arc<AtomicUsize>,
    pub(super) gone: GoneSignal,
}

/// The handler's side of a channel.
pub(super) struct Side {
    /// Until an exec request takes them.
    ends: Option<Ends>,
    inbox: UnboundedSender<Inbound>,
    backlog: Arc<AtomicUsize>,
    received: u64,
    pub(super) env: Vec<(String, String)>,
    /// The process group of the command that the channel runs.
    pub(super) group: Option<Pid>,
    /// Dropped with this struct, which is how the tasks of the channel learn of its end.
    _open: watch::Sender<()>,
}

/// The other side.
pub(super) struct Ends {
    writer: ChannelWriteHalf<Msg>,
    inbox: UnboundedReceiver<Inbound>,
    backlog: Arc<AtomicUsize>,
    gone: GoneSignal,
}

impl Ends {
    pub(super) fn split(self, session: &Session) -> (Outlet, Inlet) {
        let outlet =
            Outlet { id: self.writer.id(), writer: self.writer, handle: session.handle(), gone: self.gone.clone() };
        let inlet = Inlet { inbox: self.inbox, backlog: self.backlog, gone: self.gone };
        (outlet, inlet)
    }
}

impl Side {
    pub(super) fn new(channel: Channel<Msg>) -> Self {
        // russh blocks the whole session while nobody reads a channel, so the reading half goes and the callbacks queue.
        let (_, writer) = channel.split();
        let (sender, inbox) = unbounded_channel();
        let (open, gone) = watch::channel(());
        let backlog = Arc::new(AtomicUsize::new(0));
        let ends = Ends { writer, inbox, backlog: Arc::clone(&backlog), gone: GoneSignal(gone) };
        Self { ends: Some(ends), inbox: sender, backlog, received: 0, env: Vec::new(), group: None, _open: open }
    }

    /// What the other side needs; once.
    pub(super) fn take_ends(&mut self) -> Option<Ends> {
        self.ends.take()
    }

    /// Bytes that the client sent.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Queues what the client sent.
    pub(super) fn receive(&mut self, inbound: Inbound) {
        let length = match &inbound {
            Inbound::Data(bytes) => bytes.len(),
            Inbound::Eof => 0,
        };
        self.received += length as u64;
        self.backlog.fetch_add(length, Ordering::SeqCst);
        if self.inbox.send(inbound).is_err() {
            self.backlog.fetch_sub(length, Ordering::SeqCst);
        }
    }

    /// Whether a command is so far behind that the client has to wait. Never true for a tunnel: russh has one target for the
    /// windows of all channels of a session, so one tunnel of a jump host would hold back the others.
    pub(super) fn overfull(&self) -> bool {
        self.group.is_some() && self.backlog.load(Ordering::SeqCst) > BACKLOG
    }
}
