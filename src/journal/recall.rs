//! Turns records back into the events that they are from, so that every report shows them as if they happened now.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Mutex;
use std::time::Duration;

use super::history::History;
use super::record::{End, Fields, Output, Record, Sent};
use crate::events::check::CheckReport;
use crate::events::event::{Agreed, Class, Event, EventKind, Milestones, Notice, Outcome, Phase};
use crate::events::host_error::HostError;
use crate::events::recorded::Recorded;
use crate::events::remedy::Remedy;
use crate::system::clock::Clock;
use crate::system::lock::lock;

/// Most names of algorithms that are kept: there are not nearly as many.
const NAMES: usize = 1000;

/// Passes on what a journal has about some hosts: of each, what happened in the last run that had to do with it. `job` gives the
/// number of a host's job by the host's index, or nothing for a host that is left out.
///
/// # Errors
/// The file cannot be read again.
pub fn recall(
    (file, history): (&File, &History),
    clock: &Clock,
    job: impl Fn(usize) -> Option<usize>,
    mut emit: impl FnMut(Event),
) -> io::Result<()> {
    let mut begun = HashSet::new();
    let mut lost: Vec<(usize, Sent)> = Vec::new();
    let mut send = |job, at: Duration, kind| emit(Event { job, at: clock.instant(at), kind });
    history.replay(file, |run, record| {
        // The records of an earlier attempt at a host say nothing any more.
        let counted = |index: usize| {
            let state = history.states.get(&index).filter(|state| state.run == run)?;
            Some((job(index)?, state.end))
        };
        match record {
            Record::Sent(sent) => {
                let Some((job, end)) = counted(sent.index) else { return };
                if begun.insert(sent.index) {
                    let started = end.and_then(|end| end.started);
                    send(job, started.unwrap_or(sent.time), EventKind::Started);
                    // Before its output: its files begin anew.
                    let connected = end.and_then(|end| end.connected);
                    send(job, connected.unwrap_or(sent.time), EventKind::Connected);
                }
                if end.is_none() {
                    lost.push((job, sent));
                }
            }
            Record::Output(Output { index, time, stream, bytes }) => {
                if let Some((job, _)) = counted(index).filter(|_| !bytes.is_empty()) {
                    send(job, time, EventKind::Output { stream, bytes });
                }
            }
            Record::End(end) => {
                let Some((job, _)) = counted(end.index) else { return };
                if let Some(started) = end.ending.started.filter(|_| begun.insert(end.index)) {
                    send(job, started, EventKind::Started);
                    end.ending.connected.into_iter().for_each(|at| send(job, at, EventKind::Connected));
                }
                events_of(&end, clock).into_iter().for_each(|(at, kind)| send(job, at, kind));
            }
            Record::Run(_) | Record::Host(_) | Record::Unknown => {}
        }
    })?;
    for (job, sent) in lost {
        let began =
            history.states.get(&sent.index).and_then(|state| history.runs.get(state.run)).map(|run| run.began());
        let detail = format!("sent by the run of {}, no end known", began.unwrap_or_default());
        let outcome = HostError::Lost { detail, hint: Some(Remedy::FindOutEnd) }.into();
        send(job, sent.time, EventKind::Finished { outcome, attempts: sent.attempt });
    }
    Ok(())
}

/// Returns the last events of a host, with their times since 1970.
fn events_of(end: &End, clock: &Clock) -> Vec<(Duration, EventKind)> {
    let fields = &end.fields;
    let mut events = Vec::new();
    if let Some((milestones, given_up)) = milestones(end, clock) {
        events.push((given_up, EventKind::Attempted(Box::new(milestones))));
    }
    let at = fields.maybe_time("time").unwrap_or_default();
    let warning = fields.maybe_text("warning").map(str::to_owned);
    events.extend(warning.map(|text| (at, EventKind::Warning(Notice::Missing(text)))));
    events.extend(check(fields).map(|check| (at, EventKind::Checked(Box::new(check)))));
    let attempts =
        fields.maybe_number("attempts").and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or_default();
    events.push((at, EventKind::Finished { outcome: outcome(end), attempts }));
    events
}

/// Returns how far the last attempt to connect came, and when it ended.
fn milestones(end: &End, clock: &Clock) -> Option<(Milestones, Duration)> {
    let fields = &end.fields;
    let begun = end.ending.started? + fields.seconds("retries")?;
    let reached = begun + fields.seconds("connect")?;
    // A part that was not reached has no time; the one before it counts up to the failure.
    let secured = fields.seconds("handshake").map(|time| reached + time);
    let logged_in = secured.and_then(|secured| Some(secured + fields.seconds("auth")?));
    let milestones = Milestones {
        begun: clock.instant(begun),
        address: fields.maybe_text("address").and_then(address),
        reached: secured.map(|_| clock.instant(reached)),
        agreed: agreed(fields),
        secured: secured.filter(|_| logged_in.is_some()).map(|at| clock.instant(at)),
    };
    Some((milestones, logged_in.or(secured).unwrap_or(reached)))
}

