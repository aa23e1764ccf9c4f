//! Writes a journal: one thread for all hosts of a run, so that many of them share one wait for the disk.
//!
//! A batch is written with one write and put on the disk with one fdatasync. Meanwhile the records of the next batch arrive: the slower
//! the disk, the larger the batches. A record that nobody waits for is written at once, too, so that it survives the process, and is on
//! the disk within a second.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded, select};

use crate::system::cancel::Cancel;
use crate::text::message::reason;

/// How long a record may be written but not on the disk.
const SOON: Duration = Duration::from_millis(500);
/// A sync begins so long after the one before it, at least: on a fast disk, so that several hosts share it all the same. Each costs
/// processor time, and a login takes several times as long.
const PACE: Duration = Duration::from_millis(3);
/// How long the disk may take once the run is stopped.
const GRACE: Duration = Duration::from_secs(2);
/// How many records may wait. Output has at most 32 KiB in each.
const WAITING: usize = 256;
/// Bytes of a batch after which it is written.
const BATCH: usize = 1 << 20;
/// Stack size of the thread, in bytes.
const STACK: usize = 256 * 1024;

/// What the thread gets.
enum Message {
    /// A record, and who waits until it is on the disk.
    Record(Vec<u8>, Option<Sender<()>>),
    /// All records have been given.
    Close(Sender<()>),
}

/// Why a record is not on the disk, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// The run was stopped while it was waited for.
    Cancelled,
    /// The disk takes too long.
    Late,
    /// The journal cannot be written.
    Failed(String),
}

/// Called once the journal cannot be written any more.
type Alarm = Box<dyn Fn() + Send + Sync>;

struct Shared {
    /// Why nothing more can be written.
    failure: OnceLock<String>,
    alarm: OnceLock<Alarm>,
    /// The hosts whose request may have been sent, by the number of the job.
    sent: Box<[AtomicBool]>,
    cancel: Cancel,
}

impl Shared {
    fn fail(&self, why: String) {
        if self.failure.set(why).is_ok()
            && let Some(alarm) = self.alarm.get()
        {
            alarm();
        }
    }
}

/// The journal of a run that has begun. Clones write to the same one.
#[derive(Clone)]
pub struct Writer {
    messages: Sender<Message>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Begins a run of `jobs` jobs with these records at the end of the file with this path, and puts them on the disk.
    ///
    /// # Errors
    /// A system error: it cannot be written, or there is no thread.
    pub fn begin((file, path): (File, &Path), records: &[u8], jobs: usize, cancel: &Cancel) -> io::Result<Writer> {
        let mut writing =
            Writing { length: file.metadata()?.len(), file, path: path.to_owned(), unsynced: None, synced: None };
        writing.write(records)?;
        writing.sync()?;
        let (messages, received) = bounded(WAITING);
        let shared = Arc::new(Shared {
            failure: OnceLock::new(),
            alarm: OnceLock::new(),
            sent: (0..jobs).map(|_| AtomicBool::new(false)).collect(),
            cancel: cancel.clone(),
        });
        let told = Arc::clone(&shared);
        let name = "pssh-journal".to_owned();
        thread::Builder::new().name(name).stack_size(STACK).spawn(move || writing.run(&received, &told))?;
        Ok(Writer { messages, shared })
    }

    /// Calls `alarm` as soon as the journal cannot be written; at once if that is so already.
    pub fn on_failure(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.alarm.set(Box::new(alarm));
        if let (Some(_), Some(alarm)) = (self.failure(), self.shared.alarm.get()) {
            alarm();
        }
    }

    /// Writes a record and waits until it is on the disk, at most until then.
    ///
    /// # Errors
    /// It may not be there.
    pub fn commit(&self, record: Vec<u8>, until: Instant) -> Result<(), Unwritten> {
        let (done, written) = bounded(1);
        let cancel = &self.shared.cancel;
        let left = || until.saturating_duration_since(Instant::now());
        let failed = || Unwritten::Failed(self.failure().unwrap_or_else(|| "its thread has ended".to_owned()));
        select! {
            send(self.messages, Message::Record(record, Some(done))) -> sent => sent.map_err(|_| failed())?,
            recv(cancel.channel()) -> _ => return Err(Unwritten::Cancelled),
            default(left()) => return Err(Unwritten::Late),
        }
        select! {
            recv(written) -> answer => answer.map_err(|_| failed()),
            recv(cancel.channel()) -> _ => Err(Unwritten::Cancelled),
            default(left()) => Err(Unwritten::Late),
        }
    }

    /// Writes a record that need not be on the disk before a second has passed.
    pub fn write(&self, record: Vec<u8>) {
        self.send(Message::Record(record, None));
    }

