//! The command lines in all installed login shells, and the upload script without GNU's tools.

use super::*;
use crate::copy::random_tag;
use crate::copy::scp::script::SCRIPT;
use crate::copy::scp::upload::{Sending, command};
use crate::copy::scp::{encode, split_tilde};
use crate::plan::program::Program;

#[test]
fn the_scripts_pass_through_every_login_shell() {
    let text = &SCRIPT[SCRIPT.find('\'').unwrap() + 1..SCRIPT.len() - 1];
    assert!(!text.contains(['\'', '!', '\n']));
    let after: Vec<char> = text.split('\\').skip(1).filter_map(|rest| rest.chars().next()).collect();
    assert!(after.iter().all(char::is_ascii_alphabetic), "{after:?}");
    let every: Vec<u8> = (1..=255).collect();
    for shell in shells() {
        let line = format!("exec sh -c 'd=$(printf %b. \"$1\"); printf %s \"${{d%.}}\"' pssh '{}'", encode(&every));
        let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &line]).output().unwrap();
        assert_eq!(output.stdout, every, "{shell:?}");
    }
}

#[test]
fn tildes_are_users_and_nothing_else_is() {
    for (path, tilde, rest) in [
        ("~", "~", ""),
        ("~/", "~", ""),
        ("~/a/~b", "~", "a/~b"),
        ("~root", "~root", ""),
        ("~a.b_c-1/x", "~a.b_c-1", "x"),
        ("~$(id)/x", "", "~$(id)/x"),
        ("~a b", "", "~a b"),
        ("x/~", "", "x/~"),
        ("", "", ""),
    ] {
        assert_eq!(split_tilde(path.as_bytes()), (tilde, rest.as_bytes()), "{path}");
    }
}

/// A host with what POSIX requires and little else.
fn poor(field: &Field, missing: &[&str]) -> PathBuf {
    let bin = field.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in
        ["sh", "scp", "mkdir", "mv", "rm", "rmdir", "ls", "tr", "cat", "touch", "chmod", "chown", "readlink", "printf"]
    {
        let real =
            ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name)).into_iter().find(|path| path.exists()).unwrap();
        match name {
            _ if missing.contains(&name) => {}
            // As in BSD and busybox.
            "chmod" | "chown" => {
                let script = format!("#!/bin/sh\ncase $1 in --*) exit 1;; esac\nexec {} \"$@\"\n", real.display());
                write(bin.join(name), script);
                std::fs::set_permissions(bin.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            }
            _ => std::os::unix::fs::symlink(real, bin.join(name)).unwrap(),
        }
    }
    bin
}

