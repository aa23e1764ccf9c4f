//! ssh_config(5) through the binary: what it says about a host is what happens, and what `--explain` tells.

use std::time::Duration;

use crate::bin::{Env, public_line, ssh_keygen, tool};
use crate::embedded::{Behaviour, Config, Event, Fault, Server, Step};
use crate::sshd::{HostKey, Setup, Sshd, current_user};

/// A home without anything in the usual places, and a server that lets its key in.
fn strange_home(config: impl Fn(&Env, &Sshd) -> String) -> (Env, Sshd) {
    let env = Env::without_key();
    let key = env.path("key");
    ssh_keygen(&key, &["-t", "ed25519", "-N", ""]);
    let authorized = vec![public_line(&key)];
    let sshd = Sshd::start(&env, Setup { trusted: false, authorized, ..Setup::default() });
    env.file("kh", sshd.known_hosts());
    std::fs::create_dir_all(env.ssh_dir()).expect("~/.ssh");
    std::fs::write(env.ssh_dir().join("config"), config(&env, &sshd)).expect("ssh_config");
    (env, sshd)
}

/// All that is needed to reach the server as `web`.
fn web(env: &Env, sshd: &Sshd) -> String {
    format!(
        "Host web\n HostName {}\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n HashKnownHosts no\n",
        sshd.label(),
        sshd.port(),
        current_user(),
        env.path("key").display(),
        env.path("kh").display(),
    )
}

#[test]
fn an_alias_is_reached_with_all_that_its_block_says() {
    let (env, _sshd) = strange_home(web);
    let run = env.pssh().hosts(["web"]).args(["echo", "in"]).run();
    run.exits(0).stdout_is("web: in\n").ends("web", "ok (exit 0)");
    // Without the block nothing of that is known.
    let run = env.pssh().hosts(["web"]).args(["-F", "none", "--num-retries", "1", "echo", "in"]).run();
    run.exits(4).ends("web", "dns: ");
}

#[test]
fn the_entry_beats_the_options_beat_the_files() {
    let (env, sshd) = strange_home(web);
    let run = env.pssh().hosts([format!("nobody-{}@web", sshd.port())]).arg("true").run();
    run.exits(4).ends("web", "auth: nobody-");
    let run = env.pssh().hosts(["web"]).args(["-l", "no-such-user", "true"]).run();
    run.exits(4).ends("web", "auth: no-such-user");
    let run = env.pssh().hosts(["web"]).args(["-O", "User=no-such-user", "-O", "User=other", "true"]).run();
    run.exits(4).ends("web", "auth: no-such-user");
    let run = env.pssh().hosts(["web"]).args(["-O", "PubkeyAuthentication=no", "true"]).run();
    run.exits(4).ends("web", "auth: ");
}

#[test]
fn host_keys_are_judged_as_configured() {
    let unknown = |env: &Env, sshd: &Sshd| {
        web(env, sshd).replace(&env.path("kh").display().to_string(), &env.path("new").display().to_string())
    };
    let (env, sshd) = strange_home(unknown);
    env.pssh().hosts(["web"]).arg("true").run().exits(4).ends("web", "hostkey: ");
    env.pssh().hosts(["web"]).args(["-O", "StrictHostKeyChecking=accept-new", "true"]).run().exits(0);
    let added = std::fs::read_to_string(env.path("new")).expect("known_hosts");
    assert!(added.starts_with(&format!("[{}]:{} ", sshd.label(), sshd.port())), "{added}");
    env.pssh().hosts(["web"]).arg("true").run().exits(0);
    // Under an alias it is not known, and the alias has no port.
    let alias = ["-O", "HostKeyAlias=Fleet", "-O", "StrictHostKeyChecking=accept-new", "true"];
    env.pssh().hosts(["web"]).args(alias).run().exits(0);
    let added = std::fs::read_to_string(env.path("new")).expect("known_hosts");
    assert!(added.lines().nth(1).is_some_and(|line| line.starts_with("fleet ")), "{added}");
}

#[test]
fn a_jump_host_has_a_block_of_its_own() {
    let (env, sshd) = strange_home(|env, sshd| {
        let target = format!(
            "Host inner\n HostName {}\n Port {}\n User {}\n ProxyJump web\nHost *\n IdentityFile {}\n UserKnownHostsFile {}\n",
            sshd.label(),
            sshd.port(),
            current_user(),
            env.path("key").display(),
            env.path("kh").display(),
        );
        web(env, sshd) + &target
    });
    let run = env.pssh().hosts(["inner"]).args(["-v", "echo", "in"]).run();
    run.exits(0).stdout_is("inner: in\n").stderr_has("connected through ");
    assert_eq!(sshd.connections(), 2, "one to the jump host, one from it");
    let run = env.pssh().hosts(["inner"]).args(["-J", "none", "-v", "echo", "in"]).run();
    run.exits(0).stderr_lacks("connected through ");
}