    /// Hands a message over. If the disk does not answer, waits no longer than the run.
    fn send(&self, message: Message) -> bool {
        let message = match self.messages.try_send(message) {
            Ok(()) => return true,
            Err(error) => error.into_inner(),
        };
        let cancel = &self.shared.cancel;
        let message = if cancel.is_triggered() {
            message
        } else {
            let mut message = Some(message);
            loop {
                let Some(next) = message.take() else { return true };
                match self.messages.send_timeout(next, SOON) {
                    Ok(()) => return true,
                    Err(SendTimeoutError::Disconnected(_)) => return false,
                    Err(SendTimeoutError::Timeout(back)) if cancel.is_triggered() => break back,
                    Err(SendTimeoutError::Timeout(back)) => message = Some(back),
                }
            }
        };
        let is_sent = self.failure().is_none() && self.messages.send_timeout(message, GRACE).is_ok();
        if !is_sent {
            self.shared.fail(STUCK.to_owned());
        }
        is_sent
    }

    /// Notes that the request of a job may go out now.
    pub fn note_sent(&self, job: usize) {
        self.shared.sent[job].store(true, Ordering::SeqCst);
    }

    /// Whether the request of a job may have gone out.
    pub fn was_sent(&self, job: usize) -> bool {
        self.shared.sent[job].load(Ordering::SeqCst)
    }

    /// Returns why the journal cannot be written, if so.
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.get().cloned()
    }

    /// Waits until all records are on the disk: once the run is stopped, not for long.
    ///
    /// # Errors
    /// Why they are not.
    pub fn close(&self) -> Result<(), String> {
        let (done, closed) = bounded(1);
        if self.send(Message::Close(done)) {
            let cancel = &self.shared.cancel;
            let is_closed = select! {
                recv(closed) -> answer => answer.is_ok(),
                recv(cancel.channel()) -> _ => closed.recv_timeout(GRACE).is_ok(),
            };
            if !is_closed {
                self.shared.fail(STUCK.to_owned());
            }
        }
        self.failure().map_or(Ok(()), Err)
    }
}

/// The failure of a disk that does not answer.
const STUCK: &str = "the disk does not answer";

/// The file while it is written.
struct Writing {
    file: File,
    path: PathBuf,
    /// Bytes of all complete records.
    length: u64,
    /// Since when records are written but not on the disk.
    unsynced: Option<Instant>,
    /// When the last sync began.
    synced: Option<Instant>,
}