/// Reads an address without its port, such as `fe80::1%2`.
fn address(text: &str) -> Option<SocketAddr> {
    match text.split_once('%') {
        Some((ip, zone)) => Some(SocketAddrV6::new(ip.parse().ok()?, 0, 0, zone.parse().ok()?).into()),
        None => text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0)),
    }
}

/// Returns the algorithms that were agreed on.
fn agreed(fields: &Fields) -> Option<Agreed> {
    let name = |field: &str| fields.maybe_text(field).map(interned);
    let both = |field: &str| {
        let text = fields.maybe_text(field)?;
        let (to, from) = text.split_once(',').unwrap_or((text, text));
        Some([interned(to), interned(from)])
    };
    Some(Agreed {
        key_exchange: name("key_exchange")?,
        host_key: name("host_key_type")?,
        ciphers: both("cipher")?,
        macs: both("mac")?,
        compression: both("compression")?,
    })
}

/// Returns a name that lives as long as the program, like those that the program itself has. There are few.
fn interned(name: &str) -> &'static str {
    static NAMED: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut names = lock(&NAMED);
    let names = names.get_or_insert_default();
    match names.get(name) {
        Some(name) => name,
        None if names.len() >= NAMES => "",
        None => {
            let name: &'static str = Box::leak(name.into());
            names.insert(name);
            name
        }
    }
}

/// Returns the phase with this word.
fn phase(word: &str) -> Option<Phase> {
    let phases = [Phase::Connect, Phase::Auth, Phase::Command, Phase::Silence, Phase::Transfer];
    phases.into_iter().find(|phase| phase.to_string() == word)
}

/// Returns how a host ended.
fn outcome(end: &End) -> Outcome {
    let fields = &end.fields;
    let text = |name: &str| fields.maybe_text(name).map(str::to_owned);
    let status = fields.maybe_number("exit_status").and_then(|status| u32::try_from(status).ok());
    let outcome = match (end.ending.class, status, fields.maybe_text("signal")) {
        (Class::Ok, Some(0), _) => Outcome::Exited(0),
        (Class::Exit, Some(status), _) => Outcome::Exited(status),
        (Class::Signal, _, Some(name)) => Outcome::Signaled { name: name.to_owned() },
        (class, ..) => {
            let message = text("message").unwrap_or_default();
            Outcome::Recorded(Box::new(Recorded {
                class,
                brief: text("brief").unwrap_or_else(|| message.clone()),
                message,
                error: text("error"),
                // The hint of a command that may still run comes from that.
                hint: text("hint").filter(|_| !end.ending.may_still_run),
                exit_status: status,
                signal: text("signal"),
                phase: fields.maybe_text("phase").and_then(phase),
                is_unreached: end.ending.is_unreached,
            }))
        }
    };
    let outcome = if end.ending.may_still_run { Outcome::Unstopped(Box::new(outcome)) } else { outcome };
    // The user's list of successes judged it otherwise than usual.
    if (outcome.class() == Class::Ok) == end.ending.is_success {
        return outcome;
    }
    Outcome::Judged { is_success: end.ending.is_success, outcome: Box::new(outcome) }
}

