//! The records of a journal: JSON Lines, like the events of `--json`. `schema/pssh-journal.schema.json` describes every field.
//!
//! The format only grows: records and fields may be added; none is removed or changes its meaning. Readers ignore what they do not
//! know. The version grows when a reader of an older one would be wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value};

use super::fingerprint::Fingerprint;
use crate::events::event::{Class, Stream};
use crate::system::clock::{parse_rfc3339, rfc3339};
use crate::text::json::Object;

/// Version of the format.
pub const VERSION: u64 = 1;
/// How every journal begins.
pub const BEGINNING: &[u8] = b"{\"event\":\"run\",\"version\":";

/// Returns the time since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its random number.
    pub id: String,
    /// The run that it continues.
    pub parent: Option<String>,
    /// When it began, since 1970.
    pub time: Duration,
    /// Its process.
    pub pid: u64,
    /// The local user.
    pub user: String,
    /// What it is about.
    pub of: Fingerprint,
    /// Whether the journal has what hosts print.
    pub has_output: bool,
}

/// A host of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its place in the whole list, from 0.
    pub index: usize,
    /// The host as the user wrote it, without its options: `[user@]host[:port]`.
    pub entry: String,
    /// The alias that the user gave it, if any.
    pub alias: Option<String>,
    /// Its label.
    pub label: String,
    /// The login name.
    pub user: String,
    /// The port.
    pub port: u16,
}

/// A host's command is about to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The host's place in the whole list, from 0.
    pub index: usize,
    /// When, since 1970.
    pub time: Duration,
    /// The host's name.
    pub host: String,
    /// The login name.
    pub user: String,
    /// The port.
    pub port: u16,
    /// Which attempt it is, from 1.
    pub attempt: u32,
}

/// What a host has printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The host's place in the whole list, from 0.
    pub index: usize,
    /// When, since 1970.
    pub time: Duration,
    /// The stream.
    pub stream: Stream,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// How a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The class of its outcome.
    pub class: Class,
    /// Whether its command may still run.
    pub may_still_run: bool,
    /// Whether its command may have been sent.
    pub was_sent: bool,
    /// Whether it was not reached.
    pub is_unreached: bool,
    /// Whether its end counts as a success.
    pub is_success: bool,
    /// When a worker took it, since 1970.
    pub started: Option<Duration>,
    /// When it was logged in to, since 1970.
    pub connected: Option<Duration>,
}

/// A host has ended: what decides whether it runs again, and all fields.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// The host's place in the whole list, from 0.
    pub index: usize,
    /// How it ended.
    pub ending: Ending,
    /// All fields.
    pub fields: Fields,
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// See [`Run`].
    Run(Run),
    /// See [`Host`].
    Host(Host),
    /// See [`Sent`].
    Sent(Sent),
    /// See [`Output`].
    Output(Output),
    /// See [`End`].
    End(Box<End>),
    /// Of a later version.
    Unknown,
}

/// Why a line is not a record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// It is not an object with an event.
    #[error("not a record of a journal")]
    Shape,
    /// A field is missing, or its value is of another kind.
    #[error("the field {0:?} of the record {1:?} is missing or wrong")]
    Field(&'static str, String),
    /// A later version.
    #[error("the journal is of version {0}, and this program knows versions up to {VERSION}: use a newer one")]
    Version(u64),
}

/// The fields of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields(Map<String, Value>);

impl Fields {
    fn event(&self) -> Option<&str> {
        self.0.get("event").and_then(Value::as_str)
    }

    /// Returns a text, if there is one.
    pub fn maybe_text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Returns a number, if there is one.
    pub fn maybe_number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// Returns a time since 1970, if there is one.
    pub fn maybe_time(&self, name: &str) -> Option<Duration> {
        self.maybe_text(name).and_then(parse_rfc3339)
    }

    /// Returns a number of seconds among those of `seconds`, if there is one.
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        let seconds = self.0.get("seconds")?.as_object()?.get(name)?.as_f64()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Returns the fields of an object, if there is one.
    pub fn object(&self, name: &str) -> Option<Fields> {
        self.0.get(name).and_then(Value::as_object).cloned().map(Fields)
    }

