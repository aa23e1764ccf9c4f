//! Input of commands: local standard input for all hosts (`--send-input`), or what a program writes for each
//! ([`Writer`]).
//!
//! Standard input is read once, and passed to each host at its own pace.
//! Each host reads a regular file by itself. Anything else is spooled to an unnamed temporary file, so that a slow host blocks
//! neither the fast ones nor takes memory. The spool is never far ahead of the fastest host: endless input to commands that do
//! not read it does not fill the disk.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::thread;

use rustix::event::PollFlags;
use rustix::fs::{FileType, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::system::lock::lock;
use crate::system::poll::poll_with;
use crate::text::message::reason;

/// Bytes to read at once.
const CHUNK: usize = 128 << 10;
/// Bytes that the spool may be ahead of the fastest host.
const AHEAD: u64 = 8 << 20;
/// Bytes that may wait in the input of one command before its writer blocks.
pub const QUEUE: usize = 1 << 20;
/// Bytes of stack of the thread that reads.
const STACK: usize = 256 << 10;

/// The input of a run's commands.
#[derive(Default)]
pub enum Inputs {
    /// No input: it ends at once.
    #[default]
    Nothing,
    /// The same input for all.
    Shared(Input),
    /// Separate inputs, by the job's number.
    Each(Vec<Input>),
}

impl Inputs {
    /// Returns the input of a job's command, from its beginning.
    pub fn reader(&self, job: usize) -> Option<InputReader> {
        match self {
            Inputs::Nothing => None,
            Inputs::Shared(input) => Some(input.reader()),
            Inputs::Each(inputs) => inputs.get(job).map(Input::reader),
        }
    }
}

/// Input for commands.
pub struct Input {
    source: Source,
    /// Starts the thread that fills the spool, at the first read.
    start: Once,
}

enum Source {
    /// A regular file, and the offset where the input begins.
    File(Arc<File>, u64),
    Spool(Arc<Spool>),
    /// Only for one reader.
    Queue(Arc<Queue>),
}

/// Input that can be read only once.
struct Spool {
    file: File,
    state: Mutex<InputState>,
    /// The fastest host has advanced.
    wanted: Condvar,
}

struct InputState {
    /// Bytes in the file.
    written: u64,
    /// The position of the fastest host.
    furthest: u64,
    /// The end: the input has ended, or why it cannot be read further.
    end: Option<Result<(), String>>,
    /// Wakes readers that have read everything.
    news: Option<News>,
}

/// A pipe whose one end is closed when there is more, so that any number of readers can wait for one descriptor, and none of them
/// must empty it.
struct News {
    wait: Arc<OwnedFd>,
    _alarm: OwnedFd,
}

/// Input that a program writes while the command runs.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    /// There is space, or the reader has gone.
    room: Condvar,
}

#[derive(Default)]
struct QueueState {
    bytes: VecDeque<u8>,
    /// Nothing more is written.
    is_ended: bool,
    /// The reader has gone.
    is_gone: bool,
    news: Option<News>,
}

/// The result of a read.
#[derive(Debug)]
pub enum Piece {
    /// That many bytes.
    Bytes(usize),
    /// Nothing now. There is more, or the end, once this descriptor is readable; only wait for it, do not read from it.
    Later(Arc<OwnedFd>),
    /// The input has ended.
    End,
}

/// One host's place in the input.
pub struct InputReader {
    source: ReaderSource,
    position: u64,
}

enum ReaderSource {
    File(Arc<File>),
    Memory(Arc<[u8]>),
    Spool {
        spool: Arc<Spool>,
        /// Bytes known to be in the spool.
        known: u64,
    },
    Queue(QueueReader),
}

/// The reading end; dropping it ends the writing.
struct QueueReader(Arc<Queue>);

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

impl Input {
    /// Opens local standard input without reading.
    ///
    /// # Errors
    /// It is not open for reading, or the temporary file cannot be created.
    pub fn stdin() -> io::Result<Input> {
        Input::of(rustix::stdio::stdin())
    }

