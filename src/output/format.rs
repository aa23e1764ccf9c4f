//! How output is shown: what the command line and the environment say about it, checked before the first connection.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::files::Directories;
use super::inline::Inline;
use super::prefix::Template;
use super::style::{Style, When, Wishes};
use crate::cli::{self, Opts};
use crate::limits::Held;
use crate::program::Program;
use crate::settings::{Environment, expand};

/// The formats of what hosts print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines as they come, with their host in front
    #[default]
    Lines,
    /// The output of each host in one piece when it ends
    Inline,
    /// pssh's line for each host that has ended, and no output
    Status,
    /// One block for all hosts with the same output
    Gather,
    /// A JSON object a line for all that happens
    Json,
    /// Nothing: only the exit status
    None,
}

/// How it is told that a host has ended, by the formats that show hosts one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endings {
    /// By our line on standard error: `pssh: web1: exit 3`.
    Own,
    /// By pssh's line on standard output: `[1] 16:32:33 [FAILURE] web1 Exited with error code 3`.
    Headers,
    /// Not at all if it is well, else by our line (`--no-headers`).
    Failures,
}

/// How output is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looks {
    /// How what hosts print is shown.
    pub format: Format,
    /// How it is told that a host has ended. Never [`Endings::Own`] for `inline` and `status`.
    pub endings: Endings,
    /// Whether `inline` shows standard error too.
    pub has_stderr: bool,
    /// Whether hosts are shown in the order of the list.
    pub is_sorted: bool,
    /// What `lines` start with.
    pub prefix: Template,
    /// Whether what follows the prefixes is aligned.
    pub is_aligned: bool,
    /// Files besides.
    pub directories: Directories,
    /// What the terminal decides.
    pub style: Style,
}

impl Looks {
    /// The options, then `PSSH_PRINT`, `PSSH_INLINE`, `PSSH_OUTDIR` and `PSSH_ERRDIR`, then the defaults.
    ///
    /// # Errors
    /// An option does not fit the format, or is probably meant for another program.
    pub fn resolve(opts: &Opts, environment: &Environment<'_>) -> Result<Looks, String> {
        check_slips(opts)?;
        let on = |name| environment.parsed(name, cli::truthy).map(|on| on.unwrap_or(false));
        let format = match opts.show.format {
            Some(format) => format,
            None if opts.reports.json => Format::Json,
            // What is said of failures is a report of its own.
            None if opts.reports.quiet => Format::None,
            None if opts.streams.diff => Format::Gather,
            None if opts.streams.print => Format::Lines,
            None if opts.streams.inline || opts.streams.inline_stdout => Format::Inline,
            None if opts.streams.ci_groups.is_some() => Format::Gather,
            None if on("PSSH_PRINT")? => Format::Lines,
            None if on("PSSH_INLINE")? => Format::Inline,
            None if opts.program != Program::Pssh => Format::Status,
            None => opts.show.usual_format.unwrap_or_default(),
        };
        // Whoever asks for pssh's own ways of showing gets them; lines without being asked for are ours.
        let endings = match format {
            _ if opts.show.no_headers => Endings::Failures,
            Format::Inline | Format::Status => Endings::Headers,
            Format::Lines if opts.streams.print => Endings::Headers,
            Format::Lines if opts.show.format.is_none() && on("PSSH_PRINT")? => Endings::Headers,
            Format::Lines | Format::Gather | Format::Json | Format::None => Endings::Own,
        };
        let needs = |is_given: bool, option: &str, formats: &[Format]| {
            let all = ["lines", "inline", "status", "gather", "json", "none"];
            let names: Vec<&str> = formats.iter().map(|format| all[*format as usize]).collect();
            match is_given && !formats.contains(&format) {
                true => Err(format!("{option} is for --format {}, not {}", names.join(" and "), all[format as usize])),
                false => Ok(()),
            }
        };
        needs(opts.streams.prefix.is_some(), "--prefix", &[Format::Lines])?;
        needs(opts.streams.no_prefix, "--no-prefix", &[Format::Lines])?;
        needs(opts.streams.align, "--align", &[Format::Lines])?;
        needs(opts.streams.sort, "--sort", &[Format::Inline])?;
        needs(opts.streams.diff, "--diff", &[Format::Gather])?;
        needs(opts.streams.ci_groups.is_some(), "--ci-groups", &[Format::Gather, Format::Inline])?;
        let home = environment.home.as_deref();
        let directory = |option: &Option<PathBuf>, name: &str| match option {
            Some(path) => Some(expand(path, home)),
            None => {
                (environment.variable)(name).filter(|path| !path.is_empty()).map(|path| expand(Path::new(&path), home))
            }
        };
        let of = [directory(&opts.show.outdir, "PSSH_OUTDIR"), directory(&opts.show.errdir, "PSSH_ERRDIR")];
        if opts.show.fileappend && of.iter().all(Option::is_none) {
            return Err("--fileappend is for the files of --outdir and --errdir, and there is neither".to_owned());
        }
        // Neither programs nor cron look at it.
        let unasked = if format == Format::Json || opts.reports.quiet { When::Never } else { When::default() };
        let wishes = Wishes {
            color: opts.show.color.unwrap_or_default(),
            progress: opts.show.progress.unwrap_or(unasked),
            raw: opts.show.raw,
            ci: opts.streams.ci_groups,
            is_json: format == Format::Json,
        };
        Ok(Looks {
            format,
            endings,
            has_stderr: opts.streams.inline || !opts.streams.inline_stdout,
            is_sorted: opts.streams.sort,
            prefix: match &opts.streams.prefix {
                _ if opts.streams.no_prefix => Template::none(),
                Some(template) => template.clone(),
                None => Template::default(),
            },
            is_aligned: opts.streams.align,
            directories: Directories {
                of,
                append: opts.show.fileappend,
                only_printed: matches!(opts.program, Program::Pscp | Program::Pslurp),
            },
            style: Style::of_process(wishes, environment.variable),
        })
    }

