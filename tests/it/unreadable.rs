//! Files that cannot be read: the exit status is 1, whichever option names them, and nothing is connected to.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::unistd::getuid;
use pssh::internal::Program;

use crate::bin::Env;
use crate::sshd::{Setup, Sshd};

/// What names a file, FILE: options, and the words of a command that goes with them.
const NAMED: [(&[&str], &str); 15] = [
    (&["-h", "FILE"], "true"),
    (&["--host-config", "FILE"], "true"),
    (&["-F", "FILE"], "true"),
    (&["-O", "RevokedHostKeys=FILE"], "true"),
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
const OTHERS: [(&str, &str); 8] = [
    (
        "known-hosts",
        "one that is missing counts as empty; any other reason is exit status 2: it may have been there to refuse a key",
    ),
    ("agent", "a socket; the host goes on without it"),
    ("failed-to", "written"),
    ("junit", "written"),
    ("outdir", "written"),
    ("errdir", "written"),
    ("localdir", "written"),
    ("password-fd", "a descriptor"),
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
            // To ssh, a directory is a file without lines.
            if why == "Is a directory" && options.iter().any(|option| option.contains("-F")) {
                continue;
            }
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
