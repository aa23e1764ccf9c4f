//! The manual page and the completions, made from the definitions of the command line (`--generate`), so that they never say
//! anything else than the program does. The ones in `man` and `completions` are compared with these by a test.

mod config_manual;
mod manual;

use std::io;

use clap::builder::PossibleValue;
use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::plan::program::Program;

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artefact {
    /// The manual page.
    Man,
    /// The manual page of the configuration file, the same for all programs.
    ConfigMan,
    /// Completions for a shell.
    Completions(Shell),
}

impl Artefact {
    /// All of them.
    pub const ALL: [Artefact; 5] = [
        Artefact::Man,
        Artefact::ConfigMan,
        Artefact::Completions(Shell::Bash),
        Artefact::Completions(Shell::Zsh),
        Artefact::Completions(Shell::Fish),
    ];

    /// The place of `program`'s in the repository.
    pub fn path(self, program: Program) -> String {
        let name = program.name();
        match self {
            Artefact::Man => format!("man/{name}.1"),
            Artefact::ConfigMan => "man/pssh-config.5".to_owned(),
            Artefact::Completions(Shell::Bash) => format!("completions/{name}.bash"),
            Artefact::Completions(Shell::Zsh) => format!("completions/_{name}"),
            Artefact::Completions(_) => format!("completions/{name}.fish"),
        }
    }

    /// Makes `program`'s.
    ///
    /// # Errors
    /// Never in practice: it is written to memory.
    pub fn generate(self, program: Program) -> io::Result<Vec<u8>> {
        let mut command = program.command();
        let mut text = Vec::new();
        match self {
            Artefact::Man => render_manual(program, command, &mut text)?,
            Artefact::ConfigMan => config_manual::render(&mut text)?,
            Artefact::Completions(shell) => {
                clap_complete::generate(shell, &mut command, program.name(), &mut text);
                if shell == Shell::Bash {
                    text = complete_hosts_in_bash(&text);
                }
            }
        }
        Ok(text)
    }
}

impl ValueEnum for Artefact {
    fn value_variants<'a>() -> &'a [Self] {
        &Artefact::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Artefact::Man => "man",
            Artefact::ConfigMan => "config-man",
            Artefact::Completions(Shell::Bash) => "bash",
            Artefact::Completions(Shell::Zsh) => "zsh",
            Artefact::Completions(_) => "fish",
        }))
    }
}

/// The options whose values are hosts.
const HOST_OPTIONS: [&str; 6] = ["--host", "-H", "--jump", "-J", "--proxy-host", "--exclude"];

/// clap_complete's bash completions know files alone. Host names come from bash-completion, which knows ssh's, where it is
/// there, else from bash's own list.
fn complete_hosts_in_bash(text: &[u8]) -> Vec<u8> {
    let hosts = "if declare -F _known_hosts_real >/dev/null; then _known_hosts_real -a -- \"${cur}\"; else \
                 COMPREPLY=($(compgen -A hostname -- \"${cur}\")); fi";
    let mut lines = Vec::new();
    let mut takes_hosts = false;
    for line in String::from_utf8_lossy(text).lines() {
        let option = line.trim().strip_suffix(')');
        if let Some(option) = option.filter(|option| option.starts_with('-')) {
            takes_hosts = HOST_OPTIONS.contains(&option);
        }
        let is_reply = line.trim_start().starts_with("COMPREPLY=($(compgen");
        if takes_hosts && is_reply {
            let indent = &line[..line.len() - line.trim_start().len()];
            lines.push(format!("{indent}{hosts}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    (lines.join("\n") + "\n").into_bytes()
}

fn render_manual(program: Program, command: Command, text: &mut Vec<u8>) -> io::Result<()> {
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
    let besides: &[(&str, &str)] = match program {
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
            .chain(besides.iter().copied())
            .chain(ssh)
            .flat_map(|(name, section)| [bold(name), roman(section)])
            .collect::<Vec<_>>(),
    );
    roff.to_writer(text)
}