    /// Whether it is true.
    pub fn is(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn of<T>(&self, name: &'static str, value: Option<T>) -> Result<T, BadRecord> {
        value.ok_or_else(|| BadRecord::Field(name, self.event().unwrap_or_default().to_owned()))
    }

    fn text(&self, name: &'static str) -> Result<String, BadRecord> {
        self.of(name, self.maybe_text(name).map(str::to_owned))
    }

    fn number<T: TryFrom<u64>>(&self, name: &'static str) -> Result<T, BadRecord> {
        self.of(name, self.maybe_number(name).and_then(|number| T::try_from(number).ok()))
    }

    fn time(&self, name: &'static str) -> Result<Duration, BadRecord> {
        self.of(name, self.maybe_time(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, BadRecord> {
        self.of(name, self.0.get(name).and_then(Value::as_bool))
    }
}

impl Record {
    /// Reads a line.
    ///
    /// # Errors
    /// It is not a record.
    pub fn parse(line: &[u8]) -> Result<Record, BadRecord> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { return Err(BadRecord::Shape) };
        let fields = Fields(fields);
        Ok(match fields.event() {
            Some("run") => Record::Run(Run::read(&fields)?),
            Some("host") => Record::Host(Host {
                index: fields.number("index")?,
                entry: fields.text("entry")?,
                alias: fields.maybe_text("alias").map(str::to_owned),
                label: fields.text("label")?,
                user: fields.text("user")?,
                port: fields.number("port")?,
            }),
            Some("sent") => Record::Sent(Sent {
                index: fields.number("index")?,
                time: fields.time("time")?,
                host: fields.text("host")?,
                user: fields.text("user")?,
                port: fields.number("port")?,
                attempt: fields.number("attempt")?,
            }),
            Some("output") => Record::Output(Output::read(&fields)?),
            Some("end") => {
                let class = fields.maybe_text("outcome").and_then(Class::of_word);
                fields.text("message")?;
                fields.time("time")?;
                fields.number::<u32>("attempts")?;
                Record::End(Box::new(End {
                    index: fields.number("index")?,
                    ending: Ending {
                        class: fields.of("outcome", class)?,
                        may_still_run: fields.flag("may_still_run")?,
                        was_sent: fields.flag("sent")?,
                        is_unreached: fields.flag("unreached")?,
                        is_success: fields.flag("success")?,
                        started: fields.maybe_time("started"),
                        connected: fields.maybe_time("connected"),
                    },
                    fields,
                }))
            }
            Some(_) => Record::Unknown,
            None => return Err(BadRecord::Shape),
        })
    }
}

impl Run {
    fn read(fields: &Fields) -> Result<Run, BadRecord> {
        let version = fields.number("version")?;
        if version > VERSION {
            return Err(BadRecord::Version(version));
        }
        Ok(Run {
            id: fields.text("id")?,
            parent: fields.maybe_text("parent").map(str::to_owned),
            time: fields.time("time")?,
            pid: fields.number("pid")?,
            user: fields.text("user")?,
            of: Fingerprint {
                program: fields.text("program")?,
                hosts: fields.number("hosts")?,
                list: fields.text("list")?,
                shard: fields.maybe_text("shard").map(str::to_owned),
                command: fields.text("command")?,
                arguments: fields.maybe_text("arguments").map(str::to_owned),
            },
            has_output: fields.flag("output")?,
        })
    }

    /// Returns when it began, for messages: `2026-11-23T16:20:46Z`.
    pub fn began(&self) -> String {
        rfc3339(Duration::from_secs(self.time.as_secs())).replace(".000000", "")
    }

    /// Appends its line.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        let Fingerprint { program, hosts, list, shard, command, arguments } = &self.of;
        Object::new(buffer, "run")
            .number("version", VERSION)
            .text("id", &self.id)
            .maybe_text("parent", self.parent.as_deref())
            .text("time", &rfc3339(self.time))
            .text("program", program)
            .text("pssh", env!("CARGO_PKG_VERSION"))
            .number("pid", self.pid)
            .text("user", &self.user)
            .number("hosts", hosts)
            .maybe_text("shard", shard.as_deref())
            .text("list", list)
            .text("command", command)
            .maybe_text("arguments", arguments.as_deref())
            .flag("output", self.has_output)
            .end();
    }
}

impl Host {
    /// Appends its line.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        Object::new(buffer, "host")
            .number("index", self.index)
            .text("entry", &self.entry)
            .maybe_text("alias", self.alias.as_deref())
            .text("label", &self.label)
            .text("user", &self.user)
            .number("port", self.port)
            .end();
    }
}

impl Sent {
    /// Appends its line.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        Object::new(buffer, "sent")
            .text("time", &rfc3339(self.time))
            .number("index", self.index)
            .text("host", &self.host)
            .text("user", &self.user)
            .number("port", self.port)
            .number("attempt", self.attempt)
            .end();
    }
}

impl Output {
    fn read(fields: &Fields) -> Result<Output, BadRecord> {
        let stream = match fields.maybe_text("stream") {
            Some("stdout") => Some(Stream::Stdout),
            Some("stderr") => Some(Stream::Stderr),
            _ => None,
        };
        let bytes = match fields.maybe_text("base64") {
            Some(text) => fields.of("base64", BASE64_STANDARD.decode(text).ok())?,
            None => fields.text("text")?.into_bytes(),
        };
        let (index, time) = (fields.number("index")?, fields.time("time")?);
        Ok(Output { index, time, stream: fields.of("stream", stream)?, bytes })
    }

