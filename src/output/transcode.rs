//! `--encoding`: converts the hosts' output to UTF-8.

use std::time::Instant;

use encoding_rs::{Decoder, Encoding};

use super::multiplexer::Report;
use super::writer::Output;
use crate::events::batch::BatchNews;
use crate::events::event::{Event, EventKind, Outcome, Stream};
use crate::events::host_error::HostError;
use crate::events::interruption::Interruption;
use crate::events::tally::Tally;
use crate::plan::job::Job;

/// Reads the name of an encoding: a label of the Encoding Standard, such as `latin1`, `windows-1251`, `sjis` or `utf-16le`,
/// also with the hyphens or underscores that Python puts into it.
///
/// # Errors
/// Unknown encoding.
pub fn encoding(name: &str) -> Result<&'static Encoding, String> {
    let bare: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    // Python's code pages: cp1252 is a label, cp1251 too, cp932 is Shift_JIS.
    let page =
        bare.strip_prefix("cp").map(|page| if page == "932" { "sjis".to_owned() } else { format!("windows-{page}") });
    let utf16 = bare.to_ascii_lowercase().strip_prefix("utf16").map(|order| format!("utf-16{order}"));
    let names = [Some(name.to_owned()), Some(name.replace('_', "-")), Some(bare), page, utf16];
    names
        .into_iter()
        .flatten()
        .find_map(|name| Encoding::for_label_no_replacement(name.as_bytes()))
        .ok_or_else(|| "unknown encoding; try latin1, windows-1251, sjis, gb18030, utf-16le or utf-8".to_owned())
}

/// A report whose hosts print in another encoding. Invalid bytes become a replacement character (U+FFFD), and nothing
/// after it is lost.
pub struct Transcoded<R> {
    report: R,
    encoding: &'static Encoding,
    /// The state of each stream of each job, by number, from its first output to its end.
    decoders: Vec<[Option<Box<Decoder>>; 2]>,
}

impl<R: Report> Transcoded<R> {
    /// Wraps `report`, decoding the output of `jobs` jobs from `encoding`.
    pub fn new(report: R, encoding: &'static Encoding, jobs: usize) -> Self {
        let mut decoders = Vec::new();
        decoders.resize_with(jobs, Default::default);
        Transcoded { report, encoding, decoders }
    }

    fn decode(&mut self, job: &Job, stream: Stream, bytes: &[u8], is_last: bool) -> Vec<u8> {
        let decoder = &mut self.decoders[job.number][stream as usize];
        if decoder.is_none() && is_last {
            return Vec::new();
        }
        let decoder = decoder.get_or_insert_with(|| Box::new(self.encoding.new_decoder_with_bom_removal()));
        let mut text = vec![0; decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len())];
        // The buffer is large enough for all of it.
        let (_, _, written, _) = decoder.decode_to_utf8(bytes, &mut text, is_last);
        text.truncate(written);
        text
    }
}

impl<R: Report> Report for Transcoded<R> {
    fn begin(&mut self, output: &mut Output) {
        self.report.begin(output);
    }

    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        let decoded =
            |stream, bytes| Event { job: job.number, at: event.at, kind: EventKind::Output { stream, bytes } };
        match &event.kind {
            EventKind::Output { stream, bytes } => {
                let bytes = self.decode(job, *stream, bytes, false);
                if !bytes.is_empty() {
                    self.report.event(job, &decoded(*stream, bytes), output);
                }
            }
            EventKind::Finished { .. } => {
                // An incomplete character.
                for stream in [Stream::Stderr, Stream::Stdout] {
                    let bytes = self.decode(job, stream, &[], true);
                    if !bytes.is_empty() {
                        self.report.event(job, &decoded(stream, bytes), output);
                    }
                }
                self.decoders[job.number] = Default::default();
                self.report.event(job, event, output);
            }
            _ => self.report.event(job, event, output),
        }
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        self.report.finish(tally, output);
    }

    fn verdict(&mut self, job: &Job, outcome: &Outcome) -> Option<HostError> {
        self.report.verdict(job, outcome)
    }

    fn status(&mut self, now: Instant) -> Option<String> {
        self.report.status(now)
    }

    fn batch(&mut self, news: &BatchNews, tally: &Tally, output: &mut Output) {
        self.report.batch(news, tally, output);
    }

    fn interrupted(&mut self, interruption: &Interruption, output: &mut Output) {
        self.report.interrupted(interruption, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::style::Style;

    /// Records what it receives.
    struct Kept(Vec<u8>);

    impl Report for Kept {
        fn event(&mut self, _: &Job, event: &Event, _: &mut Output) {
            if let EventKind::Output { bytes, .. } = &event.kind {
                self.0.extend(bytes);
            }
        }

        fn finish(&mut self, _: &Tally, _: &mut Output) {}
    }

    fn decoded(name: &str, pieces: &[&[u8]]) -> String {
        let job = &crate::plan::job::of_list("a")[0];
        let mut report = Transcoded::new(Kept(Vec::new()), encoding(name).expect("an encoding"), 1);
        let mut output = Output::over(None, None, &Style::default());
        for piece in pieces {
            let kind = EventKind::Output { stream: Stream::Stdout, bytes: piece.to_vec() };
            report.event(job, &Event::now(0, kind), &mut output);
        }
        let kind = EventKind::Finished { outcome: Outcome::Exited(0), attempts: 1 };
        report.event(job, &Event::now(0, kind), &mut output);
        String::from_utf8(report.report.0).expect("UTF-8")
    }

    #[test]
    fn names_are_those_of_the_standard_and_of_python() {
        let name = |name: &str| encoding(name).map(Encoding::name).ok();
        for (given, found) in [
            ("latin1", "windows-1252"),
            ("latin-1", "windows-1252"),
            ("iso8859_15", "ISO-8859-15"),
            ("ISO-8859-2", "ISO-8859-2"),
            ("cp1251", "windows-1251"),
            ("cp1253", "windows-1253"),
            ("cp932", "Shift_JIS"),
            ("Shift_JIS", "Shift_JIS"),
            ("euc_kr", "EUC-KR"),
            ("utf8", "UTF-8"),
            ("utf_16_be", "UTF-16BE"),
        ] {
            assert_eq!(name(given), Some(found), "{given}");
        }
        for bad in ["", "none", "cp", "cp99999", "replacement", "hz-gb-2312"] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn characters_may_be_cut_anywhere() {
        assert_eq!(decoded("latin1", &[b"caf\xe9\n"]), "caf\u{e9}\n");
        let text = "\u{65e5}\u{672c}\u{8a9e} ok\n";
        for (name, bytes) in [
            ("sjis", encoding("sjis").expect("sjis").encode(text).0.into_owned()),
            ("gb18030", encoding("gb18030").expect("gb18030").encode(text).0.into_owned()),
            ("utf-16le", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("utf-8", text.as_bytes().to_vec()),
        ] {
            for cut in 0..=bytes.len() {
                assert_eq!(decoded(name, &[&bytes[..cut], &bytes[cut..]]), text, "{name} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_bad_byte_loses_nothing_else() {
        assert_eq!(decoded("utf-8", &[b"a\xffb", b"c\xc3"]), "a\u{fffd}bc\u{fffd}");
        assert_eq!(decoded("utf-8", &[b"", b"\xe6\x97", b"x"]), "\u{fffd}x");
    }
}
