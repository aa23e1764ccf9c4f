//! The manual page of the user's configuration file, pssh-config(5).

use std::io;

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::cli::user_config::DEFAULTS;

/// The keys of `[defaults]`, their types and their meanings.
pub const KEYS: [(&str, &str, &str); DEFAULTS.len()] = [
    ("par", "number", "Run at most this many hosts at once (-p)."),
    ("user", "string", "The login name for hosts without a user of their own (-l). It overrides ssh_config(5)."),
    ("timeout", "time", "Time limit for the command or the copy on each host (-t). 0 means no limit."),
    ("channel-timeout", "time", "Stop a command that prints nothing for this time."),
    ("total-timeout", "time", "Time limit for the whole run."),
    ("connect-timeout", "time", "Time limit for each attempt to connect and log in."),
    ("connect-par", "number", "Log in to at most this many hosts at once."),
    ("rate", "string", "Start at most this many hosts in a time: \"10/s\", \"0.5/s\", \"30/m\"."),
    ("num-retries", "number", "Connection attempts, including the first."),
    ("retry-delay", "time", "Pause between two attempts."),
    ("host-key-check", "string", "How to check host keys: \"strict\", \"accept-new\" or \"off\"."),
    ("proxy-connections", "number", "Open up to this many connections to each jump host."),
    ("encoding", "string", "The encoding of the hosts' output, such as \"latin1\"; it is shown as UTF-8."),
    ("format", "string", "How output is shown: \"lines\", \"inline\", \"status\", \"gather\", \"json\" or \"none\"."),
    ("forward-agent", "true or false", "Forward the SSH agent. --no-agent turns it off for one run."),
    ("no-headers", "true or false", "Leave out the status line of each host with -i, -P and \"status\"."),
    ("pty", "true or false", "Give commands a terminal."),
];

/// The keys of a source.
const SOURCE: [(&str, &str, &str); 3] = [
    (
        "command",
        "string",
        "A shell command that prints the hosts of a group, as a hosts file. %g is the name of the group, and %% a percent sign. \
         A source without %g and without list is a single list, @NAME or @NAME:*.",
    ),
    ("list", "string", "A shell command that prints the names of all groups, one per line. Only @NAME:* needs it."),
    (
        "trusted",
        "true or false",
        "Let the output run local programs, name local files and weaken the check of host keys.",
    ),
];

const EXAMPLE: &str = r#"group-command = "cat /etc/hosts.d/%g"

[groups]
web = "web[01-20]"
db = ["root@db1:2222", "db[2-3]"]
all = "@web,@db!web07"

[sources.ec2]
command = "ec2-hosts %g"
list = "ec2-hosts --groups"

[defaults]
par = 32
connect-timeout = "30s"
host-key-check = "accept-new"
"#;

/// Writes the page.
///
/// # Errors
/// `text` cannot be written to.
pub fn render(text: &mut impl io::Write) -> io::Result<()> {
    let mut roff = Roff::default();
    roff.control("TH", ["PSSH-CONFIG", "5", "", "pssh", "File Formats"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("pssh-config - configuration file of pssh, pscp, pslurp, prsync and pnuke")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([italic("$XDG_CONFIG_HOME/pssh/config.toml"), roman(" or "), italic("~/.config/pssh/config.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    paragraph(
        &mut roff,
        "The file defines groups of hosts and sets defaults for options. Every program of the suite reads it, if it \
        exists. It is written in TOML.",
    );
    paragraph(
        &mut roff,
        "The command line and the PSSH_* variables override the file, and the file overrides ssh_config(5). --explain \
        shows where each setting comes from.",
    );
    paragraph(
        &mut roff,
        "The file can name commands that run on this machine and can turn off host key checking. It must \
        therefore belong to the user or to root, and others must not be able to write to it (chmod go-w); otherwise the program ends with \
        exit status 2. The program reports all mistakes in it, each as FILE:LINE:COLUMN, before the first connection. The file can have \
        up to 4 MiB.",
    );
    roff.control("SH", ["GROUPS"]);
    term(
        &mut roff,
        [bold("[groups]")],
        "Each key is the name of a group, and its value is a list of hosts in the format of -w, or an array \
        of such lists: host names with ranges, [user@]host[:port], other groups, and the operators of -w. A group is used as @NAME in -H, \
        -w, --only, --exclude and hosts files. Names consist of letters, digits, _, . and -, and do not start with . or -.",
    );
    paragraph(&mut roff, "@* is every host of all groups, each once. Sources with a name are not part of it.");
    term(
        &mut roff,
        [bold("group-command"), roman(" = "), italic("string")],
        "The command of the source without a name, which has the groups that are not in [groups]. group-list and group-trusted mean the \
         same as list and trusted below. Without group-list, @* is an error, since it would lack these groups.",
    );
    roff.control("SH", ["SOURCES"]);
    paragraph(
        &mut roff,
        "A table [sources.NAME] defines a source of hosts: @NAME:GROUP is one of its groups, and @NAME:* every host of all its groups, \
         each once.",
    );
    for (key, kind, sentence) in SOURCE {
        term(&mut roff, [bold(key), roman(" = "), italic(kind)], sentence);
    }
    paragraph(
        &mut roff,
        "Each command runs once, for up to 30 s. If it fails, the program ends before the first connection. Unless the source is \
         trusted, its output cannot set proxy-command, identity, password-file, agent, known-hosts, or a host-key-check other than strict.",
    );
    roff.control("SH", ["DEFAULTS"]);
    paragraph(
        &mut roff,
        "Keys of [defaults] are long options without dashes. A time is a number of seconds, or a string such as \
        \"90s\" or \"1m30s\".",
    );
    for (key, kind, sentence) in KEYS {
        term(&mut roff, [bold(key), roman(" = "), italic(kind)], sentence);
    }
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["EXIT STATUS"]);
    paragraph(&mut roff, "If the file has mistakes, every program exits with status 2; if it cannot be read, with 1.");
    roff.control("SH", ["SEE ALSO"]);
    let pages = [
        ("pssh", "(1), "),
        ("pscp", "(1), "),
        ("pslurp", "(1), "),
        ("prsync", "(1), "),
        ("pnuke", "(1), "),
        ("ssh_config", "(5)"),
    ];
    roff.text(pages.into_iter().flat_map(|(name, section)| [bold(name), roman(section)]).collect::<Vec<_>>());
    paragraph(&mut roff, "/usr/share/doc/pssh-rs/docs/config.md explains the file with examples.");
    roff.to_writer(text)
}

fn paragraph(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.text([roman(text)]);
}

fn term<const N: usize>(roff: &mut Roff, title: [Inline; N], text: &str) {
    roff.control("TP", []);
    roff.text(title);
    roff.text([roman(text)]);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::user_config;

    #[test]
    fn every_key_is_explained_in_the_order_of_the_file() {
        assert_eq!(KEYS.map(|(key, ..)| key), DEFAULTS);
    }

    #[test]
    fn the_example_is_a_good_file() {
        assert!(user_config::parse(Path::new("config.toml"), EXAMPLE).is_ok());
    }
}
