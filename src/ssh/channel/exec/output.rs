//! The output of a command: from the channel to its recipient.

use std::time::Instant;

use crossbeam_channel::{Select, TrySendError};

use super::spoken::Spoken;
use super::{Drained, Running, STREAMS};
use crate::events::event::{Event, EventKind, Stream};
use crate::ssh::ffi;
use crate::ssh::session::SOCKET_DISCONNECT;
use crate::ssh::sudo::conversation::Conversation;

/// Read size: the largest packet that we accept.
const READ_SIZE: usize = 32 * 1024;
/// Reads of one stream in a row before the other has its turn.
const READ_BURST: usize = 8;

impl Running<'_> {
    /// Reads both streams until both are empty, or the events are full. Data of other streams is dropped.
    pub(super) fn drain(&mut self) -> Drained {
        let mut drained = self.drain_streams();
        if drained == Drained::Nothing && self.channel.may_have_data() {
            // Reading stdout has taken stderr off the socket: nothing would wake us for it.
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

    /// Drops data of streams other than the two (RFC 4254 section 5.2 has codes for 2^32).
    fn drop_unread(&mut self) -> Drained {
        let read = STREAMS.map(|(_, id)| id);
        let dropped = self.session.link().drop_unread(&self.channel, &read, &mut self.buffer);
        self.judge(dropped)
    }

    /// Reads one piece of one stream into the undelivered event.
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

    /// Handles the result of `read`.
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

    /// Passes on the program's output: as an event, if it is for the user.
    fn hand_on(&mut self, stream: Stream, bytes: Vec<u8>) -> Option<Event> {
        let (stream, bytes) = match &mut self.spoken {
            Some(spoken) => (Stream::Stderr, spoken.hear(stream, bytes)),
            None => (stream, bytes),
        };
        if let Some(listener) = self.listener.as_mut().filter(|_| !bytes.is_empty()) {
            listener(stream, bytes);
            return None;
        }
        (!bytes.is_empty()).then(|| Event::now(self.command.job, EventKind::Output { stream, bytes }))
    }

    /// Reports the progress of the dialogue. If the event channel is full, it is skipped.
    pub(super) fn tell_progress(&mut self) {
        if let Some(progress) = self.spoken.as_mut().and_then(Spoken::progress) {
            let _ = self.events.try_send(Event::now(self.command.job, EventKind::Copied(progress)));
        }
    }

    /// Passes on output held back because it could be sudo's prompt or the start of a password.
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

    /// Passes on output held back because it could be sudo's prompt.
    pub(super) fn hand_on_sudos_rest(&mut self) {
        while let Some((stream, bytes)) = self.sudo.as_mut().and_then(Conversation::rest) {
            if let Some(event) = self.hand_on(stream, bytes) {
                let _ = self.events.send(event);
            }
        }
    }

    /// Delivers the undelivered event, waiting for room no longer than until the next due time; returns whether none is
    /// left.
    /// left.
    pub(super) fn deliver(&mut self) -> bool {
        let Some(event) = self.undelivered.take() else {
            return true;
        };
        let event = match self.events.try_send(event) {
            // Without a receiver the run is being abandoned.
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