    /// The descriptors that showing it takes, for `jobs` jobs.
    pub fn held(&self, jobs: usize) -> Held {
        let shown = match self.format {
            Format::Inline => Inline::held(self.is_sorted, jobs),
            _ => Held::default(),
        };
        shown.and(self.directories.held())
    }
}

/// What somebody writes who knows ssh's options better than pssh's: both mean something here, but not that.
fn check_slips(opts: &Opts) -> Result<(), String> {
    let outdir = opts.show.outdir.as_deref().filter(|path| !path.exists()).and_then(Path::to_str);
    let is_option = |text: &&str| {
        let keyword = text.split(['=', ' ']).next().unwrap_or_default();
        keyword.len() < text.len() && keyword.len() > 1 && keyword.chars().all(|c| c.is_ascii_alphabetic())
    };
    if let Some(option) = outdir.filter(is_option) {
        return Err(format!(
            "-o {option}: -o names a directory for output; did you mean -O '{option}'? (-o ./{option} is the directory)"
        ));
    }
    let first = opts.words.first().map(Path::new);
    if let Some(key) = first.filter(|path| opts.streams.inline && is_private_key(path)) {
        return Err(format!(
            "-i shows the output of each host in one piece; did you mean --identity {}?",
            key.display()
        ));
    }
    Ok(())
}

/// Whether the file begins like a private key: `-----BEGIN OPENSSH PRIVATE KEY-----`.
fn is_private_key(path: &Path) -> bool {
    // Bytes of the longest first line of a key in PEM.
    const FIRST_LINE: u64 = 64;
    const KEY: &[u8] = b"PRIVATE KEY-----";
    // A FIFO would never end.
    if !path.is_file() {
        return false;
    }
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut start));
    read.is_ok() && start.starts_with(b"-----BEGIN ") && start.windows(KEY.len()).any(|words| words == KEY)
}
