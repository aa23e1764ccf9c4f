//! The command line, the lists of hosts and the limits of the system: what is refused, before anything connects.

use std::process::Command;

use pssh::internal::Program;

use crate::bin::{Env, Pssh};
use crate::embedded::{Behaviour, Config, Server};
use crate::sshd::{Setup, Sshd};

/// A home and a server that answers every command with nothing and exit status 0.
pub(crate) fn answering() -> (Env, Server) {
    let env = Env::new();
    let server = Server::start(Config {
        authorised: env.public_lines(),
        behaviour: Behaviour::Cheap { stdout: Vec::new(), status: 0 },
        ..Config::default()
    });
    env.trust(&server.known_hosts());
    (env, server)
}

/// Fails unless it is refused as bad usage with all of these words, and `server` has not seen anybody.
#[track_caller]
pub(crate) fn refused(server: &Server, pssh: Pssh, words: &[&str]) {
    let run = pssh.run();
    run.exits(2).stdout_is("");
    for words in words {
        run.stderr_has(words);
    }
    run.check(server.connections() == 0, "nothing was connected to");
}

#[test]
fn bad_lines_of_a_hosts_file_are_all_named_by_place() {
    let (env, server) = answering();
    let address = server.addr();
    let text = format!("{address}\n# a comment\n  web1:0 # port\nweb2 a b\n\nx@web3 y\nweb4,web5\n-oProxyCommand=x\n");
    let file = env.file("hosts.txt", text);
    let at = |place: &str| format!("pssh: {}:{place}: ", file.display());
    refused(
        &server,
        env.pssh().arg("-h").arg(&file).arg("true"),
        &[
            &(at("3:3") + "\"web1:0\": the port \"0\" is not a number from 1 to 65535"),
            &(at("4:8") + "\"b\": expected [user@]host[:port] [user]"),
            &(at("6:8") + "\"y\": the user is given twice"),
            &(at("7:1") + "\"web4,web5\": hosts are separated by blanks"),
            &(at("8:1") + "\"-oProxyCommand=x\": a host name cannot start with -"),
        ],
    );
}

#[test]
fn a_file_that_is_no_list_of_hosts_is_not_quoted_whole() {
    let (env, server) = answering();
    let noise: Vec<u8> = (0..5000_u32).map(|number| ((number * 7919) >> 3) as u8).collect();
    let file = env.file("noise", noise);
    let run = env.pssh().hosts([server.addr()]).arg("-h").arg(&file).arg("true").run();
    run.exits(2).stderr_has("more bad entries");
    run.check(run.stderr_text().lines().count() <= 12, "the first ones tell what kind of file it is");
    run.check(run.stderr.iter().all(|byte| *byte == b'\n' || !byte.is_ascii_control()), "nothing for the terminal");
}

#[test]
fn bad_hosts_on_the_command_line() {
    let (env, server) = answering();
    let good = server.addr().to_string();
    for (bad, words) in [
        ("web1:ssh", "pssh: -H: \"web1:ssh\": the port \"ssh\" is not a number"),
        ("a:b:c", "more than one colon"),
        ("@web1", "the user before the @ is missing"),
        ("[::1]22", "expected :port after the ]"),
        ("web1;reboot", "cannot contain ';'"),
    ] {
        refused(&server, env.pssh().hosts([&good, bad]).arg("true"), &[words]);
    }
}

#[test]
fn a_list_without_hosts_is_no_success() {
    let (env, server) = answering();
    let empty = env.file("empty", "# nobody\n\n");
    refused(&server, env.pssh().arg("-h").arg(&empty).arg("true"), &["pssh: the list of hosts is empty: no hosts in "]);
    refused(&server, env.pssh().args(["-H", " ", "true"]), &["pssh: the list of hosts is empty\n"]);
    refused(&server, env.pssh().args(["-h", "-", "true"]), &["pssh: the list of hosts is empty: no hosts in -\n"]);
    refused(&server, env.pssh().arg("true"), &["pssh: there are no hosts: name them with -H"]);
    refused(&server, env.pssh().args(["root@web1", "uptime"]), &["did you mean: pssh -F none -H root@web1 uptime"]);
}

