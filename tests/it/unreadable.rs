//! Files that cannot be read: the exit status is 1, whichever option names them, and nothing is connected to.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::unistd::getuid;
use pssh::internal::Program;

use crate::auth::Agent;
use crate::bin::Env;
use crate::sshd::{Setup, Sshd};

/// What names a file, FILE: options, and the words of a command that goes with them.
const NAMED: [(&[&str], &str); 17] = [
    (&["-h", "FILE"], "true"),
    (&["--host-config", "FILE"], "true"),
    (&["-F", "FILE"], "true"),
    (&["-O", "RevokedHostKeys=FILE"], "true"),
    (&["-O", "IdentityFile=FILE"], "true"),
    (&["-O", "CertificateFile=FILE"], "true"),
    (&["-x", "-F FILE"], "true"),
    (&["--script", "FILE"], "x"),
    (&["--host-args", "FILE"], "echo %q"),
    (&["--identity", "FILE"], "true"),
    (&["-x", "-o RevokedHostKeys=FILE"], "true"),
    (&["--password-file", "FILE"], "true"),
    (&["--sudo", "--sudo-password-file", "FILE"], "true"),
    (&["--proxy-host", "edge", "--proxy-identity", "FILE"], "true"),
    (&["--proxy-host", "edge", "--proxy-password-file", "FILE"], "true"),
    (&["-h", "IDENTITY"], "true"),
    (&["-h", "PASSWORD"], "true"),
];

/// Options with a file that is read though they are not here, and why.
const OTHERS: [(&str, &str); 11] = [
    (
        "known-hosts",
        "one that is missing counts as empty; any other reason is exit status 2: it may have been there to refuse a key",
    ),
    ("agent", "a socket; the host goes on without it"),
    ("failed-to", "written"),
    ("junit", "written"),
    ("ci-summary", "written"),
    ("outdir", "written"),
    ("errdir", "written"),
    ("localdir", "written"),
    ("password-fd", "a descriptor"),
    ("journal", "written; see journal::where_a_journal_cannot_be_kept_nothing_is_connected_to"),
    ("replay", "there are no hosts; see replayed::formats_that_show_output_need_it_and_another_program_is_named"),
];

#[test]
fn a_file_that_cannot_be_read_is_status_1_whichever_option_names_it() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let closed = env.file("closed", "x\n");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("a mode");
    let directory = env.path("directory");
    fs::create_dir(&directory).expect("a directory");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("a mode");
    // Root may read everything, unless it gives that up.
    let script = match getuid().is_root() {
        true => "exec setpriv --bounding-set=-dac_override,-dac_read_search \"$@\"",
        false => "exec \"$@\"",
    };
    let before = sshd.connections();
    for (file, why) in [
        (env.path("missing"), "No such file or directory"),
        (closed, "Permission denied"),
        (directory, "Is a directory"),
    ] {
        let host = &sshd.hosts()[0];
        let list = |key: &str| env.file(key, format!("{host} {key}={}\n", file.display())).display().to_string();
        let lists = [("IDENTITY", list("identity")), ("PASSWORD", list("password-file"))];
        for (options, words) in NAMED {
            let options = options.iter().map(|option| {
                let option = option.replace("FILE", &file.display().to_string());
                lists.iter().fold(option, |option, (name, list)| if option == *name { list.clone() } else { option })
            });
            let run = env.bare_pssh().hosts(sshd.hosts()).args(options).arg(words).shell(script).run();
            run.exits(1).stdout_is("").stderr_has(&format!("{}: ", file.display())).stderr_has(why);
            assert_eq!(run.stderr_text().lines().count(), 1, "{}", run.stderr_text());
        }
        // The file of defaults, which is there by itself.
        if why != "No such file or directory" {
            let config = env.path("xdg/pssh/config.toml");
            fs::create_dir_all(config.parent().expect("a parent")).expect("a directory");
            fs::rename(&file, &config).expect("a file");
            let run = env.bare_pssh().hosts(sshd.hosts()).variable("XDG_CONFIG_HOME", env.path("xdg"));
            run.arg("true").shell(script).run().exits(1).stderr_has(&format!("config.toml: {why}"));
            fs::rename(&config, &file).expect("back");
        }
    }
    assert_eq!(sshd.connections(), before);
}

#[test]
fn no_option_that_names_a_file_is_forgotten() {
    let command = Program::Pssh.command();
    let pslurp = Program::Pslurp.command();
    for arg in command.get_arguments().chain(pslurp.get_arguments()).filter(|arg| !arg.is_positional()) {
        let values = arg.get_value_names().unwrap_or_default();
        let Some(long) = arg.get_long() else { continue };
        let names_file =
            ["FILE", "DIR", "SOCKET"].iter().any(|name| values.iter().any(|value| value.as_str() == *name));
        let letter = arg.get_short().map(|letter| format!("-{letter}"));
        let is_named = NAMED.iter().any(|(options, _)| {
            options.iter().any(|option| *option == format!("--{long}") || Some((*option).to_owned()) == letter)
        });
        let is_other = OTHERS.iter().any(|(name, _)| *name == long);
        assert!(!names_file || is_named || is_other, "--{long} names a file, and is not in this table");
    }
}

#[test]
fn a_key_of_an_option_may_be_held_by_an_agent() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let run = |option: &str| env.pssh().hosts(sshd.hosts()).args(["-O", option, "true"]).run();
    // The name and where it stands.
    let run_of_variable =
        env.pssh().hosts(sshd.hosts()).variable("PSSH_OPTIONS", "IdentityFile=~/none").arg("true").run();
    let missing = format!("{}: No such file or directory\n", env.path("none").display());
    run("IdentityFile=~/none").exits(1).stderr_has(&format!("pssh: -O IdentityFile=~/none: IdentityFile {missing}"));
    run("CertificateFile=%d/none")
        .exits(1)
        .stderr_has(&format!("-O CertificateFile=%d/none: CertificateFile {missing}"));
    run_of_variable.exits(1).stderr_has(&format!("pssh: PSSH_OPTIONS: IdentityFile {missing}"));
    assert_eq!(sshd.connections(), 0);
    // The agent has the private half of a key whose public one is there. A configuration file may name what is not there.
    env.file("half.pub", format!("{}\n", env.public_lines()[0]));
    let agent = Agent::start(&env);
    agent.add(&env, &env.ssh_dir().join("id_ed25519"));
    let half = env.pssh().hosts(sshd.hosts()).args(["-O", "IdentityFile=~/half", "-O", "IdentitiesOnly=yes", "true"]);
    half.variable("SSH_AUTH_SOCK", &agent.socket).run().exits(0);
    run("IdentityFile=none").stderr_lacks("No such file");
    fs::write(env.ssh_dir().join("config"), "IdentityFile ~/none\nIdentityFile ~/.ssh/id_ed25519\n").expect("a file");
    env.pssh().hosts(sshd.hosts()).arg("true").run().exits(0);
}
