//! Downloads from a real `scp -f`.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::copy::Download;
use crate::copy::download_root::DownloadRoot;
use crate::copy::scp::download::{Receiving, command};
use crate::plan::program::Program;

const PLAIN: Options = Options { recursive: false, preserve: false, checksum: false, resume: false, inplace: false };
const TREE: Options = Options { recursive: true, ..PLAIN };

fn download(remotes: &[&[u8]], target: Option<&str>, options: Options) -> Arc<Download> {
    let remotes = remotes.iter().map(|remote| remote.to_vec()).collect();
    Arc::new(Download { remotes, target: target.map(|target| target.as_bytes().to_vec()), options })
}

fn receive(field: &Field, peer: &Peer, download: &Arc<Download>) -> ChannelIo {
    let place = DownloadRoot::open(&field.here("")).unwrap();
    peer.talk(&command(download), &mut Receiving::new(download.clone(), place))
}

#[track_caller]
fn receive_well(field: &Field, remotes: &[&str], target: Option<&str>, options: Options) -> ChannelIo {
    let remotes: Vec<&[u8]> = remotes.iter().map(|remote| remote.as_bytes()).collect();
    let talk = receive(field, &field.peer(), &download(&remotes, target, options));
    assert!(matches!(talk.outcome, Outcome::Exited(0)), "{remotes:?}: {talk:?}");
    talk
}

#[track_caller]
fn fails(talk: &ChannelIo, message: &str) {
    let Outcome::Failed(error) = &talk.outcome else { panic!("{talk:?}") };
    assert_eq!(error.to_string(), message);
}

#[test]
fn files_come_under_their_own_names_or_a_new_one() {
    let field = Field::new();
    write(field.there("motd"), "hello");
    write(field.there("sub/issue"), "issue");
    receive_well(&field, &["motd"], None, PLAIN);
    receive_well(&field, &["~/sub/issue", "motd"], None, PLAIN);
    receive_well(&field, &["motd"], Some("new"), PLAIN);
    receive_well(&field, &["motd"], Some("made/too/new"), PLAIN);
    receive_well(&field, &["motd"], Some("made"), PLAIN);
    receive_well(&field, &["motd", "sub/issue"], Some("both"), PLAIN);
    receive_well(&field, &["m*d"], Some("globbed"), PLAIN);
    receive_well(&field, &["[ms]*", "sub/i*"], Some("more"), TREE);
    let there = field.there("motd");
    receive_well(&field, &[there.to_str().unwrap()], Some("slash/"), PLAIN);
    let expected = [
        "both/",
        "both/issue",
        "both/motd",
        "globbed",
        "issue",
        "made/",
        "made/motd",
        "made/too/",
        "made/too/new",
        "more/",
        "more/issue",
        "more/motd",
        "more/sub/",
        "more/sub/issue",
        "motd",
        "new",
        "slash/",
        "slash/motd",
    ];
    assert_eq!(list(field.here("")), expected);
    assert!(expected.iter().filter(|path| path.ends_with("motd")).all(|path| read(field.here(path)) == "hello"));
}

#[test]
fn directories_come_with_all_that_is_in_them() {
    let field = Field::new();
    write(field.there("tree/a"), "a");
    write(field.there("tree/sub/.b"), "b");
    std::fs::create_dir(field.there("tree/sub/empty")).unwrap();
    std::os::unix::fs::symlink("a", field.there("tree/link")).unwrap();
    let expected =
        |prefix: &str| ["", "a", "link", "sub/", "sub/.b", "sub/empty/"].map(|path| format!("{prefix}{path}"));
    for (remote, target, prefix) in [
        ("tree", None, "tree/"),
        ("tree/", Some("new"), "new/"),
        ("tree/.", Some("contents"), "contents/"),
        ("tree/sub/..", Some("up"), "up/"),
        ("~/tr?e", Some("globbed"), "globbed/"),
    ] {
        for _ in 0..2 {
            std::fs::remove_dir_all(field.here("")).unwrap();
            receive_well(&field, &[remote], target, TREE);
            assert_eq!(list(field.here("")), expected(prefix), "{remote}");
        }
    }
    std::fs::remove_dir_all(field.here("")).unwrap();
    receive_well(&field, &["~"], None, TREE);
    assert_eq!(list(field.here("")), expected("tree/"));
    std::fs::remove_dir_all(field.here("")).unwrap();
    fails(&receive(&field, &field.peer(), &download(&[b"tree"], None, PLAIN)), "tree: not a regular file");
    assert_eq!(list(field.here("")), [""; 0]);
}

