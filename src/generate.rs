//! The manual page and the completions, made from the definitions of the command line (`--generate`), so that they never say
//! anything else than the program does. The ones in `man` and `completions` are compared with these by a test.

use std::io;

use clap::builder::PossibleValue;
use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Opts;

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artefact {
    /// The manual page, pssh(1).
    Man,
    /// Completions for a shell.
    Completions(Shell),
}

impl Artefact {
    const ALL: [Artefact; 4] = [
        Artefact::Man,
        Artefact::Completions(Shell::Bash),
        Artefact::Completions(Shell::Zsh),
        Artefact::Completions(Shell::Fish),
    ];

    /// Its place in the repository.
    pub fn path(self) -> &'static str {
        match self {
            Artefact::Man => "man/pssh.1",
            Artefact::Completions(Shell::Bash) => "completions/pssh.bash",
            Artefact::Completions(Shell::Zsh) => "completions/_pssh",
            Artefact::Completions(_) => "completions/pssh.fish",
        }
    }

    /// Makes it.
    ///
    /// # Errors
    /// Never in practice: it is written to memory.
    pub fn generate(self) -> io::Result<Vec<u8>> {
        let mut command = Opts::command();
        let mut text = Vec::new();
        match self {
            Artefact::Man => manual(command, &mut text)?,
            Artefact::Completions(shell) => {
                clap_complete::generate(shell, &mut command, "pssh", &mut text);
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

/// The sections of the manual besides the options: a title, and paragraphs, of which those with a tab are a term and its
/// explanation.
const SECTIONS: [(&str, &[&str]); 6] = [
    (
        "LISTS OF HOSTS",
        &[
            "A hosts file has one [user@]host[:port] [user] [key=value]... per line; # starts a comment. Names may have ranges, \
             web[01-20], and stand for groups, @web. An IPv6 address needs brackets only before a port. The same host twice is two hosts.",
            "--host-config says the same in TOML: [host.\"web[01-20]\"], with the keys user, port, address, alias, identity, \
             password-file, proxy, proxy-command, connect-timeout, timeout, channel-timeout, num-retries, retry-delay, \
             host-key-check, known-hosts, agent and no-agent. Of several tables that fit a host, the first one that has a key \
             counts. An entry in the list beats --host-config, which beats the command line, the environment and ssh_config(5).",
        ],
    ),
    (
        "OUTCOMES",
        &[
            "Every host of the list ends in exactly one of these. Only ok is success.",
            "ok\texit status 0 was received",
            "exit N\tanother exit status was received, also 255",
            "signal NAME\tthe command died by a signal",
            "timeout PHASE\tno answer in time: connect, auth, command, silence",
            "cancelled\tstopped by us, or never started",
            "dns, connect, proxy, hostkey, auth, ssh\tit did not get as far as running the command",
            "lost\tthe connection or channel ended without an exit status: the command may or may not have run",
            "local\tour side failed",
        ],
    ),
    (
        "EXIT STATUS",
        &[
            "0\tall hosts ended in ok",
            "1\tour own failure",
            "2\tusage: the command line or an input is wrong, and nothing was connected to",
            "3\ta host ended in signal, timeout or cancelled",
            "4\ta host was not reached, or lost",
            "5\ta command ended with another exit status than 0",
            "1 beats 3, which beats 4, which beats 5, as in pssh 2.3.6. After Ctrl-C, SIGTERM or SIGHUP every host is reported, and \
             pssh dies by that signal.",
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            "PSSH_USER, PSSH_PAR, PSSH_TIMEOUT, PSSH_ASKPASS\tas -l, -p, -t and -A; options beat them",
            "SSH_AUTH_SOCK\tthe agent that is asked for keys",
            "HOME\twhere .ssh is; else the password database says",
        ],
    ),
    (
        "FILES",
        &[
            "$XDG_CONFIG_HOME/pssh/config.toml, ~/.config/pssh/config.toml\tgroups of hosts, and defaults for options",
            "~/.ssh/config, /etc/ssh/ssh_config\tsettings of hosts, see ssh_config(5)",
            "~/.ssh/known_hosts, /etc/ssh/ssh_known_hosts\thost keys, see sshd(8)",
            "~/.ssh/id_ed25519, ~/.ssh/id_ecdsa, ~/.ssh/id_rsa\tkeys, each with its certificate in FILE-cert.pub",
        ],
    ),
    (
        "EXAMPLES",
        &[
            "pssh -H 'web1 root@web2:2222' uptime\ttwo hosts",
            "pssh -h hosts.txt -p 32 -t 1m30s ./deploy\tthe hosts of a file, 32 at once, a minute and a half for each command",
            "pssh -w 'web[01-20],db[1-3]' --format gather uname -r\tranges; equal output is shown once",
            "pssh -h hosts.txt 'cd /srv && ls | wc -l'\tone shell line, quoted once for our shell",
            "pssh -h hosts.txt -I 'cat > /etc/motd' < motd\tstandard input, to every host",
            "pssh -h hosts.txt --host-args versions.csv 'deploy %(version)q'\teach host with its own value, quoted",
            "pssh -J bastion -h hosts.txt --sudo --script setup.sh\ta local script as root, behind a jump host",
        ],
    ),
];

fn manual(command: Command, text: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command).title("PSSH").manual("User Commands");
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    man.render_options_section(text)?;
    for (title, paragraphs) in SECTIONS {
        let mut roff = Roff::default();
        roff.control("SH", [title]);
        for paragraph in paragraphs {
            match paragraph.split_once('\t') {
                Some((term, explanation)) => {
                    roff.control("TP", []);
                    roff.text([bold(term)]);
                    roff.text([roman(explanation)]);
                }
                None => {
                    roff.control("PP", []);
                    roff.text([roman(*paragraph)]);
                }
            }
        }
        roff.to_writer(text)?;
    }
    let mut roff = Roff::default();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("ssh"), roman("(1), "), bold("ssh_config"), roman("(5), "), bold("sshd"), roman("(8)")]);
    roff.to_writer(text)
}
