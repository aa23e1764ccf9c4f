//! Standard output and standard error as one writer: buffered, in order, and able to tell a reader that has gone away.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, fstat};

use super::formats::ci_log::{CiLog, LogState};
use super::style::Style;
use crate::events::event::Stream;
use crate::plan::program::Program;
use crate::system::sink::Sink;
use crate::system::status_line;

/// Bytes to buffer before writing while more is coming: a pipe's capacity on Linux.
const FULL: usize = 64 * 1024;
/// More lines and bytes than any screen has: counting stops there.
const MANY_LINES: usize = 1000;
const MANY_BYTES: usize = 1 << 20;

/// How long a program that reads our output may take to show it.
const ECHO: Duration = Duration::from_secs(1);

/// The state of broken standard output.
#[derive(Debug)]
pub enum Broken {
    /// Its reader has gone.
    Closed,
    /// It cannot be written, for example because the disk is full.
    Failed(io::Error),
}

/// Standard output and standard error.
///
/// Only one of the two buffers holds something at a time, so that on a terminal, or in a file that takes both, everything
/// appears in the order in which it was written.
///
/// On a terminal, the status line is erased before anything else is written, and redrawn afterwards.
pub struct Output {
    /// The program whose name pssh's own lines begin with.
    pub(super) program: Program,
    stdout: Target,
    stderr: Target,
    /// The status line, if it is enabled.
    status: Option<String>,
    /// Whether the terminal's text ends in a newline, so that a status line covers nothing.
    at_line_start: bool,
    faults: Vec<String>,
    differ: bool,
    /// Both streams in the order in which they are written: they may lead to the same log.
    both: LogState,
}

struct Target {
    /// Whether a status line is shown.
    has_status: bool,
    /// Whether it is a pipe whose reader may show what it reads on the terminal of the status line (`| tee log`).
    is_echoed: bool,
    /// When something was last written to it, if it is.
    echoed: Option<Instant>,
    sink: Option<Sink>,
    buffer: Vec<u8>,
    broken: Option<Broken>,
    /// The log of the CI system, if there is one.
    log: CiLog,
    state: LogState,
    is_terminal: bool,
    /// Lines and bytes written, counted as far as [`Output::fills_screen`] needs.
    lines: usize,
    bytes: usize,
}

impl Output {
    /// Opens the program's own standard output and error. A closed one discards everything.
    pub fn standard(style: &Style) -> Output {
        let file = |fd: io::Result<std::os::fd::OwnedFd>| fd.ok().map(File::from);
        let stdout = file(io::stdout().as_fd().try_clone_to_owned());
        Output::over(stdout, file(io::stderr().as_fd().try_clone_to_owned()), style)
    }

    /// Uses any two files as standard output and error.
    pub(super) fn over(stdout: Option<File>, stderr: Option<File>, style: &Style) -> Output {
        let target = |file: Option<File>, has_status, log, stream| {
            let sink = file.map(Sink::new);
            let (buffer, state) = (Vec::with_capacity(FULL + FULL / 2), LogState::default());
            let is_terminal = style.of(stream).is_terminal;
            let (lines, bytes, echoed) = (0, 0, None);
            let is_echoed = has_status && stream == Stream::Stdout && !is_terminal;
            Target { has_status, is_echoed, echoed, sink, buffer, broken: None, log, state, is_terminal, lines, bytes }
        };
        // The status line is on standard error, whatever that is; standard output matters to it as the same terminal, or as a pipe to
        // a program that may write there.
        let has_status = style.has_progress;
        let is_near = style.of(Stream::Stdout).is_terminal
            || style.of(Stream::Stderr).is_terminal && stdout.as_ref().is_some_and(is_pipe);
        Output {
            program: style.program,
            stdout: target(stdout, has_status && is_near, style.log, Stream::Stdout),
            stderr: target(stderr, has_status, style.log.of_text(), Stream::Stderr),
            status: None,
            at_line_start: true,
            faults: Vec::new(),
            differ: false,
            both: LogState::default(),
        }
    }

    /// Returns the log of the CI system that standard error or output goes to.
    pub(super) fn log(&self) -> CiLog {
        self.stderr.log
    }

    /// Writes a command for the CI system to standard output. All other text is escaped.
    pub(super) fn command(&mut self, command: &[u8]) {
        self.buffer(Stream::Stdout);
        self.stdout.flush(&mut self.at_line_start, &mut self.both);
        self.stdout.write(command);
        (self.stdout.state, self.both) = (LogState::after(command), LogState::after(command));
    }