    fn of(descriptor: BorrowedFd<'_>) -> io::Result<Input> {
        if rustix::fs::fcntl_getfl(descriptor)?.contains(OFlags::WRONLY) {
            return Err(io::Error::other("it is not open for reading"));
        }
        let kind = FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode);
        let source = if kind == FileType::RegularFile {
            let start = rustix::fs::seek(descriptor, SeekFrom::Current(0))?;
            Source::File(Arc::new(File::from(descriptor.try_clone_to_owned()?)), start)
        } else {
            let state = InputState { written: 0, furthest: 0, end: None, news: None };
            let file = tempfile::tempfile()?;
            Source::Spool(Arc::new(Spool { file, state: Mutex::new(state), wanted: Condvar::new() }))
        };
        Ok(Input { source, start: Once::new() })
    }

    /// Creates input that is written while the command runs, for one command only.
    pub fn written() -> (Writer, Input) {
        let queue = Arc::new(Queue::default());
        (Writer(Arc::clone(&queue)), Input { source: Source::Queue(queue), start: Once::new() })
    }

    /// Returns the input from its beginning, for one host.
    pub fn reader(&self) -> InputReader {
        match &self.source {
            Source::File(file, start) => InputReader { source: ReaderSource::File(Arc::clone(file)), position: *start },
            Source::Spool(spool) => {
                self.start.call_once(|| fill_in_background(Arc::clone(spool)));
                InputReader { source: ReaderSource::Spool { spool: Arc::clone(spool), known: 0 }, position: 0 }
            }
            Source::Queue(queue) => {
                InputReader { source: ReaderSource::Queue(QueueReader(Arc::clone(queue))), position: 0 }
            }
        }
    }
}

impl InputReader {
    /// Creates a reader of `bytes`, in place of standard input.
    pub fn of(bytes: Arc<[u8]>) -> InputReader {
        InputReader { source: ReaderSource::Memory(bytes), position: 0 }
    }

    /// Reads as much as is available and fits into `buffer`.
    ///
    /// # Errors
    /// Why the input cannot be read, in words. This is not the end of the input: the rest is missing.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, String> {
        let (file, most) = match &mut self.source {
            ReaderSource::File(file) => (&**file, buffer.len()),
            ReaderSource::Queue(QueueReader(queue)) => return queue.read(buffer),
            ReaderSource::Memory(bytes) => {
                let rest = bytes.get(usize::try_from(self.position).unwrap_or(usize::MAX)..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                self.position += count as u64;
                return Ok(if count == 0 { Piece::End } else { Piece::Bytes(count) });
            }
            ReaderSource::Spool { spool, known } => {
                if self.position == *known {
                    match spool.look(self.position)? {
                        Look::More(written) => *known = written,
                        Look::Later(wait) => return Ok(Piece::Later(wait)),
                        Look::End => return Ok(Piece::End),
                    }
                }
                (&spool.file, buffer.len().min(usize::try_from(*known - self.position).unwrap_or(usize::MAX)))
            }
        };
        loop {
            match file.read_at(&mut buffer[..most], self.position) {
                Ok(0) => return Ok(Piece::End),
                Ok(count) => {
                    self.position += count as u64;
                    return Ok(Piece::Bytes(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reason(&error)),
            }
        }
    }
}

impl News {
    /// Returns the descriptor to wait for.
    fn wait(news: &mut Option<News>) -> Result<Arc<OwnedFd>, String> {
        if let Some(news) = news {
            return Ok(Arc::clone(&news.wait));
        }
        let (wait, alarm) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| reason(&error.into()))?;
        let wait = Arc::new(wait);
        *news = Some(News { wait: Arc::clone(&wait), _alarm: alarm });
        Ok(wait)
    }
}

impl Queue {
    fn hang_up(&self) {
        let mut state = lock(&self.state);
        state.is_gone = true;
        state.bytes = VecDeque::new();
        self.room.notify_all();
    }

    fn read(&self, buffer: &mut [u8]) -> Result<Piece, String> {
        let mut state = lock(&self.state);
        if state.bytes.is_empty() {
            return if state.is_ended { Ok(Piece::End) } else { News::wait(&mut state.news).map(Piece::Later) };
        }
        let count = state.bytes.read(buffer).map_err(|error| reason(&error))?;
        self.room.notify_all();
        Ok(Piece::Bytes(count))
    }
}

/// Writes the input of one command. Dropping it ends the input.
///
/// A write blocks while 1 MiB waits for the command; it fails with [`io::ErrorKind::BrokenPipe`] once the
/// command has ended.
pub struct Writer(Arc<Queue>);

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Returns a handle that makes all later writes fail.
    pub(crate) fn hangup(&self) -> Hangup {
        Hangup(Arc::clone(&self.0))
    }
}

