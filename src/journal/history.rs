//! What a journal says about a list of hosts: of its last run and of those that it continues.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{BEGINNING, BadRecord, Ending, Host, Record, Run};
use crate::system::files::unread::BeforeStart;
use crate::text::message::reason;

/// Bytes of the longest line: one read of output has 32 KiB, and each of its bytes may take six.
const LONGEST_LINE: u64 = 4 << 20;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A system error.
    #[error("{}: cannot read the journal: {}", .path.display(), reason(.error))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is another file.
    #[error("{}: not a journal", .0.display())]
    Other(PathBuf),
    /// A line is wrong.
    #[error("{}:{line}: {problem}", .path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: u64,
        /// What is wrong.
        problem: Problem,
    },
}

impl BeforeStart for HistoryError {
    fn is_unread(&self) -> bool {
        matches!(self, HistoryError::Read { .. })
    }
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not a record.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// It is longer than any record.
    #[error("the line is longer than any record")]
    TooLong,
    /// The run that it continues is not the one before it.
    #[error("the run continues another one than the run before it")]
    Parent,
    /// It continues a run with other hosts.
    #[error("the run has other hosts than the one that it continues")]
    Hosts,
    /// The list does not have this host.
    #[error("the list has {hosts} hosts, so there is no index {index}")]
    Index {
        /// The host's index.
        index: usize,
        /// How many hosts the list has.
        hosts: usize,
    },
    /// A host's end occurs twice in a run.
    #[error("the host with the index {0} has ended before, in the same run")]
    Twice(usize),
}

/// The last bytes of a file that ended while they were being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The number of the line, from 1.
    pub line: u64,
    /// How many bytes there are.
    pub bytes: u64,
}

/// What the last run that had to do with a host says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostState {
    /// The number of that run, among those of the history.
    pub run: usize,
    /// How it ended, if that is known. Otherwise its command may have been sent.
    pub end: Option<Ending>,
}

/// What is known of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its command was not sent, and it has no end.
    NotStarted,
    /// Its command may have been sent, and how it ended is not known.
    Lost,
    /// How it ended.
    Ended(Ending),
}

/// The last run of a journal, and the runs that it continues.
#[derive(Debug, Default)]
pub struct History {
    /// These runs, the oldest first. None if the journal is empty.
    pub runs: Vec<Run>,
    /// The hosts of the list, by index.
    pub hosts: BTreeMap<usize, Host>,
    /// The hosts that a run had to do with, by index.
    pub states: BTreeMap<usize, HostState>,
    /// Where the first of these runs begins in the file.
    start: u64,
    /// Bytes of all complete lines.
    pub length: u64,
    /// What follows them.
    pub torn: Option<Torn>,
    /// The time of the latest record, since 1970.
    pub latest: Duration,
}

impl History {
    /// Reads a journal from its beginning.
    ///
    /// # Errors
    /// It cannot be read, or is not a journal. A last line that was not written to its end is no error.
    pub fn read(file: &File, path: &Path) -> Result<History, HistoryError> {
        let failed = |error| HistoryError::Read { path: path.to_owned(), error };
        let mut history = History::default();
        let mut lines = Lines::new(file, 0);
        while lines.advance().map_err(failed)? {
            let line = &*lines.line;
            let bad = |problem: Problem| match lines.number {
                1 if matches!(problem, Problem::Record(BadRecord::Shape | BadRecord::Field(..)) | Problem::TooLong) => {
                    HistoryError::Other(path.to_owned())
                }
                line => HistoryError::Bad { path: path.to_owned(), line, problem },
            };
            let begins_like_one = lines.number > 1 || is_beginning(line);
            if !begins_like_one {
                return Err(HistoryError::Other(path.to_owned()));
            }
            // A write that a power failure cut off leaves half a line, or zeros where its data was to be. All that was on the disk
            // for sure is before it.
            let is_too_long = line.len() as u64 > LONGEST_LINE;
            if line.contains(&0) || !line.ends_with(b"\n") && !is_too_long {
                let number = lines.number;
                let length = file.metadata().map_err(failed)?.len();
                history.torn = Some(Torn { line: number, bytes: length.saturating_sub(history.length) });
                break;
            }
            if is_too_long {
                return Err(bad(Problem::TooLong));
            }
            let record = Record::parse(line).map_err(|problem| bad(problem.into()))?;
            history.take(record).map_err(bad)?;
            history.length = lines.offset;
        }
        Ok(history)
    }