#[test]
fn a_hosts_file_that_is_missing_is_our_failure() {
    let (env, server) = answering();
    let run = env.pssh().hosts([server.addr()]).args(["-h", "missing.txt", "true"]).run();
    run.exits(1).stderr_has("pssh: missing.txt: cannot read the hosts file: No such file or directory; ");
    run.check(server.connections() == 0, "nothing was connected to");
}

#[test]
fn no_command() {
    let (env, server) = answering();
    refused(&server, env.pssh().hosts([server.addr()]), &["pssh: there is no command to run"]);
    refused(&server, env.pssh().hosts([server.addr()]).arg("--"), &["pssh: there is no command to run"]);
}

#[test]
fn nothing_at_all_shows_how_to_begin() {
    let run = Env::new().bare_pssh().run();
    run.exits(2).stdout_is("").stderr_has("Usage: pssh").stderr_has("--help");
}

#[test]
fn questions_are_answered_on_standard_output() {
    let run = Env::new().pssh().arg("--help").run();
    run.exits(0).check(run.stderr.is_empty(), "nothing on stderr");
    let help = String::from_utf8_lossy(&run.stdout).into_owned();
    for words in ["Usage: pssh [OPTIONS] COMMAND...", "--connect-timeout", "--host-key-check", "Exit status (3 beats"] {
        run.check(help.contains(words), words);
    }
    let version = concat!("pssh ", env!("CARGO_PKG_VERSION"), "\n");
    Env::new().pssh().arg("--version").run().exits(0).stdout_is(version);
    Env::new().pssh().arg("-V").run().exits(0).stdout_is(version);
}

#[test]
fn options_that_do_not_exist() {
    let (env, server) = answering();
    let pssh = || env.pssh().hosts([server.addr()]);
    refused(&server, pssh().args(["--timeuot", "3", "true"]), &["--timeuot", "--timeout"]);
    refused(&server, pssh().args(["--identty=x", "true"]), &["--identty", "--identity"]);
    refused(&server, pssh().args(["--host-key-check", "maybe", "true"]), &["maybe", "strict", "accept-new", "off"]);
}

#[test]
fn values_that_are_not_what_they_should_be() {
    let (env, server) = answering();
    let pssh = || env.pssh().hosts([server.addr()]);
    refused(&server, pssh().args(["-p", "0", "true"]), &["at least one host"]);
    refused(&server, pssh().args(["-p", "many", "true"]), &["expected a whole number"]);
    refused(&server, pssh().args(["-t", "soon", "true"]), &["1m30s"]);
    refused(&server, pssh().args(["--connect-timeout", "0", "true"]), &["cannot be 0"]);
    refused(&server, pssh().args(["-l-x", "true"]), &["-l \"-x\": a user name cannot start with -"]);
    refused(&server, pssh().args(["-l", "a;b", "true"]), &["-l \"a;b\": "]);
    refused(&server, pssh().args(["--agent", "a", "--no-agent", "true"]), &["--no-agent"]);
    refused(&server, pssh().variable("PSSH_PAR", "many").arg("true"), &["PSSH_PAR=many: "]);
    refused(&server, pssh().variable("PSSH_TIMEOUT", "x").arg("true"), &["PSSH_TIMEOUT=x: "]);
    refused(&server, pssh().variable("PSSH_USER", "-x").arg("true"), &["PSSH_USER \"-x\": "]);
}

#[test]
fn options_end_at_the_first_word_of_the_command() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let label = sshd.label();
    for (args, said) in [
        (&["echo", "-p", "5", "--help", "-h"][..], "-p 5 --help -h"),
        (&["--", "echo", "a"], "a"),
        (&["echo", "--", "b"], "-- b"),
        (&["-t5", "--", "echo", "--bogus"], "--bogus"),
    ] {
        env.pssh().hosts(sshd.hosts()).args(args).run().exits(0).stdout_is(&format!("{label}: {said}\n"));
    }
}

#[test]
fn hosts_from_standard_input_and_from_several_places() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 4, ..Setup::default() });
    let hosts = sshd.hosts();
    let file = env.file("more", format!("\u{feff}{} # the second\r\n", hosts[1]));
    let run = env
        .pssh()
        .args(["-p", "1", "-H", &hosts[2], "-h", "-", "-h"])
        .arg(&file)
        .args(["-H", &hosts[3], "--", "echo in; cat"])
        .stdin(format!("{}\n", hosts[0]))
        .run();
    run.exits(0);
    let order: Vec<String> = run.outcomes().into_iter().map(|(label, _)| label).collect();
    run.check(order == sshd.labels(), "files first, then the command line");
    for label in sshd.labels() {
        run.check(run.stdout_of(&label) == b"in\n", "the list is not the command's input");
    }
}