/// Returns how the check after the command went, if there was one.
fn check(fields: &Fields) -> Option<CheckReport> {
    let check = fields.object("check")?;
    let text = |name: &str| check.maybe_text(name).map(str::to_owned);
    let number = |name: &str| check.maybe_number(name).and_then(|number| u32::try_from(number).ok());
    let message = text("message").unwrap_or_default();
    Some(CheckReport {
        tries: number("tries").unwrap_or_default(),
        is_passed: check.is("passed"),
        exit_status: number("exit_status"),
        signal: text("signal"),
        brief: message.clone(),
        message,
        output: text("output").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::super::record::testing::{end, host, lines, run, sent};
    use super::*;
    use crate::events::event::Stream;

    /// The events of the hosts, one line each.
    fn recalled(text: &[u8]) -> Vec<String> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text).expect("written");
        let history = History::read(&file, Path::new("J")).expect("a journal");
        let (clock, mut told) = (Clock::now(), Vec::new());
        let job = |index| (index != 9).then_some(index + 10);
        recall((&file, &history), &clock, job, |event| {
            let what = match event.kind {
                EventKind::Started => "started".to_owned(),
                EventKind::Connected => "connected".to_owned(),
                EventKind::Attempted(_) => "attempted".to_owned(),
                EventKind::Output { stream, bytes } => format!("{stream:?} {bytes:?}"),
                EventKind::Finished { outcome, attempts } => format!("{attempts}: {outcome}"),
                other => format!("{other:?}"),
            };
            told.push(format!("{} {} {what}", event.job, &clock.rfc3339(event.at)[14..19]));
        })
        .expect("read again");
        told
    }

    fn output(index: usize, bytes: &[u8]) -> Record {
        let time = Duration::from_secs(1_795_452_001);
        Record::Output(Output { index, time, stream: Stream::Stderr, bytes: bytes.to_vec() })
    }

    #[test]
    fn the_last_run_that_had_to_do_with_a_host_counts() {
        let first = [
            lines(&[
                Record::Run(run("a", None, 10)),
                host(0),
                host(1),
                sent(0),
                output(0, b"x"),
                sent(1),
                sent(2),
                sent(9),
            ]),
            end(0, "exit", Some(3), (true, false)),
            end(1, "lost", None, (true, false)),
            end(3, "connect", None, (false, false)),
        ]
        .concat();
        let all = [
            "10 40:00 started",
            "10 40:00 connected",
            "10 40:01 Stderr [120]",
            "11 40:00 started",
            "11 40:00 connected",
            "12 40:00 started",
            "12 40:00 connected",
            "10 40:02 1: exit 3",
            "11 40:02 1: lost of web1",
            "13 40:02 1: connect of web3",
            "12 40:00 1: lost: sent by the run of 2026-11-23T16:39:59Z, no end known",
        ];
        assert_eq!(recalled(&first), all);
        let again = lines(&[Record::Run(run("b", Some("a"), 10)), sent(0), output(0, b"y")]);
        let both = [first, again, end(0, "ok", Some(0), (true, false))].concat();
        let of_first = |told: &&String| told.starts_with("10 ");
        let told = recalled(&both);
        assert_eq!(
            told.iter().filter(of_first).collect::<Vec<_>>(),
            ["10 40:00 started", "10 40:00 connected", "10 40:01 Stderr [121]", "10 40:02 1: ok (exit 0)"]
        );
        assert_eq!(told.len(), all.len());
    }

    fn parsed(change: impl Fn(String) -> String, class: &str, may_still_run: bool) -> End {
        let line = end(0, class, None, (true, may_still_run));
        let line = change(String::from_utf8(line).expect("text"));
        match Record::parse(line.as_bytes()) {
            Ok(Record::End(end)) => *end,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_outcome_keeps_its_class_and_its_words() {
        for class in Class::ALL {
            for may_still_run in [false, true] {
                let again = outcome(&parsed(|line| line, class.word(), may_still_run));
                assert_eq!((again.class(), again.to_string()), (class, format!("{} of web0", class.word())));
                assert_eq!(matches!(again, Outcome::Unstopped(_)), may_still_run);
            }
        }
        let timeout =
            outcome(&parsed(|line| line.replace("\"sent\"", "\"phase\":\"silence\",\"sent\""), "timeout", true));
        assert_eq!(timeout.phase(), Some(Phase::Silence));
    }

    #[test]
    fn times_and_algorithms_come_back() {
        let fields = r#""started":"2026-11-23T16:40:00.000000Z","connected":"2026-11-23T16:40:01.500000Z","address":"fe80::1%3",
            "key_exchange":"kex","host_key_type":"key","cipher":"a,b","mac":"m","compression":"none","warning":"no pty",
            "seconds":{"retries":0.25,"connect":0.5,"handshake":0.25,"auth":0.5},"sent""#;
        let clock = Clock::now();
        let end = parsed(|line| line.replace("\"sent\"", &fields.replace('\n', "")), "ok", false);
        let (milestones, given_up) = milestones(&end, &clock).expect("an attempt");
        let second = |at: Option<std::time::Instant>| at.map(|at| clock.rfc3339(at)[17..23].to_owned());
        assert_eq!(second(Some(milestones.begun)).as_deref(), Some("00.250"));
        assert_eq!(second(milestones.reached).as_deref(), Some("00.750"));
        assert_eq!(second(milestones.secured).as_deref(), Some("01.000"));
        assert_eq!(second(Some(clock.instant(given_up))).as_deref(), Some("01.500"));
        assert_eq!(
            milestones.address.map(|address| crate::events::host_error::without_port(&address)).as_deref(),
            Some("fe80::1%3")
        );
        let agreed = milestones.agreed.expect("algorithms");
        assert_eq!((Agreed::word(agreed.ciphers), Agreed::word(agreed.macs)), ("a,b".into(), "m".into()));
        let kinds = events_of(&end, &clock);
        assert_eq!(kinds.len(), 3, "{kinds:?}");
        // It was refused while connecting.
        let refused = fields.replace(",\"handshake\":0.25,\"auth\":0.5", ",\"handshake\":null,\"auth\":null");
        let end = parsed(|line| line.replace("\"sent\"", &refused.replace('\n', "")), "connect", false);
        let (milestones, given_up) = super::milestones(&end, &clock).expect("an attempt");
        assert_eq!((milestones.reached, milestones.secured), (None, None));
        assert_eq!(second(Some(clock.instant(given_up))).as_deref(), Some("00.750"));
    }
}