#[test]
fn the_jump_host_of_a_jump_host_is_gone_through_first() {
    let (env, sshd) = strange_home(|env, sshd| {
        let block =
            |name: &str, jump: &str| web(env, sshd).replace("Host web\n", &format!("Host {name}\n ProxyJump {jump}\n"));
        web(env, sshd)
            + &block("middle", "web")
            + &block("inner", "middle")
            + &block("round", "loop")
            + &block("loop", "round")
    });
    let run = env.pssh().hosts(["inner"]).args(["echo", "in"]).run();
    run.exits(0).stdout_is("inner: in\n");
    assert_eq!(sshd.connections(), 3);
    let run = env.pssh().hosts(["round"]).args(["echo", "in"]).run();
    run.exits(2).stderr_has("more than 16 jump hosts");
    assert_eq!(sshd.connections(), 3);
}

#[test]
fn a_proxy_command_is_run_with_its_tokens_expanded() {
    let (env, sshd) = strange_home(web);
    let command = "bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3'";
    let run = env.pssh().hosts(["web"]).args(["-O", &format!("ProxyCommand={command}"), "-v", "echo", "in"]).run();
    run.exits(0).stdout_is("web: in\n").stderr_has(&format!("/dev/tcp/{}/{}", sshd.label(), sshd.port()));
}

/// A command that makes the connection, and leaves its number in a file.
fn counted_command(env: &Env) -> String {
    let file = env.path("commands").display().to_string();
    format!("bash -c 'echo $$ >> {file}; exec 3<>/dev/tcp/%h/%p; cat <&3 & exec cat >&3'")
}

#[test]
fn the_first_jump_host_is_reached_by_its_own_command() {
    let (env, sshd) = strange_home(|env, sshd| {
        let command = counted_command(env);
        let block = |name: &str, more: &str| web(env, sshd).replace("Host web\n", &format!("Host {name}\n {more}\n"));
        [
            block("outer", &format!("ProxyCommand {command}")),
            // A command of one that is not the first does not count, as for ssh.
            block("second", "ProxyCommand false"),
            block("broken", "ProxyCommand sh -c 'echo no such luck >&2; exit 7'"),
            block("inner", "ProxyJump outer"),
            block("deep", "ProxyJump outer,second"),
            block("lost", "ProxyJump broken"),
        ]
        .concat()
    });
    let run = env.pssh().hosts(["inner", "deep", "lost"]).args(["-v", "--num-retries", "1", "echo", "in"]).run();
    run.exits(4).ends("inner", "ok").ends("deep", "ok").stderr_has("connected by bash -c");
    run.ends("lost", "proxy: sh -c 'echo no such luck >&2; exit 7': the command exited with 7: no such luck");
    // outer and two behind it, and one behind second.
    assert_eq!(sshd.connections(), 4);
    let started = std::fs::read_to_string(env.path("commands")).expect("the numbers of the commands");
    assert_eq!(started.lines().count(), 1, "both share one connection");
    for number in started.lines() {
        assert!(!std::path::Path::new("/proc").join(number).exists(), "the command {number} is still there");
    }
}

