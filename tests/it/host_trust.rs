//! What decides whether a host is trusted, besides lines of known_hosts for its key: revoked authorities and certificates,
//! KnownHostsCommand, NoHostAuthenticationForLocalhost, and files that cannot be read. The verdicts on a single key are
//! compared with `ssh` in `host_certificates`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getuid};

use crate::bin::{Env, path_of, public_line, ssh_keygen, tool};
use crate::sshd::{Setup, Sshd, current_user, marked};
use pssh::internal::Program;

/// The number of a user without files (nobody).
const NOBODY: u32 = 65534;

/// A server with a certified key, whose plain key is known, and which is number 7 of its authority.
fn certified(env: &Env, hosts: usize) -> Sshd {
    ssh_keygen(&env.path("ca"), &["-t", "ed25519"]);
    let host_key = env.path("certified");
    ssh_keygen(&host_key, &["-t", "ed25519"]);
    let args = ["-q", "-h", "-I", "rack7", "-z", "7", "-s"].map(std::ffi::OsStr::new);
    let (ca, public) = (env.path("ca"), env.path("certified.pub"));
    tool("ssh-keygen", &[&args[..], &[ca.as_os_str(), public.as_os_str()]].concat());
    let config =
        format!("HostKey {}\nHostCertificate {}\n", host_key.display(), env.path("certified-cert.pub").display());
    let setup = Setup { hosts, host_keys: &[], config: &config, trusted: false, ..Setup::default() };
    let sshd = Sshd::start(env, setup);
    for label in sshd.labels() {
        env.trust(&format!("[{label}]:{} {}\n", sshd.port(), public_line(&host_key)));
    }
    sshd
}

/// A list of revoked keys, made by `ssh-keygen -k`.
fn list(env: &Env, name: &str, text: &str) -> PathBuf {
    let (list, input, ca) = (env.path(name), env.file("input", text), env.path("ca.pub"));
    let args: [&std::ffi::OsStr; 7] =
        ["-q".as_ref(), "-k".as_ref(), "-s".as_ref(), ca.as_ref(), "-f".as_ref(), list.as_ref(), input.as_ref()];
    tool("ssh-keygen", &args);
    list
}

#[test]
fn a_revoked_certificate_is_refused_without_a_line_for_its_authority() {
    let env = Env::new();
    let sshd = certified(&env, 2);
    let bastion = Sshd::start(&env, Setup::default());
    let known = fs::read_to_string(env.known_hosts()).expect("known_hosts");
    let authority = public_line(&env.path("ca"));
    let [first, second] = [0, 1].map(|place| sshd.labels()[place].clone());
    // Directly, behind a jump host that is well, and by a jump host that is revoked.
    let (direct, behind) = (Vec::new(), vec!["-J".to_owned(), bastion.hosts()[0].clone()]);
    let by = vec!["-J".to_owned(), sshd.hosts()[1].clone()];
    for (args, hosts) in [(&direct, &sshd.hosts()[..]), (&behind, &sshd.hosts()[..]), (&by, &sshd.hosts()[..1])] {
        let pssh = || env.pssh().hosts(hosts).arg("-v").args(args).args(["-O", "LogLevel=INFO"]);
        fs::write(env.known_hosts(), &known).expect("known_hosts");
        pssh().arg("true").run().exits(0).stderr_lacks("certificate");
        let refused = |run: crate::bin::Run| {
            run.exits(4).stderr_has("is REVOKED by ").stdout_is("");
            let word = if args == &by { "proxy: " } else { "hostkey: " };
            run.ends(&first, word);
            if hosts.len() > 1 {
                run.ends(&second, word);
            }
        };
        for mode in ["strict", "accept-new", "off"] {
            // ssh_config of the jump hosts is not that of the command line, so that only the line counts for them.
            fs::write(env.known_hosts(), format!("{known}@revoked * {authority}\n")).expect("known_hosts");
            refused(pssh().args(["--host-key-check", mode, "echo", "in"]).run());
        }
        fs::write(env.known_hosts(), &known).expect("known_hosts");
        let texts = [format!("key: {authority}\n"), format!("sha256: {authority}\n"), "serial: 7\n".to_owned()];
        for text in texts.iter().map(String::as_str).chain(["id: rack7\n"]) {
            let revoked = list(&env, "revoked", text);
            let config = env.file("ssh_config", format!("RevokedHostKeys {}\n", revoked.display()));
            refused(pssh().arg("-F").arg(config).args(["echo", "in"]).run());
        }
        // What concerns others leaves the plain key, whose certificate has no authority here.
        let revoked = list(&env, "others", "serial: 8\nid: rack8\n");
        let config = env.file("ssh_config", format!("RevokedHostKeys {}\n", revoked.display()));
        let run = pssh().arg("-F").arg(config).arg("true").run();
        run.exits(0).stderr_has("which is not a @cert-authority for this host").stderr_has("is known from");
    }
}

