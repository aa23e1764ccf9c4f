//! Prefixes of output lines: `--prefix`, `--align`, and a colour for each host.

use super::style::Style;
use crate::events::event::Stream;
use crate::plan::job::Job;
use crate::text::sanitize::columns;
use crate::text::suggest::did_you_mean;

/// The default prefix.
const DEFAULT: &str = "{label}: ";
/// The foreground colours of hosts (SGR parameters): no reds, which are for failures, and no black, white or grey, which are
/// invisible on one terminal or the other.
const COLOURS: [u8; 10] = [32, 33, 34, 35, 36, 92, 93, 94, 95, 96];
/// Resets the foreground colour.
const DEFAULT_COLOUR: &[u8] = b"\x1b[39m";
/// Marks a line of standard error on a terminal, where both streams come together.
pub const STDERR_MARK: &str = "! ";

/// A field of a host in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Label,
    Host,
    User,
    Port,
    Index,
}

const FIELDS: [(&str, Field); 5] = [
    ("label", Field::Label),
    ("host", Field::Host),
    ("user", Field::User),
    ("port", Field::Port),
    ("index", Field::Index),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A prefix template: `{label}`, `{host}`, `{user}`, `{port}` and `{index}`, which counts from 0; `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Default for Template {
    fn default() -> Self {
        Template::parse(DEFAULT).unwrap_or(Template::none())
    }
}

impl Template {
    /// Creates an empty prefix.
    pub fn none() -> Template {
        Template(Vec::new())
    }

    /// Reads a template.
    ///
    /// # Errors
    /// Unknown field, or unmatched brace.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let named = after.split_once('}').filter(|_| brace == "{");
            let (name, after) =
                named.ok_or_else(|| format!("unmatched {brace}; write {brace}{brace} for a literal one"))?;
            let field = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field).ok_or_else(|| {
                let known = FIELDS.map(|(known, _)| known);
                format!("unknown field {{{name}}}{}; expected {{{}}}", did_you_mean(name, known), known.join("}, {"))
            })?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Field(field));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }

    fn of(&self, job: &Job) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(Field::Label) => job.label.clone(),
            Part::Field(Field::Host) => job.spec.name.clone(),
            Part::Field(Field::User) => job.user.to_string(),
            Part::Field(Field::Port) => job.port.to_string(),
            Part::Field(Field::Index) => job.index().to_string(),
        };
        self.0.iter().map(part).collect()
    }
}

/// The prefixes of all jobs, computed once.
pub struct Prefixes {
    /// By stream, whether it gets the coloured prefixes.
    has_colour: [bool; 2],
    plain: Vec<Box<[u8]>>,
    /// The same in colour; empty if no stream has colour.
    coloured: Vec<Box<[u8]>>,
    /// The prefixes of standard error on a terminal, else empty.
    marked: Vec<Box<[u8]>>,
}

impl Prefixes {
    /// Computes the prefixes of `jobs`; `aligned` pads them with blanks.
    pub fn new(template: &Template, is_aligned: bool, jobs: &[Job], style: &Style) -> Prefixes {
        let mut texts: Vec<String> = jobs.iter().map(|job| template.of(job)).collect();
        if is_aligned {
            let width = |text: &String| columns(text);
            let widest = texts.iter().map(width).max().unwrap_or_default();
            for text in &mut texts {
                let missing = widest - width(text);
                text.extend(std::iter::repeat_n(' ', missing));
            }
        }
        let has_colour = [Stream::Stdout, Stream::Stderr].map(|stream| style.of(stream).has_colour);
        let coloured = if has_colour.contains(&true) && !template.0.is_empty() {
            texts.iter().zip(jobs).map(|(text, job)| coloured(text, &job.label)).collect()
        } else {
            Vec::new()
        };
        let plain: Vec<Box<[u8]>> = texts.into_iter().map(|text| text.into_bytes().into()).collect();
        let stderr = style.of(Stream::Stderr);
        let mut marked = Vec::new();
        if stderr.is_terminal && !template.0.is_empty() {
            let mark = stderr.paint(false, STDERR_MARK);
            let unmarked = if stderr.has_colour { &coloured } else { &plain };
            marked.extend(unmarked.iter().map(|prefix| [prefix, mark.as_bytes()].concat().into()));
        }
        Prefixes { has_colour, plain, coloured, marked }
    }

    /// Returns the prefix for lines of `job` in `stream`.
    pub fn of(&self, job: &Job, stream: Stream) -> &[u8] {
        if let Some(marked) = self.marked.get(job.number).filter(|_| stream == Stream::Stderr) {
            return marked;
        }
        let coloured = self.coloured.get(job.number).filter(|_| self.has_colour[stream as usize]);
        coloured.unwrap_or(&self.plain[job.number])
    }
}

/// Picks a colour by the label alone, so that a host keeps it in every run.
fn coloured(text: &str, label: &str) -> Box<[u8]> {
    // FNV-1a.
    let hash = label.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let colour = COLOURS[hash as usize % COLOURS.len()];
    [format!("\x1b[{colour}m{text}").as_bytes(), DEFAULT_COLOUR].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(template: &str, is_aligned: bool) -> Vec<String> {
        let jobs = crate::plan::job::of_list("web1 root@database:2222 é");
        let template = Template::parse(template).expect("a template");
        let prefixes = Prefixes::new(&template, is_aligned, &jobs, &Style::default());
        let text = |job| String::from_utf8_lossy(prefixes.of(job, Stream::Stdout)).into_owned();
        jobs.iter().map(text).collect()
    }

    #[test]
    fn templates_have_names_and_braces() {
        assert_eq!(prefixes(DEFAULT, false), ["web1: ", "database: ", "é: "]);
        assert_eq!(prefixes("{{{index}}} {user}@{host}:{port}|", false)[1], "{1} root@database:2222|");
        assert_eq!(prefixes(DEFAULT, true), ["web1:     ", "database: ", "é:        "]);
        assert_eq!(prefixes("", true), ["", "", ""]);
    }

    #[test]
    fn slips_in_templates_are_told() {
        for (bad, why) in [
            ("{hots}", "did you mean host?"),
            ("{}", "unknown field {}; expected {label}, {host}, {user}, {port}, {index}"),
            ("{label", "unmatched {"),
            ("a}", "unmatched }; write }} for a literal one"),
        ] {
            let problem = Template::parse(bad).expect_err(bad);
            assert!(problem.contains(why), "{problem}");
        }
    }

    #[test]
    fn hosts_keep_their_colour_and_share_few() {
        let of = |label: &str| coloured("x", label);
        assert_eq!(of("web1"), of("web1"));
        let mut all: Vec<_> = (0..100).map(|number| of(&format!("web{number}"))).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), COLOURS.len());
        assert!(of("web1").starts_with(b"\x1b[") && of("web1").ends_with(b"mx\x1b[39m"));
    }
}