#[test]
fn settings_from_the_environment() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let run = env.pssh().hosts(sshd.hosts()).variable("PSSH_TIMEOUT", "1").args(["sleep", "300"]).run();
    run.exits(3).ends(&sshd.label(), "timeout command: not finished within 1 s");
    let run = env.pssh().hosts(sshd.hosts()).variable("PSSH_TIMEOUT", "1").args(["-t0", "sleep", "2"]).run();
    run.exits(0);
}

#[test]
fn a_limit_on_open_files_too_low_for_the_pool() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 20, ..Setup::default() });
    let pssh = || env.pssh().hosts(sshd.hosts()).args(["-p", "20", "true"]);
    let run = pssh().shell("ulimit -n 80; exec \"$@\"").run();
    run.exits(0)
        .stderr_has("pssh: only 80 files may be open (ulimit -Hn), which is enough for 8 hosts at once; 20 need 104\n");
    run.stderr_has("pssh: 20 hosts: 20 ok\n");
    // The soft limit is raised without a word.
    let run = pssh().shell("ulimit -Sn 40; exec \"$@\"").run();
    run.exits(0).stderr_lacks("files").stderr_has("pssh: 20 hosts: 20 ok\n");
    let before = sshd.connections();
    let run = pssh().shell("ulimit -n 40; exec \"$@\"").run();
    run.exits(1).stderr_has("pssh: only 40 files may be open, too few for a single host; ulimit -n 66 is enough\n");
    run.check(sshd.connections() == before, "nothing was connected to");
}

#[test]
fn it_needs_neither_a_home_nor_much_of_an_environment() {
    let (env, server) = answering();
    let known_hosts = env.known_hosts();
    let key = env.ssh_dir().join("id_ed25519");
    let output = Command::new(env!("CARGO_BIN_EXE_pssh"))
        .env_clear()
        .current_dir("/")
        .args(["-H", &server.addr().to_string(), "--connect-timeout", "20", "--known-hosts"])
        .arg(known_hosts)
        .arg("--identity")
        .arg(key)
        .arg("true")
        .output()
        .expect("the binary can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn an_option_behind_the_paths_is_not_taken_for_a_target() {
    let env = Env::new();
    let run = |program, words: &[&str]| env.run_of(program).args(["-H", "a"]).args(words).run();
    let refused: [(Program, &[&str]); 3] = [
        (Program::Pscp, &["a", "b", "-r"]),
        (Program::Prsync, &["a/", "/srv/a/", "--delete"]),
        (Program::Pslurp, &["-L", "x", "/etc/motd", "-r"]),
    ];
    for (program, words) in refused {
        let problem = format!("{}: options come before the paths", words[words.len() - 1]);
        run(program, words).exits(2).stderr_has(&problem);
    }
    // What follows -- is a name, and so is a command.
    run(Program::Prsync, &["--dry-run", "--", "a", "--delete"]).exits(0).stdout_is("a: 'rsync' 'a' 'a:./--delete'\n");
    run(Program::Pssh, &["--dry-run", "ls", "-l"]).exits(0).stdout_is("a: ls -l\n");
}

#[test]
fn an_empty_target_is_not_the_home_directory() {
    let env = Env::new();
    for program in [Program::Pscp, Program::Prsync] {
        let run = env.run_of(program).args(["-H", "a", "/etc/hostname", ""]).run();
        run.exits(2).stderr_has("the target path is empty: is a variable in it not set?");
    }
}

#[test]
fn what_is_for_a_single_jump_host_is_for_no_other_way() {
    let env = Env::new();
    for option in
        [["--proxy-user", "joe"], ["--proxy-port", "99"], ["--proxy-identity", "k"], ["--proxy-password-file", "p"]]
    {
        for way in [["-J", "b"], ["--proxy-command", "nc %h %p"]] {
            let run = env.pssh().args(["-H", "a"]).args(option).args(way).arg("true").run();
            run.exits(2).stderr_has(option[0]).stderr_has("cannot be used with");
        }
    }
}
