//! `--json`: the run as JSON Lines on standard output, for programs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::events::batch::BatchNews;
use crate::events::check::CheckReport;
use crate::events::event::{Agreed, Class, Event, EventKind, Outcome, Progress, Stream};
use crate::events::host_error::without_port;
use crate::events::interruption::{Effect, Interruption, signal_name};
use crate::events::tally::Tally;
use crate::output::multiplexer::Report;
use crate::output::reports::timeline::Timeline;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::plan::program::Program;
use crate::plan::rolling::Order;
use crate::system::cancel::Reason;
use crate::system::clock::Clock;
use crate::text::json::Object;

/// Version of the format. It grows when a reader of an older version would misread the output.
pub const VERSION: u32 = 1;

/// Events as JSON, an object a line: `run_start`, then for each host `start` (if it was started), any number of `output` and
/// `progress` (if files are copied, at most one a second) and one `end`, mixed with those of other hosts, and at last `run_end`. `schema/pssh-events.schema.json` describes every
/// field.
///
/// The format only grows: fields and events may be added; none is removed or changes its meaning. Readers ignore what
/// they do not know. Every field of an event is always present, null if it has no value, except for `text` and
/// `base64`: exactly one of them is present.
///
/// Output of hosts is `text` where it is UTF-8, cut between characters, and `base64` otherwise. All `text` and decoded
/// `base64` of a stream in their order are exactly its bytes.
pub struct Json {
    order: Order,
    ends: Ends,
    /// The incomplete character at the end of each job's last output: stdout, stderr.
    begun: Vec<[Begun; 2]>,
    /// When each job last reported the progress of its copy.
    told: Vec<Option<Instant>>,
    jobs: Arc<[Job]>,
    has_begun: bool,
    /// Why the run was stopped.
    stopped: Option<String>,
}

/// Least time between two progress events of a host.
const PROGRESS: Duration = Duration::from_secs(1);

/// The beginning of a character in UTF-8: up to three bytes.
#[derive(Clone, Copy, Default)]
struct Begun {
    bytes: [u8; 3],
    length: u8,
}

