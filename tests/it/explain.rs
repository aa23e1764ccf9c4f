//! `--explain`: what is really tried on each host, and every option that changes what happens to one.

use std::collections::BTreeSet;
use std::fs;

use clap::Arg;
use pssh::internal::Program;

use crate::auth::Agent;
use crate::bin::{Env, Run, ssh_keygen};

/// The options that do not show, by their long names, or else their letters.
const EXEMPT: [(&str, &[&str]); 5] = [
    (
        "they choose the hosts: each host's first line has its place",
        &["hosts", "host", "nodes", "only", "exclude", "host-glob", "host-config", "shard"],
    ),
    (
        "they say what is shown of the hosts, and where",
        &[
            "format",
            "outdir",
            "errdir",
            "fileappend",
            "progress",
            "color",
            "raw",
            "no-headers",
            "print",
            "inline",
            "inline-stdout",
            "sort",
            "prefix",
            "no-prefix",
            "align",
            "encoding",
            "diff",
            "expect-same",
            "ci-groups",
            "json",
            "quiet",
            "times",
            "failed-to",
            "junit",
            "ci-summary",
            "max-status",
            "verbose",
        ],
    ),
    (
        "they say what is recorded, and what is known already",
        &["journal", "journal-output", "resume", "rerun", "replay"],
    ),
    ("they are about the program itself", &["dry-run", "explain", "list", "generate", "help", "version"]),
    ("there is one only with --host-args, whose line is there", &["host-column"]),
];

/// The options that do: what is given, and the line. The other options are given alone or with a path, and have a line of
/// their own name.
const SHOWN: [(&str, &[&str], &str); 50] = [
    ("user", &["-l", "ann"], "user ann\t# -l"),
    ("par", &["-p", "3"], "par 3\t# --par"),
    ("timeout", &["-t", "1m"], "timeout 60\t# --timeout"),
    ("channel-timeout", &["--channel-timeout", "7"], "channel-timeout 7\t# --channel-timeout"),
    ("total-timeout", &["--total-timeout", "2h"], "total-timeout 7200\t# --total-timeout"),
    ("stop-on-errors", &["--stop-on-errors=5%"], "stop-on-errors 5%\t# --stop-on-errors"),
    ("batch", &["--batch", "1,10%"], "batch 1,10%\t# --batch"),
    ("pause", &["--batch", "1", "--pause", "5m"], "pause 5m\t# --pause"),
    ("confirm", &["--batch", "1", "--confirm"], "confirm first\t# --confirm"),
    ("order", &["--order", "shuffle:7"], "order shuffle:7\t# --order"),
    ("stop-on-unreached", &["--stop-on-unreached", "5%"], "stop-on-unreached 5%\t# --stop-on-unreached"),
    ("connect-par", &["--connect-par", "2"], "connect-par 2\t# --connect-par"),
    ("rate", &["--rate", "0.5/s"], "rate 0.5/s\t# --rate"),
    ("success", &["--success", "0"], "success 0\t# --success"),
    ("check", &["--check", "test -e x"], "check test -e x\t# --check"),
    ("check-timeout", &["--check", "x", "--check-timeout", "5m"], "check-timeout 5m\t# --check-timeout"),
    ("check-interval", &["--check", "x", "--check-interval", "3"], "check-interval 3\t# --check-interval"),
    ("host-args", &["--host-args", "FILE"], "host-args FILE\t# --host-args"),
    ("host-arg", &["--host-arg", "h:a=secret"], "host-arg h:a=***\t# --host-arg"),
    ("shell", &["--shell", "bash -c"], "shell bash -c\t# --shell"),
    ("forward-agent", &["--forward-agent"], "forwardagent yes\t# --forward-agent"),
    ("pty", &["--pty"], "requesttty force\t# --pty"),
    ("env", &["--env", "A=secret"], "setenv A=***\t# --env"),
    ("sudo", &["--sudo"], "sudo root\t# --sudo"),
    ("run-as", &["--run-as", "deploy"], "sudo deploy\t# --run-as"),
    (
        "sudo-password-file",
        &["--sudo", "--sudo-password-file", "FILE"],
        "sudo-password-file FILE\t# --sudo-password-file",
    ),
    ("option", &["-O", "Port=77"], "port 77\t# -O Port=77"),
    ("extra-args", &["-x", "-C"], "compression yes\t# -x -C"),
    ("extra-arg", &["-X", "-C"], "compression yes\t# -X -C"),
    ("ssh-args", &["-S", "-C"], "compression yes\t# -S -C"),
    ("connect-timeout", &["--connect-timeout", "1m"], "connecttimeout 60\t# --connect-timeout"),
    ("num-retries", &["--num-retries", "2"], "connectionattempts 2\t# --num-retries"),
    ("retry-delay", &["--retry-delay", "0.5"], "retry-delay 0.5\t# --retry-delay"),
    ("identity", &["--identity", "KEY"], "identityfile KEY\t# --identity"),
    ("agent", &["--agent", "FILE"], "identityagent FILE\t# --agent"),
    ("no-agent", &["--no-agent"], "identityagent none\t# --no-agent"),
    ("-4", &["-4"], "addressfamily inet\t# -4"),
    ("-6", &["-6"], "addressfamily inet6\t# -6"),
    ("compression", &["-C"], "compression yes\t# -C"),
    ("password-fd", &["--password-fd", "3"], "password-fd 3\t# --password-fd"),
    ("password-command", &["--password-command", "pass x"], "password-command pass x\t# --password-command"),
    ("password-prompt", &["--password-prompt", "^PIN"], "password-prompt ^PIN\t# --password-prompt"),
    ("host-key-check", &["--host-key-check", "off"], "stricthostkeychecking false\t# --host-key-check"),
    ("known-hosts", &["--known-hosts", "FILE"], "userknownhostsfile FILE\t# --known-hosts"),
    ("jump", &["-J", "me@edge"], "proxyjump me@edge\t# --jump or --proxy-command"),
    ("proxy-host", &["--proxy-host", "edge"], "proxyjump edge\t# --jump or --proxy-command"),
    ("proxy-port", &["--proxy-host", "edge", "--proxy-port", "7"], "proxyjump edge:7\t# --jump or --proxy-command"),
    ("proxy-user", &["--proxy-host", "edge", "--proxy-user", "u"], "proxyjump u@edge\t# --jump or --proxy-command"),
    ("proxy-connections", &["-J", "edge", "--proxy-connections", "3"], "proxy-connections 3\t# --proxy-connections"),
    ("proxy-command", &["--proxy-command", "nc %h %p"], "proxycommand nc %h %p\t# --jump or --proxy-command"),
];

