//! The manual pages and the completions, generated from the definitions of the command line (`--generate`), so that they always match the
//! program. A test compares the files in `man` and `completions` with them.

mod completions;
mod config_manual;
mod manual;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Command, ValueEnum};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

pub use self::completions::Shell;
use super::known_names::NamingFiles;
use super::user_config::UserConfig;
use crate::hosts::parse_entry;
use crate::plan::program::Program;
use crate::plan::settings::Environment;
use crate::text::sanitize::is_harmful;

/// A file that can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artefact {
    /// The manual page.
    Man,
    /// The manual page of the configuration file, the same for all programs.
    ConfigMan,
    /// Completions for a shell.
    Completions(Shell),
    /// The hosts, groups and sources for completions, one per line.
    Hosts,
}

impl Artefact {
    /// The artefacts in the repository.
    pub const ALL: [Artefact; 5] = [
        Artefact::Man,
        Artefact::ConfigMan,
        Artefact::Completions(Shell::Bash),
        Artefact::Completions(Shell::Zsh),
        Artefact::Completions(Shell::Fish),
    ];

    /// Returns the path in the repository for `program`.
    pub fn path(self, program: Program) -> String {
        let name = program.name();
        match self {
            Artefact::Man => format!("man/{name}.1"),
            Artefact::ConfigMan => "man/pssh-config.5".to_owned(),
            Artefact::Completions(Shell::Bash) => format!("completions/{name}.bash"),
            Artefact::Completions(Shell::Zsh) => format!("completions/_{name}"),
            Artefact::Completions(Shell::Fish) => format!("completions/{name}.fish"),
            Artefact::Hosts => String::new(),
        }
    }

    /// Generates it for `program`.
    ///
    /// # Errors
    /// Never in practice: the text is written to memory.
    pub fn generate(self, program: Program) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match self {
            Artefact::Man => {
                render_manual(program, program.command().mut_args(|arg| arg.hide_short_help(false)), &mut text)?
            }
            Artefact::ConfigMan => config_manual::render(&mut text)?,
            Artefact::Completions(shell) => text = completions::generate(shell, program).into_bytes(),
            Artefact::Hosts => text = hosts().into_bytes(),
        }
        Ok(text)
    }
}

impl ValueEnum for Artefact {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Artefact; 6] = {
            let [man, config, bash, zsh, fish] = Artefact::ALL;
            [man, config, bash, zsh, fish, Artefact::Hosts]
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(match self {
            Artefact::Man => "man",
            Artefact::ConfigMan => "config-man",
            Artefact::Completions(Shell::Bash) => "bash",
            Artefact::Completions(Shell::Zsh) => "zsh",
            Artefact::Completions(Shell::Fish) => "fish",
            Artefact::Hosts => "hosts",
        });
        // Only completions use it.
        Some(value.hide(*self == Artefact::Hosts))
    }
}

/// Returns the groups and sources of config.toml and the hosts in ssh_config and known_hosts files, each once. It asks no name server and no program,
/// since users wait for a completion. Unreadable files are skipped.
fn hosts() -> String {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let environment = match &home {
        // The password database may be a server.
        Some(_) => Environment { variable: &|name| std::env::var_os(name), login: None, home },
        None => Environment::of_process(),
    };
    let groups = UserConfig::load(&environment).map(|config| config.groups).unwrap_or_default();
    let sources = groups.sources.into_iter().map(|(name, source)| match source.is_single() {
        true => format!("@{name}"),
        false => format!("@{name}:"),
    });
    let names = groups.groups.into_keys().map(|group| format!("@{group}")).chain(sources);
    let names = NamingFiles::of(environment.home.as_deref()).names().into_iter().chain(names);
    // The name is inserted into a command line: it has no characters that a shell interprets, and none that disguise it.
    let is_shown = |name: &String| !name.contains(is_harmful) && (name.starts_with('@') || parse_entry(name).is_ok());
    let unique: BTreeSet<String> = names.filter(is_shown).collect();
    unique.into_iter().map(|name| name + "\n").collect()
}

fn render_manual(program: Program, command: Command, text: &mut Vec<u8>) -> io::Result<()> {
    // What --help shows and what only the manual has are one paragraph here.
    let command = command.mut_args(|arg| match arg.get_long_help().map(ToString::to_string) {
        Some(help) => arg.long_help(help.replace("\n\n", ". ")),
        None => arg,
    });
    let man = Man::new(command).title(program.name().to_uppercase()).manual("User Commands");
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    man.render_options_section(text)?;
    for (title, paragraphs) in manual::sections(program) {
        let mut roff = Roff::default();
        roff.control("SH", [title]);
        for paragraph in paragraphs {
            match paragraph.split_once('\t') {
                Some((term, explanation)) => {
                    roff.control("TP", []);
                    roff.text([bold(term.to_owned())]);
                    roff.text([roman(explanation.to_owned())]);
                }
                None => {
                    roff.control("PP", []);
                    roff.text([roman(paragraph.to_owned())]);
                }
            }
        }
        roff.to_writer(text)?;
    }
    let others = Program::ALL.into_iter().filter(|other| *other != program).map(|other| (other.name(), "(1), "));
    let tools: &[(&str, &str)] = match program {
        Program::Pscp | Program::Pslurp => &[("scp", "(1), ")],
        Program::Prsync => &[("rsync", "(1), ")],
        Program::Pnuke => &[("pkill", "(1), ")],
        Program::Pssh => &[],
    };
    let ssh = [("ssh", "(1), "), ("pssh-config", "(5), "), ("ssh_config", "(5), "), ("sshd", "(8)")];
    let mut roff = Roff::default();
    roff.control("SH", ["SEE ALSO"]);
    roff.text(
        others
            .chain(tools.iter().copied())
            .chain(ssh)
            .flat_map(|(name, section)| [bold(name), roman(section)])
            .collect::<Vec<_>>(),
    );
    roff.to_writer(text)
}