#[test]
fn known_hosts_that_cannot_be_read_stops_the_run() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let dir = env.path("dir");
    fs::create_dir(&dir).expect("a directory");
    let shown = dir.display();
    let line =
        |keyword: &str| env.file("ssh_config", format!("Host *\n {keyword} {} {shown}\n", env.known_hosts().display()));
    let table = env.file("hosts.toml", format!("[host.'{}']\nknown-hosts = '{shown}'\n", sshd.label()));
    let option = |keyword: &str| vec!["-O".to_owned(), format!("{keyword}={} {shown}", env.known_hosts().display())];
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (in_file, path) = (line("UserKnownHostsFile"), |path: &Path| path.display().to_string());
    let cases = [
        (words(&["--known-hosts", &path(&dir)]), format!("--known-hosts: known_hosts file {shown}: ")),
        (
            words(&["--known-hosts", &path(&env.known_hosts()), "--known-hosts", &path(&dir)]),
            "--known-hosts: ".to_owned(),
        ),
        (option("UserKnownHostsFile"), "-O UserKnownHostsFile=".to_owned()),
        (option("GlobalKnownHostsFile"), "-O GlobalKnownHostsFile=".to_owned()),
        (words(&["-F", &path(&in_file)]), format!("{}:2: known_hosts file {shown}: ", in_file.display())),
        (words(&["--host-config", &path(&table)]), format!("known_hosts file {shown}: ")),
    ];
    for (args, place) in &cases {
        for mode in ["strict", "accept-new", "off"] {
            let run = env.pssh().hosts(sshd.hosts()).args(args).args(["--host-key-check", mode, "true"]).run();
            run.exits(2).stderr_has(place).stderr_has("Is a directory; name a file with --known-hosts").stdout_is("");
        }
    }
    // The default file, and that of a jump host.
    let config = format!("Host {}\n GlobalKnownHostsFile {shown}\n", sshd.label());
    let config = env.file("ssh_config", config);
    let run = env.pssh().hosts(["web1"]).arg("-F").arg(config).args(["-J", &sshd.hosts()[0], "true"]).run();
    run.exits(2).stderr_has(&format!("known_hosts file {shown}: Is a directory"));
    fs::remove_file(env.known_hosts()).expect("known_hosts");
    // A missing one is as good as an empty one; the key is added to it.
    env.pssh().hosts(sshd.hosts()).args(["--host-key-check", "off", "true"]).run().exits(0);
    fs::remove_file(env.known_hosts()).expect("known_hosts with the key");
    let connections = sshd.connections();
    fs::create_dir(env.known_hosts()).expect("a directory");
    for mode in ["strict", "accept-new", "off"] {
        let run = env.pssh().hosts(sshd.hosts()).args(["--host-key-check", mode, "true"]).run();
        run.exits(2).stderr_has(&format!("known_hosts file {}: Is a directory", env.known_hosts().display()));
    }
    assert_eq!(sshd.connections(), connections);
}

