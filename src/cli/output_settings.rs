//! Output settings from the command line and the environment, checked before the first connection.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::options::{self, Opts};
use crate::output::{CopySettings, Directories, Endings, Format, OutputSettings, Style, StyleOptions, Template, When};
use crate::plan::program::Program;
use crate::plan::settings::{Environment, expand};

/// Refuses values of `-o` and `-i` that are meant for ssh's options of the same name.
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

/// Returns whether the file begins like a private key: `-----BEGIN OPENSSH PRIVATE KEY-----`.
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

/// Returns the file of `--ci-summary`: without a name, the file that GitHub's runner sets for each step.
fn ci_summary(opts: &Opts, environment: &Environment<'_>) -> Result<Option<PathBuf>, String> {
    match &opts.reports.ci_summary {
        Some(Some(path)) => Ok(Some(path.clone())),
        Some(None) => match (environment.variable)("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
            Some(path) => Ok(Some(path.into())),
            None => Err("--ci-summary: GITHUB_STEP_SUMMARY is not set; name a file: --ci-summary=FILE".to_owned()),
        },
        None => Ok(None),
    }
}

impl OutputSettings {
    /// Resolves the options, then `PSSH_PRINT`, `PSSH_INLINE`, `PSSH_OUTDIR` and `PSSH_ERRDIR`, then the defaults.
    ///
    /// # Errors
    /// An option does not fit the format, or is probably meant for another program.
    pub fn resolve(opts: &Opts, environment: &Environment<'_>) -> Result<OutputSettings, String> {
        check_slips(opts)?;
        let on = |name| environment.parsed(name, options::truthy).map(|on| on.unwrap_or(false));
        let format = match opts.show.format {
            Some(format) => format,
            None if opts.reports.json => Format::Json,
            // Failures have their own report.
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
        // pssh's status lines come only with pssh's options; the default format has its own lines.
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
                true => Err(format!("{option} needs --format {}, not {}", names.join(" or "), all[format as usize])),
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
            return Err("--fileappend needs --outdir or --errdir".to_owned());
        }
        // Programs and cron do not show progress.
        let unasked = if format == Format::Json || opts.reports.quiet { When::Never } else { When::default() };
        let options = StyleOptions {
            color: opts.show.color.unwrap_or_default(),
            progress: opts.show.progress.unwrap_or(unasked),
            raw: opts.show.raw,
            ci: opts.streams.ci_groups,
            is_json: format == Format::Json,
        };
        Ok(OutputSettings {
            program: opts.program,
            format,
            order: opts.rolling.order.unwrap_or_default(),
            is_quiet: opts.reports.quiet,
            has_times: opts.reports.times,
            diff: opts.streams.diff,
            expect_same: opts.streams.expect_same,
            ci: opts.streams.ci_groups,
            encoding: opts.streams.encoding,
            junit: opts.reports.junit.clone(),
            ci_summary: ci_summary(opts, environment)?,
            failed_to: opts.reports.failed_to.clone(),
            endings,
            has_stderr: opts.streams.inline || !opts.streams.inline_stdout,
            is_sorted: opts.streams.sort,
            prefix: match &opts.streams.prefix {
                _ if opts.streams.no_prefix => Template::none(),
                Some(template) => template.clone(),
                None => Template::default(),
            },
            is_aligned: opts.streams.align,
            copies: match opts.program {
                Program::Pssh | Program::Pnuke => None,
                Program::Pscp | Program::Pslurp | Program::Prsync => Some(CopySettings {
                    is_download: opts.download || opts.program == Program::Pslurp,
                    keeps: opts.copy.resume,
                }),
            },
            directories: Directories {
                of,
                append: opts.show.fileappend,
                only_printed: matches!(opts.program, Program::Pscp | Program::Pslurp),
            },
            style: Style::of_process(opts.program, options, environment.variable),
        })
    }
}