/// The options of one jump host.
const OF_JUMP_HOST: [&str; 2] = ["proxy-identity", "proxy-password-file"];

fn text(run: &Run) -> String {
    String::from_utf8_lossy(&run.stdout).into_owned()
}

#[test]
fn every_option_that_changes_what_happens_to_a_host_shows() {
    let env = Env::new();
    let key = env.ssh_dir().join("id_ed25519").display().to_string();
    // What a row of --host-args is for, a hash-bang script, and an ssh_config without a word: each of them can be read.
    let file = env.file("file", "#!/bin/sh\n").display().to_string();
    let rows = env.file("rows", "1\n").display().to_string();
    let value = |option: &str, text: &str| {
        text.replace("FILE", if option == "host-args" { &rows } else { &file }).replace("KEY", &key)
    };
    let mut known = BTreeSet::new();
    for program in Program::ALL {
        let command = program.command();
        let words: &[&str] = match program {
            Program::Pssh => &["echo"],
            Program::Pnuke => &["x"],
            _ => &["a", "b"],
        };
        let explain = |options: &[String], words: &[&str]| {
            let run = env.bare(program).args(["-H", "h", "--explain"]).args(options).args(words).run();
            run.exits(0);
            text(&run)
        };
        let plain = explain(&[], words);
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let letter = || format!("-{}", arg.get_short().expect("an option has a name"));
            let name = arg.get_long().map_or_else(letter, str::to_owned);
            known.insert(name.clone());
            if EXEMPT.iter().any(|(_, exempt)| exempt.contains(&name.as_str())) {
                continue;
            }
            let (mut options, line) = shown(arg, &name, program);
            let line = value(&name, &line);
            options = options.iter().map(|word| value(&name, word)).collect();
            let words = match name.as_str() {
                "host-args" => &["echo %q"],
                "host-arg" => &["echo %(a)q"],
                _ => words,
            };
            let told = explain(&options, words);
            let has = |text: &str| text.lines().any(|own| own == line);
            assert!(has(&told), "{} {options:?}: {line:?} is not in\n{told}", program.name());
            assert!(!has(&plain), "{} {line:?} is there without {options:?}", program.name());
        }
    }
    // No name is here in vain.
    let listed = EXEMPT.iter().flat_map(|(_, names)| names.iter().copied()).chain(SHOWN.iter().map(|shown| shown.0));
    let unknown: Vec<&str> = listed.chain(OF_JUMP_HOST).filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "not options: {unknown:?}");
}