#[test]
fn known_hosts_of_mode_000_stops_the_run_of_an_ordinary_user() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    fs::set_permissions(env.known_hosts(), fs::Permissions::from_mode(0o000)).expect("a mode");
    let mut script = "exec \"$@\"".to_owned();
    if getuid().is_root() {
        // Root reads everything. Another user needs access to the home, and a program outside of ours.
        for path in [env.path(""), env.ssh_dir()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        let program = env.path("program");
        fs::copy(path_of(Program::Pssh), &program).expect("a program");
        let user = format!("--reuid={NOBODY} --regid={NOBODY} --clear-groups");
        script = format!("shift; exec setpriv {user} {} \"$@\"", program.display());
    }
    for mode in ["strict", "accept-new", "off"] {
        let run = env.pssh().hosts(sshd.hosts()).args(["--host-key-check", mode, "true"]).shell(&script).run();
        run.exits(2).stderr_has(&format!("known_hosts file {}: Permission denied", env.known_hosts().display()));
    }
    assert_eq!(sshd.connections(), 0);
}

/// A server that only a command knows.
fn unknown(env: &Env, hosts: usize) -> Sshd {
    Sshd::start(env, Setup { hosts, trusted: false, ..Setup::default() })
}

/// KnownHostsCommand as an option, which runs this script with these arguments.
fn command(env: &Env, script: &str, args: &str) -> String {
    let path = env.file("script", format!("{script}\n"));
    format!("KnownHostsCommand=/bin/sh {} {args}", path.display())
}

#[test]
fn a_command_knows_hosts_and_jump_hosts() {
    let env = Env::new();
    let (sshd, bastion) = (unknown(&env, 3), unknown(&env, 1));
    let keys: String = [&sshd, &bastion].map(Sshd::known_hosts).concat();
    let lines = env.file("lines", keys);
    let option = command(&env, &format!("echo \"for $1\" >&2; grep -F \"$1 \" {}", lines.display()), "%H");
    let config = env.file("ssh_config", format!("{}\n", option.replacen('=', " ", 1)));
    // Of a name without the port it knows nothing, and grep says so by its exit status.
    let run = env.pssh().hosts(sshd.hosts()).args(["-O", &option, "true"]).run();
    run.exits(4).ends(&sshd.label(), "hostkey: the key of [127.0.1.1]:");
    run.check(run.outcome(&sshd.label()).contains("KnownHostsCommand /bin/sh: it exited with 1: for 127.0.1.1"), "why");
    let option = command(&env, &format!("echo \"for $1\" >&2; grep -F \"$1 \" {} || :", lines.display()), "%H");
    fs::write(&config, format!("{}\n", option.replacen('=', " ", 1))).expect("ssh_config");
    let run = env.pssh().hosts(sshd.hosts()).args(["-v", "-O", &option, "true"]).run();
    run.exits(0).stderr_has("is known from KnownHostsCommand-HOSTNAME:1");
    run.stderr_has(&format!("KnownHostsCommand: for [127.0.1.3]:{}", sshd.port()));
    env.pssh().hosts(sshd.hosts()).arg("true").run().exits(4).ends(&sshd.label(), "hostkey: ");
    let pssh = || env.pssh().hosts(sshd.hosts()).args(["-J", &bastion.hosts()[0]]);
    pssh().arg("-F").arg(&config).arg("true").run().exits(0);
    // As with ssh, an option is not for the jump host.
    pssh().args(["-O", &option, "true"]).run().exits(4).ends(&sshd.label(), "proxy: ");
}

#[test]
fn a_command_that_knows_another_key_refuses_the_host() {
    let env = Env::new();
    let sshd = unknown(&env, 1);
    ssh_keygen(&env.path("other"), &["-t", "ed25519"]);
    let option = command(&env, &format!("echo \"$1 {}\"", public_line(&env.path("other"))), "%H");
    let run = env.pssh().hosts(sshd.hosts()).args(["-O", &option, "true"]).run();
    run.exits(4).ends(&sshd.label(), "hostkey: the key of ");
    let detail = "but KnownHostsCommand-HOSTNAME:1 has another key";
    run.check(run.outcome(&sshd.label()).contains(detail), detail);
    run.hints(&sshd.label(), "correct what KnownHostsCommand prints for it");
}