    /// Takes the next record.
    fn take(&mut self, record: Record) -> Result<(), Problem> {
        let time = match &record {
            Record::Run(run) => Some(run.time),
            Record::Sent(sent) => Some(sent.time),
            Record::Output(output) => Some(output.time),
            Record::End(end) => end.fields.maybe_time("time"),
            Record::Host(_) | Record::Unknown => None,
        };
        self.latest = self.latest.max(time.unwrap_or_default());
        match record {
            Record::Run(run) => self.begin(run)?,
            Record::Host(host) => {
                self.check_index(host.index)?;
                self.hosts.insert(host.index, host);
            }
            Record::Sent(sent) => {
                self.check_index(sent.index)?;
                self.states.insert(sent.index, HostState { run: self.current(), end: None });
            }
            Record::End(end) => {
                self.check_index(end.index)?;
                let (run, ending) = (self.current(), Some(end.ending));
                let before = self.states.insert(end.index, HostState { run, end: ending });
                if before.is_some_and(|before| before.run == run && before.end.is_some()) {
                    return Err(Problem::Twice(end.index));
                }
            }
            Record::Output(output) => self.check_index(output.index)?,
            Record::Unknown => {}
        }
        Ok(())
    }

    fn begin(&mut self, run: Run) -> Result<(), Problem> {
        let last = self.runs.last();
        if run.parent.is_none() {
            *self = History { start: self.length, length: self.length, latest: run.time, ..History::default() };
        } else if run.parent.as_ref() != last.map(|last| &last.id) {
            return Err(Problem::Parent);
        } else if last.is_some_and(|last| run.of.check_hosts(&last.of).is_err()) {
            return Err(Problem::Hosts);
        }
        self.runs.push(run);
        Ok(())
    }

    /// The number of the run whose records follow.
    fn current(&self) -> usize {
        self.runs.len().saturating_sub(1)
    }

    fn check_index(&self, index: usize) -> Result<(), Problem> {
        // A journal begins with a run.
        let hosts = self.runs.last().map_or(0, |run| run.of.hosts);
        if index < hosts { Ok(()) } else { Err(Problem::Index { index, hosts }) }
    }

    /// Returns the last run, if there is one.
    pub fn last(&self) -> Option<&Run> {
        self.runs.last()
    }

    /// Returns what is known of a host.
    pub fn standing(&self, index: usize) -> Standing {
        match self.states.get(&index) {
            None => Standing::NotStarted,
            Some(HostState { end: None, .. }) => Standing::Lost,
            Some(HostState { end: Some(ending), .. }) => Standing::Ended(*ending),
        }
    }

    /// Passes all records of these runs to `take`, with the number of their run.
    ///
    /// # Errors
    /// The file cannot be read again, or is not what it was.
    pub fn replay(&self, file: &File, mut take: impl FnMut(usize, Record)) -> io::Result<()> {
        let mut lines = Lines::new(file, self.start);
        let mut run = None;
        while lines.offset < self.length {
            let record = if lines.advance()? { Record::parse(&lines.line).ok() } else { None };
            let Some(record) = record else { return Err(io::Error::other("it has changed meanwhile")) };
            if matches!(record, Record::Run(_)) {
                run = Some(run.map_or(0, |run: usize| run + 1));
            }
            take(run.unwrap_or(0), record);
        }
        Ok(())
    }
}

/// Whether the first line of a file is that of a journal, or the part of one that was written.
fn is_beginning(line: &[u8]) -> bool {
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let length = line.len().min(BEGINNING.len());
    line[..length] == BEGINNING[..length] && line != b"\n"
}

/// Reads a file from a place of its own: the file's is moved by whatever is written to its end meanwhile.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The lines of a file, read with a buffer that does not grow.
struct Lines<'f> {
    reader: BufReader<At<'f>>,
    line: Vec<u8>,
    /// The number of the last line, from 1.
    number: u64,
    /// Where the next one begins.
    offset: u64,
}

impl<'f> Lines<'f> {
    fn new(file: &'f File, offset: u64) -> Lines<'f> {
        let reader = BufReader::with_capacity(1 << 16, At { file, offset });
        Lines { reader, line: Vec::new(), number: 0, offset }
    }

    /// Reads the next line with its newline, if it has one; one that is too long without its end. Returns whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut limited = (&mut self.reader).take(LONGEST_LINE + 1);
        let count = limited.read_until(b'\n', &mut self.line)?;
        self.number += 1;
        self.offset += count as u64;
        Ok(count > 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::events::event::Class;
    use std::io::Write;

    use super::super::record::testing::{end, host, lines, run, sent};
    use super::*;

    fn read(text: &[u8]) -> Result<History, String> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text).expect("written");
        History::read(&file, Path::new("J")).map_err(|error| error.to_string())
    }

    fn started() -> Vec<u8> {
        lines(&[Record::Run(run("a", None, 3)), host(0), host(1), host(2)])
    }