impl Begun {
    fn take(&mut self) -> Begun {
        std::mem::take(self)
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Returns how many bytes at the end are an incomplete character.
fn begun_at_end(bytes: &[u8]) -> usize {
    let most = bytes.len().min(3);
    for length in 1..=most {
        let tail = &bytes[bytes.len() - length..];
        match std::str::from_utf8(tail) {
            // Its first byte announces more than there is.
            Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => return length,
            Ok(_) => return 0,
            Err(_) => {}
        }
    }
    0
}

impl Json {
    /// Creates a report on `jobs`, which start in this order, in a run that began with `clock`.
    pub fn new(jobs: &Arc<[Job]>, order: Order, clock: Clock) -> Json {
        Json {
            order,
            ends: Ends::new(jobs.len(), clock),
            begun: vec![Default::default(); jobs.len()],
            told: vec![None; jobs.len()],
            jobs: Arc::clone(jobs),
            has_begun: false,
            stopped: None,
        }
    }

    /// Writes `run_start`, once.
    fn begin(&mut self, output: &mut Output) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        Object::new(output.buffer(Stream::Stdout), "run_start")
            .number("version", VERSION)
            .text("pssh", env!("CARGO_PKG_VERSION"))
            .time("time", &self.ends.clock, Some(self.ends.clock.start))
            .number("hosts", self.jobs.len())
            .text("order", &self.order.to_string())
            .end();
    }

    fn start(&self, job: &Job, event: &Event, output: &mut Output) {
        host(Object::new(output.buffer(Stream::Stdout), "start").time("time", &self.ends.clock, Some(event.at)), job)
            .end();
    }

    fn output(&mut self, job: &Job, stream: Stream, at: Instant, bytes: &[u8], output: &mut Output) {
        let begun = self.begun[job.number][stream as usize].take();
        let joined = if begun.length > 0 { [begun.as_slice(), bytes].concat() } else { Vec::new() };
        let bytes = if begun.length > 0 { &joined } else { bytes };
        let (now, later) = bytes.split_at(bytes.len() - begun_at_end(bytes));
        let kept = &mut self.begun[job.number][stream as usize];
        kept.bytes[..later.len()].copy_from_slice(later);
        kept.length = later.len() as u8;
        if !now.is_empty() {
            self.piece(job, stream, at, now, output);
        }
    }

    fn piece(&self, job: &Job, stream: Stream, at: Instant, bytes: &[u8], output: &mut Output) {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let object = Object::new(output.buffer(Stream::Stdout), "output")
            .time("time", &self.ends.clock, Some(at))
            .number("index", job.index())
            .text("host", &job.spec.name)
            .text("label", &job.label)
            .text("stream", stream);
        match std::str::from_utf8(bytes) {
            Ok(text) => object.text("text", text),
            Err(_) => object.text("base64", &BASE64_STANDARD.encode(bytes)),
        }
        .end();
    }

    fn progress(&mut self, job: &Job, at: Instant, progress: Progress, output: &mut Output) {
        let told = &mut self.told[job.number];
        if told.is_some_and(|last| at.saturating_duration_since(last) < PROGRESS) {
            return;
        }
        *told = Some(at);
        Object::new(output.buffer(Stream::Stdout), "progress")
            .time("time", &self.ends.clock, Some(at))
            .number("index", job.index())
            .text("host", &job.spec.name)
            .text("label", &job.label)
            .number("done", progress.done)
            .number("total", progress.total)
            .end();
    }

    fn end(&mut self, job: &Job, event: &Event, outcome: &Outcome, attempts: u32, output: &mut Output) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = self.begun[job.number][stream as usize].take();
            if begun.length > 0 {
                self.piece(job, stream, event.at, begun.as_slice(), output);
            }
        }
        if self.stopped.is_none() {
            self.stopped = why_stopped(outcome);
        }
        let program = output.program;
        let object = Object::new(output.buffer(Stream::Stdout), "end");
        self.ends.write(object, job, event, (outcome, attempts), program).end();
    }
}

/// What is known of the hosts of a run when they end, for the event `end`: of this format and of the journal.
pub struct Ends {
    /// The clock of the run.
    pub clock: Clock,
    timelines: Vec<Timeline>,
    /// Requests that hosts refused, by the number of the job. Few have any.
    warnings: HashMap<usize, String>,
    /// The checks that are over, by the number of the job.
    checks: HashMap<usize, CheckReport>,
}

impl Ends {
    /// Nothing is known yet of `jobs` jobs, in a run that began with `clock`.
    pub fn new(jobs: usize, clock: Clock) -> Ends {
        Ends { clock, timelines: vec![Timeline::default(); jobs], warnings: HashMap::new(), checks: HashMap::new() }
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        self.timelines[event.job].event(event);
        match &event.kind {
            EventKind::Warning(notice) => {
                let all = self.warnings.entry(event.job).or_default();
                if !all.is_empty() {
                    all.push_str("; ");
                }
                all.push_str(&notice.to_string());
            }
            EventKind::Checked(check) => drop(self.checks.insert(event.job, (**check).clone())),
            _ => {}
        }
    }