/// What is given of an option, and the line that it makes.
fn shown(arg: &Arg, name: &str, program: Program) -> (Vec<String>, String) {
    let is_rsyncs = program == Program::Prsync && name.starts_with("extra-arg");
    if let Some((_, options, line)) = SHOWN.iter().find(|(option, ..)| *option == name && !is_rsyncs) {
        return (options.iter().map(|word| (*word).to_owned()).collect(), (*line).to_owned());
    }
    let mut options: Vec<String> = Vec::new();
    if OF_JUMP_HOST.contains(&name) {
        options.extend(["--proxy-host".to_owned(), "edge".to_owned()]);
    }
    options.push(format!("--{name}"));
    let takes_value = arg.get_action().takes_values();
    options.extend(takes_value.then(|| "FILE".to_owned()));
    (options, format!("{name} {}\t# --{name}", if takes_value { "FILE" } else { "yes" }))
}

#[test]
fn settings_of_the_environment_and_the_file_of_defaults_have_their_origin() {
    let env = Env::new();
    fs::create_dir_all(env.path(".config/pssh")).expect("a directory");
    let config = env.file(".config/pssh/config.toml", "[defaults]\nretry-delay = 1\npty = true\ntimeout = '3s'\n");
    let config = config.display();
    let run = env.pssh().hosts(["h"]).variable("PSSH_PAR", "5").variable("PSSH_ASKPASS", "1").arg("--explain").run();
    run.exits(0);
    for line in [
        "par 5\t# PSSH_PAR".to_owned(),
        format!("retry-delay 1\t# {config}:2:15"),
        format!("requesttty force\t# {config}:3:7"),
        format!("timeout 3\t# {config}:4:11"),
        "channel-timeout none\t# default".to_owned(),
        "askpass yes\t# PSSH_ASKPASS".to_owned(),
    ] {
        run.check(text(&run).lines().any(|own| own == line), &line);
    }
    let run = env.run_of(Program::Pslurp).hosts(["h"]).variable("PSSH_RECURSIVE", "1").variable("PSSH_LOCALDIR", "d");
    let run = run.args(["--explain", "a", "b"]).run();
    run.exits(0);
    for line in ["recursive yes\t# PSSH_RECURSIVE", "localdir d\t# PSSH_LOCALDIR"] {
        run.check(text(&run).lines().any(|own| own == line), line);
    }
    // What is said of one host takes the place of what is said of all.
    let hosts = env.file("hosts", "h timeout=9 retry-delay=2 password-file=/p\n");
    let run = env.pssh().arg("-h").arg(hosts).args(["-A", "-t", "1", "--explain"]).run();
    run.exits(0);
    for (name, count) in [("timeout ", 1), ("retry-delay ", 1), ("askpass ", 0), ("password-file ", 1)] {
        let lines = text(&run).lines().filter(|line| line.starts_with(name)).count();
        run.check(lines == count, name);
    }
}