    #[test]
    fn a_host_stands_where_its_last_record_left_it() {
        let text = [started(), lines(&[sent(0), sent(1)]), end(1, "exit", Some(3), (true, true))].concat();
        let history = read(&text).expect("a journal");
        assert_eq!((history.runs.len(), history.hosts.len(), history.length), (1, 3, text.len() as u64));
        let standings: Vec<Standing> = (0..3).map(|index| history.standing(index)).collect();
        let ending = Ending {
            class: Class::Exit,
            may_still_run: true,
            was_sent: true,
            is_unreached: false,
            is_success: false,
            started: None,
            connected: None,
        };
        assert_eq!(standings, [Standing::Lost, Standing::Ended(ending), Standing::NotStarted]);
        // The run that continues it sends the command to one of them again, and does not learn how it ends.
        let more = [text, lines(&[Record::Run(run("b", Some("a"), 3)), sent(1)])].concat();
        let history = read(&more).expect("a journal");
        assert_eq!((history.runs.len(), history.standing(1)), (2, Standing::Lost));
        assert_eq!(history.states[&0].run, 0);
        // Another run begins anew.
        let more = [more, lines(&[Record::Run(run("c", None, 1)), host(0)])].concat();
        let history = read(&more).expect("a journal");
        assert_eq!((history.runs.len(), history.hosts.len(), history.standing(0)), (1, 1, Standing::NotStarted));
        let mut records = Vec::new();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&more).expect("written");
        history.replay(&file, |run, record| records.push((run, record))).expect("read again");
        assert_eq!(records.len(), 2, "those of the last run");
    }

    #[test]
    fn a_line_that_was_not_written_to_its_end_is_left_out() {
        let (whole, last) = ([started(), lines(&[sent(0)])].concat(), lines(&[sent(1)]));
        for cut in 0..last.len() {
            let history = read(&[&whole[..], &last[..cut]].concat()).expect("a journal");
            let torn = (cut > 0).then_some(Torn { line: 6, bytes: cut as u64 });
            assert_eq!((history.torn, history.length), (torn, whole.len() as u64), "cut at {cut}");
            assert_eq!(history.standing(1), Standing::NotStarted);
        }
        // The first record, too.
        for cut in 0..50 {
            let history = read(&whole[..cut]).expect("the beginning of a journal");
            assert_eq!((history.runs.len(), history.length), (0, 0));
        }
        // Room that a power failure left without its data, and what was written behind it.
        let zeros = [&whole[..], &[0; 700], b"\n", &last].concat();
        let history = read(&zeros).expect("a journal");
        assert_eq!(history.torn, Some(Torn { line: 6, bytes: (zeros.len() - whole.len()) as u64 }));
        assert_eq!(read(&[0; 100]).expect("nothing was written").torn, Some(Torn { line: 1, bytes: 100 }));
    }

    #[test]
    fn any_other_bad_line_is_an_error_with_its_number() {
        let text = String::from_utf8([started(), lines(&[sent(0), sent(1)])].concat()).expect("text");
        let problem = |text: &str| read(text.as_bytes()).expect_err(text);
        let line = text.lines().nth(4).expect("a line");
        assert_eq!(problem(&text.replace(line, "garbage")), "J:5: not a record of a journal");
        assert_eq!(problem(&text.replace(line, "")), "J:5: not a record of a journal");
        let index = text.replacen("\"index\":0,\"host\"", "\"index\":3,\"host\"", 1);
        assert_eq!(problem(&index), "J:5: the list has 3 hosts, so there is no index 3");
        let time = text.replacen("\"sent\",\"time\":\"2026", "\"sent\",\"time\":\"26", 1);
        assert_eq!(problem(&time), "J:5: the field \"time\" of the record \"sent\" is missing or wrong");
        let long = format!("{text}{}\n{line}\n", "x".repeat(LONGEST_LINE as usize + 1));
        assert_eq!(problem(&long), "J:7: the line is longer than any record");
        let of = |run: Run| text.clone() + std::str::from_utf8(&lines(&[Record::Run(run)])).expect("text");
        assert_eq!(problem(&of(run("b", Some("x"), 3))), "J:7: the run continues another one than the run before it");
        let others = "J:7: the run has other hosts than the one that it continues";
        assert_eq!(problem(&of(run("b", Some("a"), 4))), others);
        let twice =
            [text.as_bytes(), &end(0, "ok", Some(0), (true, false)), &end(0, "ok", Some(0), (true, false))].concat();
        assert_eq!(
            read(&twice).expect_err("twice"),
            "J:8: the host with the index 0 has ended before, in the same run"
        );
        let newer = text.replacen("\"version\":1", "\"version\":9", 1);
        assert!(problem(&newer).starts_with("J:1: the journal is of version 9, "));
    }

    #[test]
    fn another_file_is_not_a_journal() {
        for text in [
            "web1\nweb2\n",
            "web1",
            "\n",
            "{}\n",
            "{\"event\":\"run_start\",\"version\":1}\n",
            "{\"event\":\"sent\"}",
            "x\0",
        ] {
            assert_eq!(read(text.as_bytes()).expect_err(text), "J: not a journal");
        }
        let sent_first = lines(&[sent(0)]);
        assert_eq!(read(&sent_first).expect_err("no run"), "J: not a journal");
        assert_eq!(read(b"{\"event\":\"run\",\"version\":1}\n").expect_err("fields"), "J: not a journal");
        assert!(read(b"").expect("empty").runs.is_empty());
    }
}