#[test]
fn modes_and_times_are_kept_if_they_shall() {
    let field = Field::new();
    write(field.there("tree/a"), "a");
    let mode_of =
        |path: &str, mode: u32| std::fs::set_permissions(field.there(path), PermissionsExt::from_mode(mode)).unwrap();
    mode_of("tree/a", 0o4776);
    mode_of("tree", 0o777);
    let touched =
        Command::new("touch").args(["-d", "@1000000000"]).args([field.there("tree/a"), field.there("tree")]).status();
    assert!(touched.unwrap().success());
    receive_well(&field, &["tree"], Some("plain"), TREE);
    receive_well(&field, &["tree"], Some("kept"), Options { preserve: true, ..TREE });
    let umask = 0o777 & !crate::copy::download_root::local_mode(0o777, false);
    assert_eq!((mode(field.here("plain/a")), mode(field.here("plain"))), (0o776 & !umask, 0o777 & !umask));
    assert_eq!((mode(field.here("kept/a")), mode(field.here("kept"))), (0o776, 0o777));
    for path in ["kept", "kept/a"] {
        assert_eq!(std::fs::metadata(field.here(path)).unwrap().mtime(), 1_000_000_000, "{path}");
    }
}

#[test]
fn odd_names_are_nothing_special() {
    let names: [&[u8]; 12] = [
        b"a b",
        b"-r",
        b"--",
        b"~x y",
        b"$HOME",
        b"`id`",
        b"it's",
        b"\"\\",
        b"!!",
        b"\xff\xfe",
        b"new\nline\\",
        b"{a,b}&;|<>()#",
    ];
    let field = Field::new();
    for name in names {
        write(field.there(OsStr::from_bytes(name)), name);
    }
    let talk = receive(&field, &field.peer(), &download(&names, None, PLAIN));
    assert!(matches!(talk.outcome, Outcome::Exited(0)), "{talk:?}");
    for name in names {
        assert_eq!(std::fs::read(field.here(OsStr::from_bytes(name))).unwrap(), name);
    }
    assert_eq!(list(field.here("")), list(field.there("")));
    receive_well(&field, &["."], Some("tree"), TREE);
    assert_eq!(list(field.here("tree")), list(field.there("")));
}

#[test]
fn one_failure_does_not_stop_the_others() {
    let field = Field::new();
    for name in ["a", "b", "c", "d/1", "d/2"] {
        write(field.there(name), name);
    }
    let missing = receive(&field, &field.peer(), &download(&[b"a", b"nothing", b"no*", b"b"], None, PLAIN));
    fails(&missing, "nothing: No such file or directory (and another one)");
    assert_eq!(list(field.here("")), ["a", "b"]);
    // The shell must find the home of a user.
    let home =
        receive(&field, &field.peer(), &download(&[b"~root/no-such-file-here"], None, PLAIN)).outcome.to_string();
    assert!(home.ends_with("/no-such-file-here: No such file or directory") && !home.contains('~'), "{home}");
    // A file blocks a directory, and the reverse; more comes after each.
    write(field.here("d"), "in the way");
    std::fs::create_dir(field.here("c")).unwrap();
    let blocked = receive(&field, &field.peer(), &download(&[b"c", b"d", b"b", b"d/1"], None, TREE));
    let shown = field.here("").display().to_string();
    fails(&blocked, &format!("{shown}/c: a directory exists there (and another one)").replace("//", "/"));
    assert_eq!(list(field.here("")), ["1", "a", "b", "c/", "d"]);
    let twice = receive(&field, &field.peer(), &download(&[b"d/1", b"a", b"./a"], Some("twice"), PLAIN));
    fails(&twice, "a: the host sends this name twice");
    assert_eq!(list(field.here("twice")), ["1", "a"]);
}