    /// Returns the buffer of `stream`, to append to; writes the other one first.
    pub fn buffer(&mut self, stream: Stream) -> &mut Vec<u8> {
        let (target, other) = match stream {
            Stream::Stdout => (&mut self.stdout, &mut self.stderr),
            Stream::Stderr => (&mut self.stderr, &mut self.stdout),
        };
        other.flush(&mut self.at_line_start, &mut self.both);
        if target.buffer.len() >= FULL {
            target.flush(&mut self.at_line_start, &mut self.both);
        }
        &mut target.buffer
    }

    /// Whether the output exceeds a screen: that of the terminal, or one of the default size. Output that does not go to the
    /// terminal does not count if there is one.
    pub fn fills_screen(&mut self) -> bool {
        self.write();
        let (columns, rows) = status_line::screen();
        let has_terminal = self.stderr.is_terminal;
        let shown = [&self.stdout, &self.stderr].into_iter().filter(|target| target.is_terminal || !has_terminal);
        shown.map(|target| target.lines.max(target.bytes / columns)).sum::<usize>() >= rows
    }

    /// Writes a line at once, on a new line of the terminal even after an echoed ^C.
    pub(super) fn announce(&mut self, line: &str) {
        self.write();
        let start = match (self.stderr.is_terminal, self.at_line_start) {
            (true, true) => "\r",
            (true, false) => "\n",
            (false, _) => "",
        };
        self.stderr.buffer.extend_from_slice(start.as_bytes());
        self.stderr.buffer.extend_from_slice(line.as_bytes());
        self.flush();
    }

    /// Records a local failure, which the program reports at its end with its exit status.
    pub fn fault(&mut self, problem: String) {
        self.faults.push(problem);
    }

    /// Records that hosts differ that should be the same.
    pub fn differ(&mut self) {
        self.differ = true;
    }

    /// Returns the local failures, and whether hosts differ that should be the same.
    pub fn verdict(&mut self) -> (Vec<String>, bool) {
        (std::mem::take(&mut self.faults), self.differ)
    }

    /// Writes all buffered text, and the status line below it.
    pub fn flush(&mut self) {
        self.write();
        if self.may_show()
            && !status_line::is_shown()
            && let Some(status) = &self.status
        {
            status_line::show(status);
        }
    }

    /// Whether there is room for a status line. A program that reads our output may not have shown all of it yet.
    fn may_show(&self) -> bool {
        self.at_line_start && self.stdout.echoed.is_none_or(|at| at.elapsed() >= ECHO)
    }

    /// Replaces the status line; `None` removes it.
    pub fn set_status(&mut self, status: Option<String>) {
        self.write();
        match &status {
            None => status_line::clear(),
            Some(text) if self.may_show() && (self.status != status || !status_line::is_shown()) => {
                status_line::show(text);
            }
            Some(_) => {}
        }
        self.status = status;
    }

    fn write(&mut self) {
        self.stdout.flush(&mut self.at_line_start, &mut self.both);
        self.stderr.flush(&mut self.at_line_start, &mut self.both);
    }

    /// Discards all further output, since the reader has gone.
    pub fn close(&mut self) {
        self.stdout.sink = None;
        self.stderr.sink = None;
    }

    /// Gives up standard output because its content is lost.
    pub fn fail(&mut self, error: io::Error) {
        self.stdout.sink = None;
        self.stdout.broken.get_or_insert(Broken::Failed(error));
    }

    /// Returns why standard output is broken, once.
    pub fn take_broken(&mut self) -> Option<Broken> {
        self.stdout.broken.take()
    }
}

impl Target {
    /// Writes the buffer. After a failed write, discards all further output.
    fn flush(&mut self, at_line_start: &mut bool, both: &mut LogState) {
        if self.buffer.is_empty() {
            return;
        }
        if self.has_status {
            status_line::clear();
        }
        if self.is_echoed {
            self.echoed = Some(Instant::now());
        }
        if self.has_status || self.is_terminal {
            *at_line_start = self.buffer.ends_with(b"\n");
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        if self.lines < MANY_LINES && self.bytes < MANY_BYTES {
            self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
            self.bytes += bytes.len();
        }
        if self.log.is_there() {
            let mut harmless = Vec::with_capacity(bytes.len() + bytes.len() / 16);
            self.log.append(&bytes, &mut [&mut self.state, both], &mut harmless);
            self.write(&harmless);
        } else {
            self.write(&bytes);
        }
        bytes.clear();
        self.buffer = bytes;
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.write_all(bytes)
        {
            self.sink = None;
            self.broken = Some(match error.kind() {
                io::ErrorKind::BrokenPipe => Broken::Closed,
                _ => Broken::Failed(error),
            });
        }
    }
}

/// Whether a file is a pipe or a socket, so that another program reads it.
fn is_pipe(file: &File) -> bool {
    fstat(file).is_ok_and(|about| matches!(FileType::from_raw_mode(about.st_mode), FileType::Fifo | FileType::Socket))
}