    /// Adds all fields to `object`: `job` ended in `event`, with an outcome after some attempts.
    pub fn write<'o>(
        &mut self,
        object: Object<'o>,
        job: &Job,
        event: &Event,
        (outcome, attempts): (&Outcome, u32),
        program: Program,
    ) -> Object<'o> {
        let timeline = self.timelines[job.number];
        let address = timeline.attempt.and_then(|(milestones, _)| milestones.address);
        let agreed = timeline.attempt.and_then(|(milestones, _)| milestones.agreed);
        let both = |of: fn(&Agreed) -> [&'static str; 2]| agreed.as_ref().map(|agreed| Agreed::word(of(agreed)));
        let error = match outcome.unjudged() {
            Outcome::Failed(error) => Some(error.to_string()),
            Outcome::Recorded(recorded) => recorded.error.clone(),
            Outcome::Exited(_) | Outcome::Reached { .. } | Outcome::Signaled { .. } => None,
            outcome => Some(outcome.to_string()),
        };
        let phases = timeline.phases(self.clock.start);
        let hint = outcome.hint(program);
        let mut object = host(object.time("time", &self.clock, Some(event.at)), job)
            .maybe_text("address", address.as_ref().map(without_port).as_deref())
            .maybe_text("key_exchange", agreed.map(|agreed| agreed.key_exchange))
            .maybe_text("host_key_type", agreed.map(|agreed| agreed.host_key))
            .maybe_text("cipher", both(|agreed| agreed.ciphers).as_deref())
            .maybe_text("mac", both(|agreed| agreed.macs).as_deref())
            .maybe_text("compression", both(|agreed| agreed.compression).as_deref())
            .text("outcome", outcome.word())
            .flag("success", outcome.class() == Class::Ok)
            .maybe_number("exit_status", outcome.exit_status())
            .maybe_text("signal", outcome.signal())
            .maybe_text("phase", outcome.phase().map(|phase| phase.to_string()).as_deref())
            .number("attempts", attempts)
            .flag("may_still_run", matches!(outcome, Outcome::Unstopped(_)))
            .text("message", &outcome.to_string())
            .maybe_text("error", error.as_deref())
            .maybe_text("hint", hint.as_deref())
            .maybe_text("warning", self.warnings.remove(&job.number).as_deref());
        object = match self.checks.remove(&job.number) {
            None => object.maybe_text("check", None),
            Some(check) => (object.object("check"))
                .number("tries", check.tries)
                .flag("passed", check.is_passed)
                .maybe_number("exit_status", check.exit_status)
                .maybe_text("signal", check.signal.as_deref())
                .text("message", &check.message)
                .text("output", &check.output)
                .end_object(),
        };
        object = object
            .time("started", &self.clock, timeline.started)
            .time("connected", &self.clock, timeline.connected)
            .time("first_output", &self.clock, timeline.first_output)
            .time("ended", &self.clock, Some(event.at))
            .object("seconds");
        for (name, time) in phases.parts() {
            object = object.seconds(name, time);
        }
        object.seconds("total", phases.total).end_object()
    }
}

impl Report for Json {
    fn begin(&mut self, output: &mut Output) {
        Json::begin(self, output);
    }

    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        self.ends.event(event);
        match &event.kind {
            EventKind::Started => self.start(job, event, output),
            EventKind::Output { stream, bytes } => self.output(job, *stream, event.at, bytes, output),
            EventKind::Finished { outcome, attempts } => self.end(job, event, outcome, *attempts, output),
            EventKind::Copied(progress) => self.progress(job, event.at, *progress, output),
            EventKind::Checked(_)
            | EventKind::Batch(_)
            | EventKind::Attempted(_)
            | EventKind::Checking
            | EventKind::Paused { .. }
            | EventKind::Resumed
            | EventKind::Connected
            | EventKind::Note(_)
            | EventKind::Warning(_) => {}
        }
    }

    fn batch(&mut self, news: &BatchNews, tally: &Tally, output: &mut Output) {
        let (event, batch) = match news {
            BatchNews::Started { batch } => ("batch_start", batch),
            BatchNews::Ended { batch, .. } => ("batch_end", batch),
            BatchNews::Paused { next, .. } => ("batch_pause", next),
        };
        let mut object = Object::new(output.buffer(Stream::Stdout), event)
            .time("time", &self.ends.clock, Some(Instant::now()))
            .number("number", batch.number)
            .number("batches", batch.of)
            .number("hosts", batch.jobs.len());
        object = match news {
            BatchNews::Started { .. } => {
                object.numbers("indices", batch.jobs.iter().map(|job| self.jobs[*job].index()))
            }
            BatchNews::Ended { .. } => outcomes(object, tally),
            BatchNews::Paused { until, .. } => object.time("until", &self.ends.clock, Some(*until)),
        };
        object.end();
    }

    fn interrupted(&mut self, interruption: &Interruption, output: &mut Output) {
        let event = match interruption.effect {
            Effect::Stop => "stopping",
            Effect::Abandon { .. } => "abandoned",
        };
        self.stopped.get_or_insert_with(|| interruption.signal_name().to_owned());
        let mut object = Object::new(output.buffer(Stream::Stdout), event)
            .time("time", &self.ends.clock, Some(Instant::now()))
            .text("signal", interruption.signal_name())
            .number("hosts", interruption.hosts);
        if let Effect::Abandon { may_run } = &interruption.effect {
            object = object.array("may_still_run");
            for number in may_run {
                let job = &self.jobs[*number];
                let element = object.element().number("index", job.index());
                object = element.text("host", &job.spec.name).text("label", &job.label).end_object();
            }
            object = object.end_array();
        }
        object.end();
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        let now = Instant::now();
        let object = Object::new(output.buffer(Stream::Stdout), "run_end")
            .time("time", &self.ends.clock, Some(now))
            .number("hosts", tally.total())
            .seconds("seconds", Some(self.ends.clock.elapsed()));
        outcomes(object, tally).maybe_text("stopped", self.stopped.as_deref()).end();
    }
}