#[test]
fn many_small_files_cost_few_round_trips() {
    let field = Field::new();
    for number in 0..1_000 {
        write(field.there(format!("tree/{}/{number}", number % 10)), number.to_string());
    }
    write(field.there("large"), vec![7; 4 << 20]);
    let distant = Peer { distant: true, ..field.peer() };
    let talk = receive(&field, &distant, &download(&[b"tree"], None, TREE));
    assert!(matches!(talk.outcome, Outcome::Exited(0)), "{talk:?}");
    assert!(talk.trips < 30, "{}", talk.trips);
    assert_eq!(list(field.here("tree")), list(field.there("tree")));
    let talk = receive(&field, &distant, &download(&[b"large"], None, TREE));
    assert!(matches!(talk.outcome, Outcome::Exited(0)) && talk.trips < 5, "{talk:?}");
    assert_eq!(std::fs::read(field.here("large")).unwrap(), vec![7; 4 << 20]);
}

/// Returns the shell's expansion of `path`, one name a line.
fn expand(shell: &[&'static str], field: &Field, path: &[u8]) -> Vec<String> {
    let script = [&b"printf '%s\\n' "[..], path].concat();
    let mut run = Command::new(shell[0]);
    run.args(&shell[1..])
        .arg("-c")
        .arg(OsStr::from_bytes(&script))
        .current_dir(field.there(""))
        .env("HOME", field.there(""));
    let output = run.output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn wildcards_are_those_of_the_shell_and_nothing_else_is_expanded() {
    let field = Field::new();
    let names =
        ["a", "b", "c", "ab", ".h", "-d", "a b", "*", "[a]", "x$HOME", "x`y`", "s!", "{a,b}", "e\\f", "a-c", "d1/motd"];
    names.iter().for_each(|name| write(field.there(name), name));
    let cases: [(&str, &[&str]); 19] = [
        // The request, and what comes.
        ("?", &["*", "a", "b", "c"]),
        ("a*", &["a", "a b", "a-c", "ab"]),
        (".h*", &[".h"]),
        ("[ab]", &["a", "b"]),
        ("[a-c]", &["a", "b", "c"]),
        ("[!a]", &["*", "b", "c"]),
        ("*[ -]*", &["-d", "a b", "a-c"]),
        ("a[ ]b", &["a b"]),
        // A file with this name exists.
        ("*", &["*"]),
        ("[a]", &["[a]"]),
        ("\\[a\\]*", &["[a]"]),
        ("x$H*", &["x$HOME"]),
        ("x`*", &["x`y`"]),
        ("?!", &["s!"]),
        ("{*", &["{a,b}"]),
        ("?\\\\*", &["e\\f"]),
        ("e\\f", &["e\\f"]),
        ("d?/mot[d]", &["motd"]),
        ("~/d1/*", &["motd"]),
    ];
    for shell in shells() {
        for (remote, expected) in &cases {
            std::fs::remove_dir_all(field.here("")).unwrap();
            let peer = Peer { shell: shell.clone(), ..field.peer() };
            let talk = receive(&field, &peer, &download(&[remote.as_bytes()], None, PLAIN));
            assert!(matches!(talk.outcome, Outcome::Exited(0)), "{shell:?} {remote}: {talk:?}");
            assert_eq!(list(field.here("")), *expected, "{shell:?} {remote}");
        }
    }
    assert_eq!(expand(&["sh"], &field, b"a*"), ["a", "a b", "a-c", "ab"]);
}

#[test]
fn a_connection_that_is_cut_leaves_the_old_or_the_new_file() {
    let field = Field::new();
    write(field.there("tree/a"), "new a");
    write(field.there("tree/b"), vec![b'n'; 300_000]);
    let whole = receive_well(&field, &["tree"], None, TREE);
    for step in 0..40 {
        std::fs::remove_dir_all(field.here("")).unwrap();
        write(field.here("tree/a"), "old");
        write(field.here("tree/b"), "old");
        let cut = if step < 30 { step * 3 } else { whole.heard - (step - 29) * 7 };
        let peer = Peer { cut_heard: Some(cut), ..field.peer() };
        let talk = receive(&field, &peer, &download(&[b"tree"], None, TREE));
        assert!(matches!(&talk.outcome, Outcome::Failed(error) if error.to_string() == "cut"), "{cut}: {talk:?}");
        assert!(["old", "new a"].contains(&&*read(field.here("tree/a"))), "{cut}");
        let b = std::fs::read(field.here("tree/b")).unwrap();
        assert!(b == b"old" || b == vec![b'n'; 300_000], "{cut}");
        assert_eq!(list(field.here("tree")), ["a", "b"], "{cut}");
    }
}

#[test]
fn a_host_without_scp_is_told_from_one_that_fails() {
    let field = Field::new();
    write(field.there("bin/ls"), "");
    let outcome = |command: &[u8], shell: &'static str| {
        let download = download(&[b"motd"], None, PLAIN);
        let place = DownloadRoot::open(&field.here("")).unwrap();
        let peer = Peer { shell: vec!["env", "-i", shell], ..field.peer() };
        let mut receiving = Receiving::new(download, place);
        let talk = peer.talk(command, &mut receiving);
        assert!(!receiving.has_begun());
        let Outcome::Failed(error) = talk.outcome else { panic!("{:?}", talk.outcome) };
        (error.to_string(), error.hint(Program::Pscp).unwrap_or_default())
    };
    let (message, hint) = outcome(b"PATH=/nowhere; scp -f motd", "/bin/sh");
    assert!(
        message.starts_with("motd: the host has neither SFTP nor scp: ") && message.contains("not found"),
        "{message}"
    );
    assert!(hint.contains("openssh-sftp-server"), "{hint}");
    let (message, hint) = outcome(b"echo This account is not available; exit 1", "/bin/sh");
    assert_eq!(message, "motd: neither SFTP nor scp answers (exit 1): \"This account is not available\"");
    assert!(hint.contains("shell"), "{hint}");
    // The script finds out before it reports that it is ready.
    let download = download(&[b"mo*"], None, PLAIN);
    let script = [
        b"PATH=/nowhere; ".to_vec(),
        String::from_utf8(command(&download)).unwrap().replace("exec sh", "exec /bin/sh").into_bytes(),
    ];
    let mut receiving = Receiving::new(download, DownloadRoot::open(&field.here("")).unwrap());
    fails(&field.peer().talk(&script.concat(), &mut receiving), "mo*: the host has neither SFTP nor scp");
}

#[test]
fn what_startup_files_print_is_passed_over() {
    for remote in ["motd", "mo*"] {
        let field = Field::new();
        write(field.there("motd"), "hello");
        let download = download(&[remote.as_bytes()], None, PLAIN);
        let command = [&b"echo Debian GNU/Linux; echo Caution; "[..], &command(&download)].concat();
        let mut receiving = Receiving::new(download, DownloadRoot::open(&field.here("")).unwrap());
        let talk = field.peer().talk(&command, &mut receiving);
        assert!(matches!(talk.outcome, Outcome::Exited(0)), "{talk:?}");
        assert_eq!(read(field.here("motd")), "hello");
    }
}

#[test]
fn what_this_protocol_cannot_do_is_told_before_anything_is_said() {
    let field = Field::new();
    for options in [Options { checksum: true, ..PLAIN }, Options { resume: true, ..PLAIN }] {
        let mut receiving =
            Receiving::new(download(&[b"motd"], None, options), DownloadRoot::open(&field.here("")).unwrap());
        assert_eq!(receiving.say(&mut Vec::new()), Say::Over);
        let Outcome::Failed(error) = receiving.conclude(Outcome::Exited(1)) else { panic!("no error") };
        assert!(error.to_string().contains("the host has no SFTP") && error.hint(Program::Pscp).is_some(), "{error}");
    }
}

#[test]
fn a_full_disk_ends_it() {
    with_little_room("copy::scp::tests::download::on_a_full_disk");
}

#[test]
#[ignore = "run by a_full_disk_ends_it, where there is little room"]
fn on_a_full_disk() {
    let (field, here) = (Field::new(), little_room());
    write(field.there("1"), vec![1; 1000]);
    write(field.there("2"), vec![2; 300_000]);
    write(field.there("3"), vec![3; 1000]);
    write(here.join("2"), "old");
    let download = download(&[b"1", b"2", b"3"], None, PLAIN);
    let place = DownloadRoot::open(&here).unwrap();
    let talk = field.peer().talk(&command(&download), &mut Receiving::new(download, place));
    let Outcome::Failed(error) = &talk.outcome else { panic!("{talk:?}") };
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert_eq!(error.class(), crate::events::event::Class::Local);
    assert_eq!(list(&here), ["1", "2"]);
    assert_eq!(read(here.join("2")), "old");
}