/// The lines that are about identities and methods.
fn logins(run: &Run) -> Vec<String> {
    run.exits(0);
    let text = text(run);
    let about =
        |line: &&str| ["identityfile", "agentkey", "methods", "# not tried"].iter().any(|word| line.starts_with(word));
    text.lines().filter(about).map(|line| line.split("\t# what").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn only_identities_that_are_tried_show_in_their_order() {
    let env = Env::without_key();
    // The tests may be run with a terminal.
    let batch = ["--explain", "--no-agent", "-O", "BatchMode=yes"];
    let explain = |args: &[&str]| env.pssh().hosts(["h"]).args(batch).args(args).run();
    let no_key = "# not tried: method publickey\t# no key to offer";
    let no_password = "# not tried: method password\t# no password; -A asks for one";
    let nobody = "# not tried: method keyboard-interactive\t# no password, and no terminal to ask on";
    assert_eq!(logins(&explain(&[])), ["methods none", no_key, nobody, no_password]);
    for (name, kind) in [("id_rsa", "rsa"), ("id_ed25519", "ed25519"), ("own", "ecdsa")] {
        ssh_keygen(&env.ssh_dir().join(name), &["-q", "-t", kind, "-N", ""]);
    }
    let (first, last) = ("identityfile ~/.ssh/id_ed25519\t# default", "identityfile ~/.ssh/id_rsa\t# default");
    assert_eq!(logins(&explain(&[])), [first, last, "methods publickey", nobody, no_password]);
    let all = "methods publickey,keyboard-interactive,password";
    assert_eq!(logins(&explain(&["-A"])), [first, last, all]);
    let run = explain(&["-A", "-O", "PubkeyAuthentication=no", "-O", "PreferredAuthentications=password,publickey"]);
    assert_eq!(logins(&run), ["methods password"]);
    let rsa = "# not tried: identityfile ~/.ssh/id_rsa\t# default: PubkeyAcceptedAlgorithms does not allow it";
    assert_eq!(logins(&explain(&["-A", "-O", "PubkeyAcceptedAlgorithms=ssh-ed25519"])), [first, rsa, all]);
    // A file that the user named is listed, even if it is missing.
    let (own, missing) = (env.ssh_dir().join("own"), env.path("missing"));
    let (own, missing) = (own.display().to_string(), missing.display().to_string());
    let config = env.file("config", format!("IdentityFile {missing}\nIdentityFile {own}\n"));
    let run = explain(&["-A", "-F", &config.display().to_string()]);
    let absent = format!("# not tried: identityfile {missing}\t# {}:1: No such file or directory", config.display());
    assert_eq!(logins(&run), [format!("identityfile {own}\t# {}:2", config.display()), absent, all.to_owned()]);
}

#[test]
fn the_agent_s_keys_stand_where_they_are_tried() {
    let env = Env::without_key();
    for name in ["one", "two"] {
        ssh_keygen(&env.path(name), &["-q", "-t", "ed25519", "-N", "", "-C", name]);
    }
    let agent = Agent::start(&env);
    let explain = |args: &[&str]| {
        let pssh = env.pssh().hosts(["h"]).variable("SSH_AUTH_SOCK", &agent.socket);
        pssh.args(["--explain", "-A"]).args(args).run()
    };
    let methods = "methods publickey,keyboard-interactive,password";
    for name in ["one", "two"] {
        agent.add(&env, &env.path(name));
    }
    let key = |name: &str| format!("agentkey ssh-ed25519 {name}\t# agent {}", agent.socket.display());
    let run = explain(&[]);
    assert_eq!(logins(&run), [key("one"), key("two"), methods.to_owned()]);
    let socket = format!("identityagent {}\t# SSH_AUTH_SOCK\n", agent.socket.display());
    run.check(text(&run).contains(&socket), "the agent");
    // One whose private half is only there.
    fs::remove_file(env.path("two")).expect("the private key");
    let public = env.path("two").display().to_string();
    let named = format!("identityfile {public}\t# --identity");
    assert_eq!(logins(&explain(&["--identity", &public])), [named.clone(), key("one"), methods.to_owned()]);
    let only = ["--identity", &public, "-O", "IdentitiesOnly=yes"];
    assert_eq!(logins(&explain(&only)), [named, methods.to_owned()]);
    let run = explain(&["--agent", "/nonexistent/agent"]);
    assert_eq!(
        logins(&run),
        [
            "# not tried: identityagent /nonexistent/agent\t# No such file or directory",
            "methods keyboard-interactive,password",
            "# not tried: method publickey\t# no key to offer"
        ]
    );
}

#[test]
fn algorithms_show_as_they_are_offered() {
    let env = Env::new();
    let run = env.pssh().hosts(["h"]).args(["--explain", "-O", "Ciphers=-chacha*,aes128-*"]).run();
    run.exits(0);
    let line = "ciphers aes256-gcm@openssh.com,aes192-ctr,aes256-ctr\t# -O Ciphers=-chacha*,aes128-*";
    run.check(text(&run).lines().any(|own| own == line), line);
    for keyword in ["kexalgorithms", "hostkeyalgorithms", "macs"] {
        let is_it = |line: &str| line.starts_with(&format!("{keyword} ")) && line.ends_with("\t# default");
        run.check(text(&run).lines().any(is_it), keyword);
    }
}