/// Marks a command as ended or never run, so that writers do not wait for it.
pub struct Hangup(Arc<Queue>);

impl Hangup {
    /// Marks it.
    pub fn hang_up(&self) {
        self.0.hang_up();
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let full = |state: &mut QueueState| !state.is_gone && state.bytes.len() >= QUEUE;
        let mut state = self.0.room.wait_while(lock(&self.0.state), full).unwrap_or_else(PoisonError::into_inner);
        if state.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(QUEUE - state.bytes.len());
        state.bytes.extend(&bytes[..count]);
        state.news = None;
        Ok(count)
    }

    /// Does nothing: writes are not buffered.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.is_ended = true;
        state.news = None;
    }
}

/// The state of the spool beyond a position.
enum Look {
    /// Bytes up to this position.
    More(u64),
    /// Creates an empty value.
    Later(Arc<OwnedFd>),
    /// Nothing more.
    End,
}

impl Spool {
    /// Returns the state beyond `position`, which a host has reached.
    fn look(&self, position: u64) -> Result<Look, String> {
        let mut state = lock(&self.state);
        if position > state.furthest {
            state.furthest = position;
            self.wanted.notify_one();
        }
        if state.written > position {
            return Ok(Look::More(state.written));
        }
        match &state.end {
            Some(Ok(())) => return Ok(Look::End),
            Some(Err(problem)) => return Err(problem.clone()),
            None => {}
        }
        News::wait(&mut state.news).map(Look::Later)
    }

    /// Reads standard input to its end.
    fn fill(&self, input: BorrowedFd<'_>) -> Result<(), String> {
        let mut buffer = vec![0; CHUNK];
        let mut written = 0;
        loop {
            let enough = |state: &mut InputState| written >= state.furthest.saturating_add(AHEAD);
            drop(self.wanted.wait_while(lock(&self.state), enough).unwrap_or_else(PoisonError::into_inner));
            let count = match rustix::io::read(input, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                // The parent process has made it non-blocking.
                Err(Errno::AGAIN) => {
                    poll_with(None, &[(input, PollFlags::IN)], None).map_err(|error| reason(&error))?;
                    continue;
                }
                Err(error) => return Err(reason(&error.into())),
            };
            let stored = self.file.write_all_at(&buffer[..count], written);
            stored.map_err(|error| format!("it cannot be stored in a temporary file: {}", reason(&error)))?;
            written += count as u64;
            let mut state = lock(&self.state);
            state.written = written;
            state.news = None;
        }
    }

    fn end(&self, how: Result<(), String>) {
        let mut state = lock(&self.state);
        state.end = Some(how);
        state.news = None;
    }
}