    /// Appends the line of what a host has printed at `time`.
    pub fn write(buffer: &mut Vec<u8>, time: &str, index: usize, stream: Stream, bytes: &[u8]) {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let object = Object::new(buffer, "output").text("time", time).number("index", index).text("stream", stream);
        match std::str::from_utf8(bytes) {
            Ok(text) => object.text("text", text),
            Err(_) => object.text("base64", &BASE64_STANDARD.encode(bytes)),
        }
        .end();
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A run of `hosts` hosts.
    pub fn run(id: &str, parent: Option<&str>, hosts: usize) -> Run {
        let of = Fingerprint {
            program: "pssh".to_owned(),
            hosts,
            list: "sha256:list".to_owned(),
            shard: None,
            command: "sha256:command".to_owned(),
            arguments: None,
        };
        let (id, parent) = (id.to_owned(), parent.map(str::to_owned));
        Run {
            id,
            parent,
            time: Duration::from_secs(1_795_451_999),
            pid: 7,
            user: "me".to_owned(),
            of,
            has_output: true,
        }
    }

    /// The lines of records.
    pub fn lines(records: &[Record]) -> Vec<u8> {
        let mut buffer = Vec::new();
        for record in records {
            match record {
                Record::Run(run) => run.write(&mut buffer),
                Record::Host(host) => host.write(&mut buffer),
                Record::Sent(sent) => sent.write(&mut buffer),
                Record::Output(Output { index, time, stream, bytes }) => {
                    Output::write(&mut buffer, &rfc3339(*time), *index, *stream, bytes);
                }
                Record::End(_) | Record::Unknown => unreachable!("see `end`"),
            }
        }
        buffer
    }

    /// A host of the list.
    pub fn host(index: usize) -> Record {
        let name = format!("web{index}");
        Record::Host(Host { index, entry: name.clone(), alias: None, label: name, user: "me".to_owned(), port: 22 })
    }

    /// Its command is sent.
    pub fn sent(index: usize) -> Record {
        let (host, user) = (format!("web{index}"), "me".to_owned());
        Record::Sent(Sent { index, time: Duration::from_secs(1_795_452_000), host, user, port: 22, attempt: 1 })
    }

    /// The line of its end.
    pub fn end(index: usize, outcome: &str, exit: Option<u32>, (sent, may_still_run): (bool, bool)) -> Vec<u8> {
        let mut line = Vec::new();
        Object::new(&mut line, "end")
            .text("time", "2026-11-23T16:40:02.000000Z")
            .number("index", index)
            .text("outcome", outcome)
            .flag("success", outcome == "ok")
            .maybe_number("exit_status", exit)
            .number("attempts", 1)
            .flag("may_still_run", may_still_run)
            .text("message", &format!("{outcome} of web{index}"))
            .flag("sent", sent)
            .flag("unreached", outcome == "connect")
            .end();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{end, host, lines, run, sent};
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let output = |bytes: &[u8]| {
            let (time, bytes) = (Duration::new(1_795_452_000, 1000), bytes.to_vec());
            Record::Output(Output { index: 3, time, stream: Stream::Stderr, bytes })
        };
        let mut whole = run("a", Some("b"), 5);
        whole.of.shard = Some("1/4".to_owned());
        whole.of.arguments = Some("sha256:x".to_owned());
        let records = [
            Record::Run(whole),
            host(1),
            sent(2),
            output(b"a\n\x1b\"\\"),
            output(b"\xff\0"),
            output("é\u{202e}".as_bytes()),
        ];
        let text = lines(&records);
        assert!(text.starts_with(BEGINNING));
        let read: Vec<Record> =
            text.split_inclusive(|byte| *byte == b'\n').map(|line| Record::parse(line).expect("a record")).collect();
        assert_eq!(read, records);
        let Ok(Record::End(end)) = Record::parse(&end(4, "exit", Some(3), (true, false))) else { panic!("an end") };
        assert_eq!(
            (end.index, end.ending.class, end.ending.was_sent, end.ending.may_still_run),
            (4, Class::Exit, true, false)
        );
        assert_eq!(end.fields.maybe_number("exit_status"), Some(3));
    }

    #[test]
    fn what_is_wrong_is_named_and_what_is_new_is_ignored() {
        let wrong = |line: &str| Record::parse(line.as_bytes()).expect_err(line).to_string();
        for line in ["", "x", "[]", "{}", "{\"event\":1}", "{\"event\":\"run\"", "\0\0"] {
            assert_eq!(wrong(line), "not a record of a journal");
        }
        let field = "the field \"index\" of the record \"sent\" is missing or wrong";
        for line in [r#"{"event":"sent"}"#, r#"{"event":"sent","index":"1"}"#, r#"{"event":"sent","index":-1}"#] {
            assert_eq!(wrong(line), field);
        }
        assert_eq!(
            wrong(r#"{"event":"run","version":2}"#),
            "the journal is of version 2, and this program knows versions up to 1: use a newer one"
        );
        let end = String::from_utf8(end(0, "ok", Some(0), (true, false))).expect("text");
        assert!(wrong(&end.replace("\"ok\"", "\"fine\"")).contains("\"outcome\""));
        let output =
            r#"{"event":"output","time":"2026-11-23T16:40:00.000000Z","index":0,"stream":"stdout","base64":"*"}"#;
        assert!(wrong(output).contains("\"base64\""));
        assert_eq!(Record::parse(br#"{"event":"later","index":"?"}"#), Ok(Record::Unknown));
        let more = end.replace("\"event\":\"end\"", "\"event\":\"end\",\"later\":{}");
        assert!(matches!(Record::parse(more.as_bytes()), Ok(Record::End(_))));
    }
}