impl Writing {
    /// The thread.
    fn run(mut self, messages: &Receiver<Message>, shared: &Shared) {
        loop {
            let first = match self.unsynced {
                Some(since) => messages.recv_deadline(since + SOON),
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if let Err(RecvTimeoutError::Disconnected) = first {
                let _ = self.sync();
                return;
            }
            let (mut batch, mut waiting, mut is_last) = (Vec::new(), Vec::new(), false);
            let (mut first, due) = (first.ok(), self.synced.map(|synced| synced + PACE));
            // The records that are there; and if somebody waits for them, those that come before the next sync is due.
            while let Some(message) = first.take().or_else(|| match due.filter(|_| !waiting.is_empty()) {
                Some(due) => messages.recv_deadline(due).ok(),
                None => messages.try_recv().ok(),
            }) {
                match message {
                    Message::Record(record, done) => {
                        batch.extend(record);
                        waiting.extend(done);
                    }
                    Message::Close(done) => {
                        waiting.push(done);
                        is_last = true;
                    }
                }
                if batch.len() > BATCH || is_last {
                    break;
                }
            }
            // What failed once is not tried again: the kernel may have dropped the data, and a later success would say nothing of it.
            if shared.failure.get().is_none() {
                let is_due = self.unsynced.is_some_and(|since| since.elapsed() >= SOON);
                let written =
                    self.write(&batch).and_then(|()| if is_due || !waiting.is_empty() { self.sync() } else { Ok(()) });
                if let Err(error) = written {
                    shared.fail(reason(&error));
                }
            }
            if shared.failure.get().is_some() {
                self.unsynced = None;
                // Those that wait find the failure.
                drop(waiting);
            } else {
                for done in &waiting {
                    let _ = done.try_send(());
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Appends records. If there is no room for all of them, none is there.
    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(records) {
            // Nobody has sent anything because of these records yet, so that they may go.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += records.len() as u64;
        self.unsynced = self.unsynced.or_else(|| Some(Instant::now()));
        Ok(())
    }

    /// Checks that the file still has its name, and nothing but what was written here. A run that continues this one would find other
    /// records, or none, and send commands again.
    fn check_place(&self) -> io::Result<()> {
        let (ours, there) = (rustix::fs::fstat(&self.file)?, rustix::fs::stat(&self.path));
        if !there.is_ok_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)) {
            return Err(io::Error::other("it was renamed, replaced or deleted while the run was going on"));
        }
        if u64::try_from(ours.st_size).ok() != Some(self.length) {
            return Err(io::Error::other("another program has changed it while the run was going on"));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_some() {
            self.synced = Some(Instant::now());
            self.file.sync_data()?;
            self.check_place()?;
            self.unsynced = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use crate::system::cancel::Reason;

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn text(file: &mut File) -> String {
        let mut text = String::new();
        file.rewind().expect("the beginning");
        file.read_to_string(&mut text).expect("text");
        text
    }

    #[test]
    fn every_record_is_there_once_and_in_the_order_of_its_host() {
        let (file, cancel) = (tempfile::NamedTempFile::new().expect("a file"), Cancel::new().expect("a pipe"));
        let mut same = file.reopen().expect("the file");
        let own = file.reopen().expect("the file");
        let writer = Writer::begin((own, file.path()), b"run\n", 40, &cancel).expect("a writer");
        thread::scope(|scope| {
            for job in 0..40 {
                let writer = writer.clone();
                scope.spawn(move || {
                    for number in 0..5 {
                        writer.commit(format!("sent {job} {number}\n").into_bytes(), far()).expect("written");
                        writer.write(format!("end {job} {number}\n").into_bytes());
                    }
                    writer.note_sent(job);
                });
            }
        });
        assert_eq!(writer.close(), Ok(()));
        let text = text(&mut same);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (1 + 40 * 10, "run"));
        for job in 0..40 {
            let own = lines.iter().filter(|line| line.split(' ').nth(1) == Some(&*job.to_string()));
            let expected: Vec<String> =
                (0..5).flat_map(|number| [format!("sent {job} {number}"), format!("end {job} {number}")]).collect();
            assert_eq!(
                own.collect::<Vec<_>>(),
                expected.iter().map(String::as_str).collect::<Vec<_>>().iter().collect::<Vec<_>>()
            );
            assert!(writer.was_sent(job));
        }
    }

    #[test]
    fn a_disk_that_is_full_is_told_to_all_and_leaves_whole_records() {
        let cancel = Cancel::new().expect("a pipe");
        // Whatever is written to it: there is no space left.
        let full = || File::options().write(true).open("/dev/full").expect("a device");
        let error = Writer::begin((full(), Path::new("/dev/full")), b"run\n", 1, &cancel).map(drop).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let (messages, received) = bounded(WAITING);
        let shared = Arc::new(Shared {
            failure: OnceLock::new(),
            alarm: OnceLock::new(),
            sent: Box::new([]),
            cancel: cancel.clone(),
        });
        let writer = Writer { messages, shared: Arc::clone(&shared) };
        let told = Arc::new(AtomicBool::new(false));
        let alarm = Arc::clone(&told);
        writer.on_failure(move || alarm.store(true, Ordering::SeqCst));
        let thread = thread::spawn(move || {
            Writing { file: full(), path: PathBuf::new(), length: 0, unsynced: None, synced: None }
                .run(&received, &shared);
        });
        let failed = || Err(Unwritten::Failed("No space left on device".to_owned()));
        assert_eq!(writer.commit(b"sent\n".to_vec(), far()), failed());
        assert_eq!(writer.commit(b"sent\n".to_vec(), far()), failed(), "and it stays so");
        writer.write(b"end\n".to_vec());
        assert_eq!(writer.close(), Err("No space left on device".to_owned()));
        assert!(told.load(Ordering::SeqCst));
        thread.join().expect("it has ended");
    }

    #[test]
    fn a_file_that_is_not_the_journal_any_more_is_a_failure() {
        let cancel = Cancel::new().expect("a pipe");
        type Change = fn(&Path);
        let changes: [(Change, &str); 4] = [
            (|path| std::fs::rename(path, path.with_extension("1")).expect("renamed"), "renamed, replaced or deleted"),
            (|path| std::fs::remove_file(path).expect("removed"), "renamed, replaced or deleted"),
            (|path| drop(File::create(path).expect("emptied")), "another program has changed it"),
            (|path| std::fs::write(path, "run\nsent\nmore\n").expect("changed"), "another program has changed it"),
        ];
        for (change, told) in changes {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("J");
            let file = File::options().append(true).create(true).open(&path).expect("a file");
            let writer = Writer::begin((file, &path), b"run\n", 1, &cancel).expect("a writer");
            assert_eq!(writer.commit(b"sent\n".to_vec(), far()), Ok(()));
            change(&path);
            let failed = writer.commit(b"sent\n".to_vec(), far()).expect_err("nothing is sent");
            assert!(matches!(&failed, Unwritten::Failed(why) if why.contains(told)), "{failed:?}");
            assert!(writer.close().is_err());
        }
    }

    #[test]
    fn nobody_waits_for_a_disk_that_does_not_answer() {
        let cancel = Cancel::new().expect("a pipe");
        // No thread takes anything.
        let (messages, _received) = bounded(1);
        let shared =
            Shared { failure: OnceLock::new(), alarm: OnceLock::new(), sent: Box::new([]), cancel: cancel.clone() };
        let writer = Writer { messages, shared: Arc::new(shared) };
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(writer.commit(Vec::new(), soon), Err(Unwritten::Late), "it waits for the disk");
        assert_eq!(writer.commit(Vec::new(), soon), Err(Unwritten::Late), "it waits for room");
        cancel.trigger(Reason::Signal(2));
        assert_eq!(writer.commit(Vec::new(), far()), Err(Unwritten::Cancelled));
        let begun = Instant::now();
        writer.write(Vec::new());
        assert_eq!(writer.close(), Err(STUCK.to_owned()));
        assert!(begun.elapsed() < 2 * GRACE, "the second message finds the failure");
    }
}