fn fill_in_background(spool: Arc<Spool>) {
    let filler = Arc::clone(&spool);
    let work = move || filler.end(filler.fill(rustix::stdio::stdin()));
    if let Err(error) = thread::Builder::new().name("pssh-input".to_owned()).stack_size(STACK).spawn(work) {
        spool.end(Err(reason(&error)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    fn spool() -> Arc<Spool> {
        let state = InputState { written: 0, furthest: 0, end: None, news: None };
        let file = tempfile::tempfile().expect("a temporary file");
        Arc::new(Spool { file, state: Mutex::new(state), wanted: Condvar::new() })
    }

    fn reader(spool: &Arc<Spool>) -> InputReader {
        InputReader { source: ReaderSource::Spool { spool: Arc::clone(spool), known: 0 }, position: 0 }
    }

    /// Reads to the end, waiting like a host.
    fn read_all(reader: &mut InputReader) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match reader.read(&mut buffer)? {
                Piece::Bytes(count) => all.extend_from_slice(&buffer[..count]),
                Piece::Later(wait) => {
                    poll_with(None, &[(wait.as_fd(), PollFlags::IN)], None).expect("poll");
                }
                Piece::End => return Ok(all),
            }
        }
    }

    #[test]
    fn every_reader_gets_all_of_a_stream() {
        let (input, mut writer) = std::io::pipe().expect("a pipe");
        let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let spool = spool();
        let filler = Arc::clone(&spool);
        let filling = thread::spawn(move || filler.end(filler.fill(input.as_fd())));
        let hosts: Vec<_> = (0..5)
            .map(|_| {
                let mut reader = reader(&spool);
                thread::spawn(move || read_all(&mut reader))
            })
            .collect();
        for piece in sent.chunks(7_777) {
            writer.write_all(piece).expect("write");
        }
        drop(writer);
        for host in hosts {
            assert!(host.join().expect("a reader").expect("all of it") == sent);
        }
        filling.join().expect("the filler");
        // A late reader gets everything too.
        assert!(read_all(&mut reader(&spool)).expect("all of it") == sent);
    }

    #[test]
    fn nothing_is_read_far_ahead_of_the_fastest_host() {
        let (input, writer) = std::io::pipe().expect("a pipe");
        rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).expect("non-blocking");
        let spool = spool();
        let filler = Arc::clone(&spool);
        thread::spawn(move || filler.end(filler.fill(input.as_fd())));
        let block = vec![b'x'; CHUNK];
        let (mut taken, mut idle) = (0, 0);
        // The pipe blocks once the spool is full.
        while idle < 20 {
            match rustix::io::write(&writer, &block) {
                Ok(count) => (taken, idle) = (taken + count as u64, 0),
                Err(Errno::AGAIN) => {
                    idle += 1;
                    thread::sleep(std::time::Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!((AHEAD..2 * AHEAD).contains(&taken), "{taken} bytes were taken");
        // A host that reads on lets more in.
        let mut reader = reader(&spool);
        let mut left = AHEAD;
        while left > 0 {
            match reader.read(&mut [0; CHUNK]).expect("input") {
                Piece::Bytes(count) => left = left.saturating_sub(count as u64),
                other => panic!("{other:?}"),
            }
        }
        assert!(reader.read(&mut [0; 1]).is_ok());
        poll_with(None, &[(writer.as_fd(), PollFlags::OUT)], None).expect("poll");
        assert!(rustix::io::write(&writer, &block).is_ok());
    }

    #[test]
    fn a_file_is_read_from_where_it_stands() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"header\nbody").expect("write");
        rustix::fs::seek(&file, SeekFrom::Start(7)).expect("seek");
        let input = Input::of(file.as_fd()).expect("input");
        for _ in 0..2 {
            assert_eq!(read_all(&mut input.reader()).expect("all of it"), b"body");
        }
    }

    #[test]
    fn what_is_written_for_one_command_waits_for_it() {
        let (mut writer, input) = Input::written();
        let mut reader = input.reader();
        let writing = thread::spawn(move || {
            writer.write_all(&vec![b'x'; 3 * QUEUE]).expect("a reader");
            writer.write_all(b"end")
        });
        let all = read_all(&mut reader).expect("all of it");
        assert!(all.len() == 3 * QUEUE + 3 && all.ends_with(b"xend"));
        writing.join().expect("the writer").expect("a reader");
    }

    #[test]
    fn nobody_waits_for_a_command_that_has_ended() {
        for by_reader in [true, false] {
            let (mut writer, input) = Input::written();
            let (reader, hangup) = (input.reader(), writer.hangup());
            let writing = thread::spawn(move || writer.write_all(&vec![b'x'; 3 * QUEUE]));
            if by_reader {
                drop(reader);
            } else {
                hangup.hang_up();
            }
            let error = writing.join().expect("the writer").expect_err("nobody reads");
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_end() {
        let spool = spool();
        spool.file.write_all_at(b"abc", 0).expect("write");
        lock(&spool.state).written = 3;
        spool.end(Err("broken".to_owned()));
        assert_eq!(read_all(&mut reader(&spool)), Err("broken".to_owned()));
        let (_, writer) = std::io::pipe().expect("a pipe");
        assert!(Input::of(writer.as_fd()).is_err());
    }
}