#[test]
fn a_command_that_fails_refuses_the_host() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let cases = [
        ("KnownHostsCommand=/no/such/program %H".to_owned(), "/no/such/program: No such file or directory"),
        (command(&env, "exec head -c 80000000 /dev/zero", ""), "it printed more than 64 MiB"),
    ];
    for (option, words) in &cases {
        for mode in ["strict", "off"] {
            let run = env.pssh().hosts(sshd.hosts()).args(["--host-key-check", mode, "-O", option, "true"]).run();
            run.exits(4).ends(&sshd.label(), "hostkey: the key of ");
            run.check(run.outcome(&sshd.label()).contains(words), words);
        }
    }
}

#[test]
fn a_command_that_does_not_end_is_ended_with_all_that_it_has_started() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let mark = ("PSSH_TEST_COMMAND", format!("{}", std::process::id()));
    let is_clean = || {
        // They have been killed by now; the system may take a moment.
        let deadline = Instant::now() + Duration::from_secs(5);
        let left = || marked(&format!("{}={}", mark.0, mark.1));
        while !left().is_empty() {
            assert!(Instant::now() < deadline, "{:?}", left());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // It hangs, its child does, it has closed its output, or it prints without an end.
    for script in [
        "sleep 600",
        "sleep 600 & wait",
        "exec >&- 2>&-; sleep 600",
        "exec >&-; yes >&2",
        "[ $1 = ORDER ] || sleep 600",
    ] {
        let option = command(&env, script, "%I");
        let pssh = || {
            let pssh = env.pssh().hosts(sshd.hosts()).variable(mark.0, &mark.1);
            pssh.args(["--num-retries", "1", "-O", &option])
        };
        let run = pssh().args(["--connect-timeout", "2", "true"]).run();
        run.exits(3).within(10).ends(&sshd.label(), "timeout connect");
        run.check(run.outcome(&sshd.label()).contains("KnownHostsCommand has not ended"), "what was waited for");
        is_clean();
        let running = pssh().args(["true"]).start();
        std::thread::sleep(Duration::from_secs(1));
        running.signal(Signal::INT);
        let run = running.finish();
        run.dies_by(Signal::INT).within(10).ends(&sshd.label(), "cancelled");
        is_clean();
    }
}

#[test]
fn a_command_that_cannot_be_run_is_refused_before_anything_connects() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    for (command, words) in [
        ("echo %H", "KnownHostsCommand: \"echo\" is not an absolute path"),
        ("~/bin/keys %H", "KnownHostsCommand: \"~/bin/keys\" is not an absolute path"),
        ("%H", "KnownHostsCommand: \"%H\" is not an absolute path"),
        ("/bin/echo %z", "KnownHostsCommand: %z is not a token here"),
        ("/bin/echo %", "KnownHostsCommand: \"%\" ends in a single %"),
        ("/bin/echo ${PSSH_UNSET}", "KnownHostsCommand: the variable \"PSSH_UNSET\" is not set"),
        ("/bin/echo 'it", "a quote isn't closed"),
        ("", "knownhostscommand: its argument is missing"),
    ] {
        let config = env.file("ssh_config", format!("\nKnownHostsCommand {command}\n"));
        let run = env.pssh().hosts(sshd.hosts()).arg("-F").arg(&config).arg("true").run();
        run.exits(2).stderr_has(words).stderr_has(&format!("{}:2: ", config.display()).replace(":2: ", ":2"));
    }
    let run = env.pssh().hosts(sshd.hosts()).args(["-O", "NoHostAuthenticationForLocalhost=perhaps", "true"]).run();
    run.exits(2).stderr_has("nohostauthenticationforlocalhost: \"perhaps\" is not yes or no");
    assert_eq!(sshd.connections(), 0);
    let config = env.file("ssh_config", "KnownHostsCommand /bin/echo %H\nNoHostAuthenticationForLocalhost yes\n");
    let run = env.pssh().hosts(sshd.hosts()).arg("-F").arg(&config).args(["--explain", "true"]).run();
    let shown = run.exits(0).stdout_text();
    for (line, place) in [("knownhostscommand /bin/echo %H", 1), ("nohostauthenticationforlocalhost yes", 2)] {
        let place = format!("{}:{place}", config.display());
        run.check(shown.lines().any(|it| it.contains(line) && it.contains(&place)), line);
    }
}