#[test]
fn a_command_for_a_jump_host_does_not_outlive_a_stopped_run() {
    let (env, _sshd) = strange_home(|env, sshd| {
        // It never says anything.
        let file = env.path("commands").display().to_string();
        let silent = format!("bash -c 'echo $$ > {file}; exec sleep 600'");
        let block = |name: &str, more: &str| web(env, sshd).replace("Host web\n", &format!("Host {name}\n {more}\n"));
        block("outer", &format!("ProxyCommand {silent}")) + &block("inner", "ProxyJump outer")
    });
    let run = env.pssh().hosts(["inner"]).args(["echo", "in"]).start();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let number = loop {
        match std::fs::read_to_string(env.path("commands")) {
            Ok(number) if number.ends_with('\n') => break number.trim().to_owned(),
            _ => assert!(std::time::Instant::now() < until, "the command is not started"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    run.signal(rustix::process::Signal::INT);
    run.finish().dies_by(rustix::process::Signal::INT).ends("inner", "cancelled").within(20);
    assert!(!std::path::Path::new("/proc").join(number).exists(), "the command is still there");
}

#[test]
fn a_misspelt_option_is_told_what_it_may_mean() {
    let env = Env::new();
    let run = env.pssh().hosts(["web"]).args(["-O", "Compresion=yes", "true"]).run();
    run.exits(2)
        .stderr_has("-O Compresion=yes: \"compresion\" is not a keyword of ssh_config(5); did you mean compression?");
    let run = env.pssh().hosts(["web"]).args(["-O", "ProxyJmp=a", "true"]).run();
    run.exits(2).stderr_has("did you mean proxyjump?");
    let run = env.pssh().hosts(["web"]).args(["-O", "Fruit=apple", "true"]).run();
    run.exits(2).stderr_lacks("did you mean");
}

#[test]
fn ssh_is_not_asked_where_it_would_read_another_file() {
    let (env, sshd) = strange_home(|env, sshd| format!("Match exec true\n Compression no\n{}", web(env, sshd)));
    // It goes by the password database, and HOME is another directory here.
    env.pssh().hosts(["web"]).arg("true").run().exits(2).stderr_has("HOME is another directory");
    let config = env.ssh_dir().join("config");
    let run = env.pssh().hosts(["web"]).arg("-F").arg(config).args(["--num-retries", "1", "true"]).run();
    run.stderr_lacks("HOME");
    assert_eq!(sshd.connections(), 1);
}

#[test]
fn what_is_wrong_is_said_before_anything_connects() {
    let env = Env::new();
    let server = Server::start(Config { authorised: env.public_lines(), ..Config::default() });
    env.trust(&server.known_hosts());
    let file = env.file("config", "Host x\n\n  Prot 22\n");
    let run = env.pssh().hosts([server.addr()]).arg("-F").arg(&file).arg("true").run();
    run.exits(2).stderr_has(&format!("{}:3", file.display())).stderr_has("prot");
    let run = env.pssh().hosts([server.addr()]).args(["-O", "ConnectTimeout=soon", "true"]).run();
    run.exits(2).stderr_has("-O ConnectTimeout=soon");
    let run = env.pssh().hosts([server.addr()]).arg("-F").arg(env.path("none-there")).arg("true").run();
    run.exits(1).stderr_has("none-there: cannot read the file of -F: No such file or directory");
    assert_eq!(server.connections(), 0);
}

#[test]
fn algorithms_are_agreed_on_as_configured() {
    let env = Env::new();
    let keys = &[HostKey::Ed25519, HostKey::Ecdsa, HostKey::Rsa];
    let sshd = Sshd::start(&env, Setup { host_keys: keys, ..Setup::default() });
    let options = [
        ("HostKeyAlgorithms=rsa-sha2-256", "host key ssh-rsa "),
        ("HostKeyAlgorithms=ecdsa-sha2-nistp256", "host key ecdsa-sha2-nistp256 "),
        ("KexAlgorithms=diffie-hellman-group14-sha256", "ok (exit 0)"),
        ("Ciphers=aes128-ctr", "ok (exit 0)"),
        ("MACs=hmac-sha2-256", "ok (exit 0)"),
        ("Compression=yes", "ok (exit 0)"),
    ];
    for (option, shown) in options {
        let run = env.pssh().hosts(sshd.hosts()).args(["-O", option, "-v", "true"]).run();
        run.exits(0).stderr_has(shown);
    }
}

#[test]
fn what_would_weaken_the_check_of_host_keys_is_refused() {
    let env = Env::new();
    let keys = &[HostKey::Rsa];
    let sshd = Sshd::start(&env, Setup { host_keys: keys, ..Setup::default() });
    let run = env.pssh().hosts(sshd.hosts()).args(["-O", "RequiredRSASize=8192", "true"]).run();
    run.exits(4).ends(&sshd.label(), "ssh: host key: the host's RSA key has ");
    env.pssh().hosts(sshd.hosts()).args(["-O", "RequiredRSASize=2048", "true"]).run().exits(0);
    let connections = sshd.connections();
    let run = env.pssh().hosts(sshd.hosts()).args(["-O", "RevokedHostKeys=/no/such/file", "true"]).run();
    run.exits(1).stderr_has("-O RevokedHostKeys=/no/such/file: RevokedHostKeys /no/such/file: No such file");
    assert_eq!(sshd.connections(), connections);
}

#[test]
fn a_host_that_falls_silent_is_found_out_as_configured() {
    let env = Env::new();
    let steps = vec![Step::Stdout(b"before\n".to_vec()), Step::Freeze];
    let behaviour = Behaviour::Script(steps);
    let server = Server::start(Config { authorised: env.public_lines(), behaviour, ..Config::default() });
    env.trust(&server.known_hosts());
    let options = ["-O", "ServerAliveInterval=1", "-O", "ServerAliveCountMax=1"];
    let run = env.pssh().hosts([server.addr()]).args(options).arg("x").run();
    run.exits(4).ends("127.0.0.1", "lost: no sign of life").stdout_is("127.0.0.1: before\n").within(15);
}

#[test]
fn a_quiet_host_that_answers_lives() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let options = ["-O", "ServerAliveInterval=1", "-O", "ServerAliveCountMax=1"];
    env.pssh().hosts(sshd.hosts()).args(options).args(["sleep", "5"]).run().exits(0);
}

#[test]
fn a_connect_timeout_of_ssh_config_counts() {
    let env = Env::new();
    let fault = Some(Fault::SilentBanner);
    let server = Server::start(Config { authorised: env.public_lines(), fault, ..Config::default() });
    let options = ["-O", "ConnectTimeout=1", "--num-retries", "1", "x"];
    let run = env.pssh().hosts([server.addr()]).args(options).run();
    run.exits(3).ends("127.0.0.1", "timeout connect: no SSH banner within 1 s");
    assert!(server.wait_until(Duration::from_secs(5), |server| server.open_connections() == 0));
    assert!(!server.logged().iter().any(|record| matches!(record.event, Event::Exec { .. })));
}

#[test]
fn explain_says_what_ssh_says_and_connects_to_nothing() {
    let (env, sshd) = strange_home(web);
    let run = env.pssh().hosts(["web"]).args(["--explain", "--connect-timeout", "7"]).run();
    run.exits(0);
    let told = String::from_utf8(run.stdout.clone()).expect("text");
    let config = env.ssh_dir().join("config");
    let options = ["-G".as_ref(), "-F".as_ref(), config.as_os_str(), "web".as_ref()];
    let ssh = tool("ssh", &options);
    for keyword in
        ["hostname", "port", "user", "identityfile", "userknownhostsfile", "compression", "serveralivecountmax"]
    {
        let line = ssh.lines().find(|line| line.starts_with(&format!("{keyword} "))).expect("a line of ssh");
        run.check(told.lines().any(|own| own.starts_with(&format!("{line}\t# "))), line);
    }
    run.check(told.contains(&format!("port {}\t# {}:3\n", sshd.port(), config.display())), "the origin");
    run.check(told.contains("connecttimeout 7\t# --connect-timeout\n"), "an option");
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn sshs_letters_for_addresses_and_compression() {
    let env = Env::new();
    let explained = |options: &[&str]| {
        let run = env.pssh().args(["-H", "web1", "--explain"]).args(options).run();
        run.exits(0);
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    assert!(explained(&["-4", "-C"]).contains("addressfamily inet\t# -4\n"));
    assert!(explained(&["-4", "-C"]).contains("compression yes\t# -C\n"));
    assert!(explained(&["-4", "-6"]).contains("addressfamily inet6\t# -6\n"), "the last one counts");
    let sshd = Sshd::start(&env, Setup { config: "LogLevel DEBUG1", ..Setup::default() });
    let run = env.pssh().hosts(sshd.hosts()).args(["-v", "-4", "-C", "true"]).run();
    run.exits(0);
    assert!(sshd.log().contains("compression: zlib"), "{}", sshd.log());
    let run = env.pssh().hosts(sshd.hosts()).args(["-6", "--num-retries", "1", "true"]).run();
    run.exits(4);
}

#[test]
fn log_level_makes_single_hosts_tell_what_they_do() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 2, ..Setup::default() });
    let config = env.file("ssh_config", "Host 127.0.1.2\n  LogLevel VERBOSE\n");
    let run = env.bare_pssh().hosts(sshd.hosts()).arg("-F").arg(&config).arg("true").run();
    run.exits(0).stderr_has("pssh: 127.0.1.2: [").stderr_lacks("pssh: 127.0.1.1: [");
}

#[test]
fn keywords_without_effect_are_named_wherever_they_stand() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let config = env.file("config", "Host *\n RekeyLimit 1M\n ControlMaster auto\n");
    let pssh = || env.bare_pssh().arg("-F").arg(&config).hosts(sshd.hosts()).args(["-O", "VisualHostKey=yes"]);
    let run = pssh().args(["-O", "RekeyLimit 2M", "-v", "true"]).run();
    for note in [
        format!("pssh: {}:2: rekeylimit has no effect here", config.display()),
        format!("pssh: {}:3: controlmaster has no effect here", config.display()),
        "pssh: -O VisualHostKey=yes: visualhostkey has no effect here".to_owned(),
        "pssh: -O RekeyLimit 2M: rekeylimit has no effect here".to_owned(),
    ] {
        run.exits(0).stderr_has(&note);
    }
    pssh().arg("true").run().exits(0).stderr_lacks("no effect");
}

#[test]
fn bytes_that_are_not_text_stop_the_hosts_of_their_block_alone() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let config = env.file("config", b"Host other caf\xe9\n User caf\xe9\nHost *\n Compression no\n");
    let pssh = || env.bare_pssh().arg("-F").arg(&config);
    pssh().hosts(sshd.hosts()).arg("true").run().exits(0);
    let both = pssh().hosts(sshd.hosts()).args(["-H", "other", "true"]).run();
    let place = format!("pssh: {}:2:10: text that isn't UTF-8", config.display());
    both.exits(2).stderr_has(&place);
    assert_eq!(sshd.connections(), 1, "nothing is connected to where a host of the list is wrong");
}