fn upload(field: &Field, shell: &[&'static str], path: &Path, options: Options, target: &str) -> ChannelIo {
    let upload = field.upload(&["conf"], target.as_bytes(), options);
    let command =
        [format!("PATH={}; export PATH; ", path.display()).into_bytes(), command(&upload, &random_tag())].concat();
    Peer { shell: shell.to_vec(), ..field.peer() }.talk(&command, &mut Sending::new(upload))
}

#[test]
fn uploads_work_by_every_shell_that_may_be_sh() {
    let options = Options { recursive: true, preserve: true, ..Options::default() };
    for shell in shells().into_iter().filter(|shell| !["tcsh", "fish"].contains(&shell[0])) {
        let field = Field::new();
        write(field.here("conf/a b/ü*$x"), "1");
        write(field.here("conf/-x"), "2");
        write(field.here("conf/.x"), "3");
        let bin = poor(&field, &["sh"]);
        let dir = ["/bin", "/usr/bin"].into_iter().find(|dir| Path::new(dir).join(shell[0]).exists()).unwrap();
        // Called as sh, it does this by itself.
        let emulate = if shell[0] == "zsh" { " --emulate sh" } else { "" };
        let sh = format!("#!/bin/sh\nexec {dir}/{}{emulate} \"$@\"\n", shell.join(" "));
        write(bin.join("sh"), sh);
        std::fs::set_permissions(bin.join("sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for _ in 0..2 {
            let talk = upload(&field, &["/bin/sh"], &bin, options, "");
            assert!(matches!(talk.outcome, Outcome::Exited(0)), "{shell:?}: {talk:?}");
            assert_eq!(
                list(field.there("")),
                ["conf/", "conf/-x", "conf/.x", "conf/a b/", "conf/a b/ü*$x"],
                "{shell:?}"
            );
        }
    }
}

#[test]
fn uploads_are_started_by_every_login_shell() {
    for shell in shells() {
        let field = Field::new();
        write(field.here("motd"), "hello");
        let target = "it's !! $HOME `id` \\ \"x\"\nü*";
        let upload = field.upload(&["motd"], target.as_bytes(), Options::default());
        let peer = Peer { shell: shell.clone(), ..field.peer() };
        let talk = peer.talk(&command(&upload, &random_tag()), &mut Sending::new(upload));
        assert!(matches!(talk.outcome, Outcome::Exited(0)), "{shell:?}: {talk:?}");
        assert_eq!(list(field.there("")), [target], "{shell:?}");
    }
}

#[test]
fn modes_are_kept_without_gnu_tools() {
    let field = Field::new();
    write(field.here("conf/a"), "new");
    write(field.there("conf/a"), "old");
    std::fs::set_permissions(field.there("conf/a"), std::os::unix::fs::PermissionsExt::from_mode(0o6751)).unwrap();
    let bin = poor(&field, &[]);
    let options = Options { recursive: true, ..Options::default() };
    let talk = upload(&field, &["sh"], &bin, options, "");
    assert!(matches!(talk.outcome, Outcome::Exited(0)), "{talk:?}");
    assert_eq!((read(field.there("conf/a")), mode(field.there("conf/a"))), ("new".to_owned(), 0o751));
}

#[test]
fn a_host_without_scp_is_told_so() {
    let field = Field::new();
    write(field.here("conf/a"), "a");
    let bin = poor(&field, &["scp"]);
    let talk = upload(&field, &["/bin/sh"], &bin, Options { recursive: true, ..Options::default() }, "x/y");
    let Outcome::Failed(error) = &talk.outcome else { panic!("{talk:?}") };
    assert_eq!(error.to_string(), "x/y: the host has neither SFTP nor scp");
    assert!(error.hint(Program::Pscp).is_some());
    assert_eq!(list(field.there("")), [""; 0]);
}

#[test]
fn uploads_work_with_nothing_but_busybox_and_scp() {
    let paths = ["/bin/busybox", "/usr/bin/busybox"];
    let busybox = paths.into_iter().find(|path| Path::new(path).exists()).expect("busybox; tests/run installs it");
    let field = Field::new();
    write(field.here("conf/a"), "new");
    write(field.here("conf/sub/b"), "new");
    write(field.here("conf/c"), "new");
    write(field.there("real"), "old");
    std::fs::create_dir(field.there("conf")).unwrap();
    std::os::unix::fs::symlink("../real", field.there("conf/a")).unwrap();
    std::fs::set_permissions(field.there("real"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let bin =
        poor(&field, &["sh", "mkdir", "mv", "rm", "rmdir", "ls", "tr", "cat", "touch", "chmod", "chown", "readlink"]);
    for name in ["sh", "mkdir", "mv", "rm", "rmdir", "ls", "tr", "cat", "touch", "chmod", "chown", "readlink"] {
        std::os::unix::fs::symlink(busybox, bin.join(name)).unwrap();
    }
    for preserve in [false, true] {
        let talk = upload(&field, &["/bin/sh"], &bin, Options { recursive: true, preserve, ..Options::default() }, "");
        assert!(matches!(talk.outcome, Outcome::Exited(0)), "{talk:?}");
        assert_eq!(talk.stderr, "");
        assert_eq!(list(field.there("")), ["conf/", "conf/a", "conf/c", "conf/sub/", "conf/sub/b", "real"]);
        assert_eq!(read(field.there("real")), "new");
        assert_eq!(mode(field.there("real")), if preserve { mode(field.here("conf/a")) } else { 0o640 });
    }
}

#[test]
fn a_replaced_file_keeps_its_owner() {
    for shell in [&["sh"][..], &["busybox", "sh"]] {
        let field = Field::new();
        write(field.here("conf/a"), "new");
        write(field.there("conf/a"), "old");
        // Only root can give files away; other users keep theirs.
        let owner = if rustix::process::geteuid().is_root() { 65_534 } else { rustix::process::geteuid().as_raw() };
        std::os::unix::fs::chown(field.there("conf/a"), Some(owner), None).unwrap();
        let bin = poor(&field, &[]);
        let talk = upload(&field, shell, &bin, Options { recursive: true, ..Options::default() }, "");
        assert!(matches!(talk.outcome, Outcome::Exited(0)), "{talk:?}");
        assert_eq!(
            (read(field.there("conf/a")), std::fs::metadata(field.there("conf/a")).unwrap().uid()),
            ("new".to_owned(), owner)
        );
    }
}

#[test]
fn what_is_left_behind_is_no_success() {
    let field = Field::new();
    write(field.here("conf/a"), "a");
    let bin = poor(&field, &["mv"]);
    // It says that it has, and has not.
    write(bin.join("mv"), "#!/bin/sh\nexit 0\n");
    std::fs::set_permissions(bin.join("mv"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let talk = upload(&field, &["/bin/sh"], &bin, Options { recursive: true, ..Options::default() }, "x");
    let Outcome::Failed(error) = &talk.outcome else { panic!("{talk:?}") };
    assert_eq!(error.to_string(), "x: not all of it could be moved into place");
    assert_eq!(list(field.there("")), [""; 0]);
}