/// What ssh and pssh do with the key of this machine, whatever known_hosts says.
#[test]
fn the_key_of_localhost_is_not_checked_where_that_is_configured() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { trusted: false, ..Setup::default() });
    ssh_keygen(&env.path("other"), &["-t", "ed25519"]);
    let (own, other) = (sshd.public_key(0), public_line(&env.path("other")));
    let name = format!("[127.0.1.1]:{}", sshd.port());
    let known = env.path("kh");
    let config = env.file(
        "ssh_config",
        format!(
            "Host *\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n BatchMode yes\n UserKnownHostsFile {}\n GlobalKnownHostsFile none\n \
             StrictHostKeyChecking yes\n UpdateHostKeys no\n",
            current_user(),
            env.ssh_dir().join("id_ed25519").display(),
            known.display()
        ),
    );
    let revoked = env.file("revoked", format!("{own}\n"));
    let options = "NoHostAuthenticationForLocalhost=yes";
    for (lines, more) in [
        (String::new(), ""),
        (String::new(), "HostKeyAlias=web1"),
        (format!("{name} {other}\n"), ""),
        (format!("@revoked * {own}\n"), ""),
        (format!("@revoked * {own}\n"), "HostKeyAlias=web1"),
        (format!("{name} {own}\n"), &format!("RevokedHostKeys={}", revoked.display())),
        (String::new(), "NoHostAuthenticationForLocalhost=no"),
        (format!("{name} {own}\n"), "NoHostAuthenticationForLocalhost=no"),
        (String::new(), "KnownHostsCommand=/bin/sh -c '[ $0 = ORDER ]' %I"),
    ] {
        fs::write(&known, &lines).expect("known_hosts");
        let options: Vec<&str> = [more, options].into_iter().filter(|option| !option.is_empty()).collect();
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&config).args(options.iter().flat_map(|option| ["-o", option]));
        ssh.args(["-p", &sshd.port().to_string(), "127.0.1.1", "true"]).stdin(Stdio::null()).stderr(Stdio::null());
        let is_trusted = ssh.status().expect("ssh").success();
        let pssh = env.bare_pssh().hosts(sshd.hosts()).arg("-v").arg("-F").arg(&config);
        let run = pssh.args(options.iter().flat_map(|option| ["-O", option])).arg("true").run();
        run.check(run.status.success() == is_trusted, &format!("ssh: {is_trusted} with {options:?} and {lines:?}"));
        if !is_trusted {
            run.ends(&sshd.label(), "hostkey: ");
        }
        assert_eq!(fs::read_to_string(&known).expect("known_hosts"), lines);
    }
    // Behind a jump host, which is local itself, nothing is known to be.
    fs::write(&known, "").expect("known_hosts");
    let (bastion, pssh) = (unknown(&env, 1), env.bare_pssh().hosts(sshd.hosts()));
    let text = fs::read_to_string(&config).expect("ssh_config") + " NoHostAuthenticationForLocalhost yes\n";
    fs::write(&config, text).expect("ssh_config");
    let run = pssh.arg("-F").arg(&config).args(["-J", &bastion.hosts()[0], "true"]).run();
    run.exits(4).ends(&sshd.label(), "hostkey: ");
    env.bare_pssh().hosts(sshd.hosts()).arg("-F").arg(&config).arg("true").run().exits(0);
}