/// Returns why the run was stopped, if the outcome of a host says so.
fn why_stopped(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Cancelled { why: Some(Reason::Signal(signal)), .. } => Some(signal_name(*signal).to_owned()),
        Outcome::Cancelled { why, .. } => why.as_ref()?.words(),
        Outcome::Unstopped(outcome) => why_stopped(outcome),
        Outcome::Recorded(recorded) if recorded.class == Class::Cancelled => {
            Reason::words_in(&recorded.message).map(str::to_owned)
        }
        _ => None,
    }
}

/// Times in objects.
trait Times {
    /// Adds a moment, or null.
    fn time(self, name: &str, clock: &Clock, at: Option<Instant>) -> Self;
}

impl Times for Object<'_> {
    fn time(self, name: &str, clock: &Clock, at: Option<Instant>) -> Self {
        self.maybe_text(name, at.map(|at| clock.rfc3339(at)).as_deref())
    }
}

/// Adds how many hosts ended in which way.
fn outcomes<'a>(object: Object<'a>, tally: &Tally) -> Object<'a> {
    let object = object.object("outcomes");
    tally.iter().fold(object, |object, (class, count)| object.number(class.word(), count)).end_object()
}

/// The host of an event.
fn host<'a>(object: Object<'a>, job: &Job) -> Object<'a> {
    object
        .number("index", job.index())
        .text("host", &job.spec.name)
        .text("label", &job.label)
        .text("user", &job.user)
        .number("port", job.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::sanitize::is_harmful;

    #[test]
    fn only_the_beginning_of_a_character_waits() {
        for (bytes, expected) in [
            (&b""[..], 0),
            (b"abc", 0),
            (b"abc\xc3", 1),
            (b"abc\xc3\xa9", 0),
            (b"\xe6\x97", 2),
            (b"\xf0\x9f\x98", 3),
            (b"\xf0\x9f\x98\x80", 0),
            (b"x\xff", 0),
            (b"\x80", 0),
            (b"\xc3\xc3", 1),
            (b"\xe6\x80\x80\x80", 0),
            (b"\xed\xa0", 0),
        ] {
            assert_eq!(begun_at_end(bytes), expected, "{bytes:x?}");
        }
    }

    /// Returns what a stream of pieces becomes: its texts, with the bytes of `base64` as numbers.
    fn written(pieces: &[&[u8]]) -> Vec<String> {
        let jobs: Arc<[Job]> = crate::plan::job::of_list("a");
        let (mut json, mut output) =
            (Json::new(&jobs, Order::List, Clock::now()), Output::over(None, None, &crate::output::Style::default()));
        for piece in pieces {
            let kind = EventKind::Output { stream: Stream::Stdout, bytes: piece.to_vec() };
            json.event(&jobs[0], &Event::now(0, kind), &mut output);
        }
        let kind = EventKind::Finished { outcome: Outcome::Exited(0), attempts: 1 };
        json.event(&jobs[0], &Event::now(0, kind), &mut output);
        let text = String::from_utf8(std::mem::take(output.buffer(Stream::Stdout))).expect("JSON is UTF-8");
        assert!(!text.contains(|c| c != '\n' && is_harmful(c)), "harmless on a terminal: {text:?}");
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let outputs = lines.filter(|line| line["event"] == "output");
        let show = |line: serde_json::Value| match (line.get("text"), line.get("base64")) {
            (Some(text), None) => text.as_str().expect("a string").to_owned(),
            (None, Some(base64)) => {
                format!("{:?}", BASE64_STANDARD.decode(base64.as_str().expect("a string")).expect("base64"))
            }
            both => panic!("one of the two: {both:?}"),
        };
        outputs.map(show).collect()
    }

    #[test]
    fn a_character_that_is_cut_stays_text() {
        assert_eq!(written(&[b"caf\xc3", b"\xa9\n"]), ["caf", "\u{e9}\n"]);
        assert_eq!(written(&[b"\xf0", b"\x9f", b"\x98", b"\x80!"]), ["\u{1f600}!"]);
        let text = "\u{65e5}\u{672c}\u{1f600}\u{e9}x".as_bytes();
        for cut in 0..=text.len() {
            assert_eq!(written(&[&text[..cut], &text[cut..]]).concat().as_bytes(), text, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_text_is_base64_and_nothing_is_lost() {
        assert_eq!(written(&[b"a\xffb", b"c"]), ["[97, 255, 98]", "c"]);
        assert_eq!(written(&[b"a\xc3"]), ["a", "[195]"], "a character that never ends");
        assert_eq!(written(&[b"\xc3", b"x"]), ["[195, 120]"]);
        let harmful = "\u{7f}\u{9b}2J\u{202e}\u{e9}\u{61c}\u{e0041}\u{1f600}\n";
        assert_eq!(written(&[harmful.as_bytes()]), [harmful]);
        assert_eq!(written(&[b"\0\x1b\"\\\n"]), ["\0\u{1b}\"\\\n"]);
    }

    #[test]
    fn how_far_a_copy_is_is_told_once_a_second() {
        let jobs: Arc<[Job]> = crate::plan::job::of_list("a b");
        let (mut json, mut output) =
            (Json::new(&jobs, Order::List, Clock::now()), Output::over(None, None, &crate::output::Style::default()));
        let start = Instant::now();
        for (job, milliseconds, done) in
            [(0, 0, 1), (0, 999, 2), (1, 999, 3), (0, 1000, 4), (1, 1500, 5), (0, 1999, 6), (0, 5000, 7)]
        {
            let kind = EventKind::Copied(Progress { done, total: 1 << 60 });
            let event = Event { job, at: start + Duration::from_millis(milliseconds), kind };
            json.event(&jobs[job], &event, &mut output);
        }
        let text = String::from_utf8(std::mem::take(output.buffer(Stream::Stdout))).expect("JSON is UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        let mut masked = Vec::new();
        for line in lines {
            let (start, rest) = line.split_once("\"time\":\"").expect("a time");
            masked.push(format!("{start}{}", &rest[rest.find("\"index\"").expect("an index")..]));
        }
        let line = |index: usize, done: usize| {
            let host = ["a", "b"][index];
            format!(
                "{{\"event\":\"progress\",\"index\":{index},\"host\":\"{host}\",\"label\":\"{host}\",\
                 \"done\":{done},\"total\":1152921504606846976}}"
            )
        };
        assert_eq!(masked, [line(0, 1), line(1, 3), line(0, 4), line(0, 7)]);
    }
}
