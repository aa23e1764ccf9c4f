//! What a command prints: off the channel, and on to whom it is for.

use std::time::Instant;

use crossbeam_channel::{Select, TrySendError};

use super::spoken::Spoken;
use super::{Drained, Running, STREAMS};
use crate::events::event::{Event, EventKind, Stream};
use crate::ssh::ffi;
use crate::ssh::session::SOCKET_DISCONNECT;
use crate::ssh::sudo::conversation::Conversation;

/// Bytes of one read: the largest packet that we accept.
const READ_SIZE: usize = 32 * 1024;
/// Reads of one stream in a row before the other has its turn.
const READ_BURST: usize = 8;

impl Running<'_> {
    /// Reads both streams until neither has anything, or the events are full. Data of other streams is dropped.
    pub(super) fn drain(&mut self) -> Drained {
        let mut drained = self.drain_streams();
        if drained == Drained::Nothing && self.channel.may_have_data() {
            // Looking for stdout has taken stderr off the socket: nothing would wake us for it.
            drained = self.drain_streams();
        }
        if drained == Drained::Nothing && self.channel.may_have_data() {
            drained = self.drop_unread();
        }
        drained
    }

    fn drain_streams(&mut self) -> Drained {
        let mut drained = Drained::Nothing;
        for (stream, id) in STREAMS {
            for _ in 0..READ_BURST {
                match self.read(stream, id) {
                    Drained::Some => drained = Drained::Some,
                    Drained::Nothing => break,
                    failed => return failed,
                }
                if !self.deliver() {
                    return drained;
                }
            }
        }
        drained
    }

    /// Drops what has come on other streams than the two that are read (RFC 4254 section 5.2 has codes for 2^32).
    fn drop_unread(&mut self) -> Drained {
        let read = STREAMS.map(|(_, id)| id);
        let dropped = self.session.link().drop_unread(&self.channel, &read, &mut self.buffer);
        self.judge(dropped)
    }

    /// Reads one piece of one stream; it is undelivered then.
    pub(super) fn read(&mut self, stream: Stream, id: i32) -> Drained {
        let spoken = self.spoken.as_mut().filter(|_| stream == Stream::Stdout);
        if spoken.as_ref().is_some_and(|spoken| !spoken.dialogue.hears()) {
            return Drained::Nothing;
        }
        let read = self.session.link().read(self.session.socket(), &self.channel, id, &mut self.buffer);
        if let Ok(count @ 1..) = read {
            self.last_output = Instant::now();
            match (&mut self.sudo, spoken) {
                (None, Some(spoken)) => spoken.dialogue.hear(&self.buffer[..count]),
                (sudo, _) => {
                    let mut bytes = self.buffer[..count].to_vec();
                    if let Some(sudo) = sudo {
                        bytes = sudo.hear(stream, bytes);
                    }
                    self.undelivered = self.hand_on(stream, bytes);
                }
            }
        }
        self.judge(read)
    }

    /// What `read` came to, which is taken care of.
    fn judge(&mut self, read: Result<usize, ssh2::Error>) -> Drained {
        match read {
            Ok(0) => Drained::Nothing,
            Ok(count) => {
                if count == self.buffer.len() {
                    self.buffer.resize(READ_SIZE, 0);
                }
                if let Some(spoken) = self.spoken.as_mut().filter(|_| self.stdin.is_over())
                    && !spoken.may_say(count)
                {
                    return Drained::Failed("the remote program keeps sending data".to_owned());
                }
                Drained::Some
            }
            Err(error) if ffi::would_block(&error) => Drained::Nothing,
            Err(error) if error.code() == SOCKET_DISCONNECT => {
                Drained::Failed(self.session.end("the server disconnected"))
            }
            Err(error) => {
                let why = ffi::damage(&error).unwrap_or_else(|| ffi::in_our_words(error.message()));
                Drained::Failed(self.session.end(&format!("the connection failed: {why}")))
            }
        }
    }

    /// Gives what the program has printed to whom it is for: the event, if that is our user.
    fn hand_on(&mut self, stream: Stream, bytes: Vec<u8>) -> Option<Event> {
        let (stream, bytes) = match &mut self.spoken {
            Some(spoken) => (Stream::Stderr, spoken.hear(stream, bytes)),
            None => (stream, bytes),
        };
        (!bytes.is_empty()).then(|| Event::now(self.command.job, EventKind::Output { stream, bytes }))
    }

    /// Tells how far the dialogue is. Where nobody has the time to hear it, it is not told.
    pub(super) fn tell_progress(&mut self) {
        if let Some(progress) = self.spoken.as_mut().and_then(Spoken::progress) {
            let _ = self.events.try_send(Event::now(self.command.job, EventKind::Copied(progress)));
        }
    }

    /// Hands on what was kept back in case sudo was about to ask, or a password about to be repeated.
    pub(super) fn hand_on_rest(&mut self) {
        self.hand_on_sudos_rest();
        if let Some(spoken) = &mut self.spoken {
            let bytes = spoken.rest();
            if !bytes.is_empty() {
                let output = EventKind::Output { stream: Stream::Stderr, bytes };
                let _ = self.events.send(Event::now(self.command.job, output));
            }
        }
    }

    /// Hands on what was kept back in case sudo was about to ask.
    pub(super) fn hand_on_sudos_rest(&mut self) {
        while let Some((stream, bytes)) = self.sudo.as_mut().and_then(Conversation::rest) {
            if let Some(event) = self.hand_on(stream, bytes) {
                let _ = self.events.send(event);
            }
        }
    }

    /// Hands the undelivered event on, waiting for room no longer than the next thing to do allows; says whether none is
    /// left.
    pub(super) fn deliver(&mut self) -> bool {
        let Some(event) = self.undelivered.take() else {
            return true;
        };
        let event = match self.events.try_send(event) {
            // With nobody to listen any more, the run is being abandoned.
            Ok(()) | Err(TrySendError::Disconnected(_)) => return true,
            Err(TrySendError::Full(event)) => event,
        };
        let mut select = Select::new();
        let room = select.send(self.events);
        if self.waits_for_cancel() {
            select.recv(self.cancel.channel());
        }
        let ready = match self.next_due() {
            Some(due) => select.select_deadline(due).ok(),
            None => Some(select.select()),
        };
        match ready {
            Some(operation) if operation.index() == room => {
                let _ = operation.send(self.events, event);
                return true;
            }
            Some(operation) => {
                let _ = operation.recv(self.cancel.channel());
            }
            None => {}
        }
        self.undelivered = Some(event);
        false
    }
}
