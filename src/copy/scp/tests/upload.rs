//! Uploads to a real `scp -t`.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::copy::random_tag;
use crate::copy::scp::upload::{Sending, command};
use crate::plan::program::Program;

const PLAIN: Options = Options { recursive: false, preserve: false, checksum: false, resume: false, inplace: false };
const TREE: Options = Options { recursive: true, ..PLAIN };

fn send(peer: &Peer, upload: &Arc<Upload>) -> ChannelIo {
    peer.talk(&command(upload, &random_tag()), &mut Sending::new(upload.clone()))
}

#[track_caller]
fn send_well(field: &Field, sources: &[&str], target: &str, options: Options) -> ChannelIo {
    let talk = send(&field.peer(), &field.upload(sources, target.as_bytes(), options));
    assert!(matches!(talk.outcome, Outcome::Exited(0)), "{target}: {talk:?}");
    assert_eq!(talk.stderr, "", "{target}");
    talk
}

#[test]
fn a_file_goes_where_scp_would_put_it() {
    let cases = [
        // The target, and where the file ends up.
        ("", "motd"),
        (".", "motd"),
        ("~", "motd"),
        ("~/", "motd"),
        ("new", "new"),
        ("./new", "new"),
        ("~/new", "new"),
        ("dir", "dir/motd"),
        ("dir/", "dir/motd"),
        ("dir/new", "dir/new"),
        ("made/too/new", "made/too/new"),
        ("made/", "made/motd"),
        ("link", "dir/motd"),
        ("-r", "-r"),
        ("~nobody-at-all$x/new", "~nobody-at-all$x/new"),
        ("a b'c\"d\\e*$(id)`id`!!\nf", "a b'c\"d\\e*$(id)`id`!!\nf"),
        ("file:///ü%s%n\t", "file:/ü%s%n\t"),
    ];
    for (target, path) in cases {
        let field = Field::new();
        write(field.here("motd"), "hello");
        std::fs::create_dir(field.there("dir")).unwrap();
        std::os::unix::fs::symlink("dir", field.there("link")).unwrap();
        send_well(&field, &["motd"], target, PLAIN);
        assert_eq!(read(field.there(path)), "hello", "{target}");
        let files: Vec<String> = list(field.there("")).into_iter().filter(|path| !path.ends_with('/')).collect();
        assert_eq!(files, if path < "link" { [path, "link"] } else { ["link", path] }, "{target}");
    }
}

#[test]
fn a_directory_gets_a_new_name_or_goes_into_one_that_is_there() {
    let field = Field::new();
    write(field.here("conf/a"), "a");
    write(field.here("conf/sub/.hidden"), "h");
    write(field.here("conf/sub/..dots"), "d");
    std::fs::create_dir(field.here("conf/empty")).unwrap();
    send_well(&field, &["conf"], "new", TREE);
    send_well(&field, &["conf"], "new", TREE);
    send_well(&field, &["conf"], "made/", TREE);
    send_well(&field, &["conf/."], "contents/", TREE);
    send_well(&field, &["conf/a", "conf/sub"], "both", TREE);
    let tree = ["a", "empty/", "sub/", "sub/..dots", "sub/.hidden"];
    let below = |prefix: &str| tree.map(|path| format!("{prefix}{path}"));
    let mut expected = ["new/", "new/conf/", "made/", "made/conf/", "contents/"].map(str::to_owned).to_vec();
    expected.extend(["new/", "new/conf/", "made/conf/", "contents/"].into_iter().flat_map(below));
    expected.extend(["both/", "both/a", "both/sub/", "both/sub/..dots", "both/sub/.hidden"].map(str::to_owned));
    expected.sort();
    assert_eq!(list(field.there("")), expected);
}

#[test]
fn a_tree_is_merged_into_the_one_that_is_there() {
    let field = Field::new();
    write(field.here("conf/new"), "new");
    write(field.here("conf/old"), "newer");
    write(field.here("conf/sub/deep/new"), "new");
    write(field.here("conf/linked/file"), "through");
    write(field.here("conf/points"), "pointed");
    write(field.there("conf/old"), "old");
    write(field.there("conf/kept"), "kept");
    write(field.there("conf/sub/kept"), "kept");
    write(field.there("elsewhere/target"), "old");
    std::os::unix::fs::symlink("../elsewhere", field.there("conf/linked")).unwrap();
    std::os::unix::fs::symlink("linked/target", field.there("conf/points")).unwrap();
    std::fs::set_permissions(field.there("conf/old"), PermissionsExt::from_mode(0o4640)).unwrap();
    send_well(&field, &["conf"], "", TREE);
    let expected = [
        "conf/",
        "conf/kept",
        "conf/linked",
        "conf/new",
        "conf/old",
        "conf/points",
        "conf/sub/",
        "conf/sub/deep/",
        "conf/sub/deep/new",
        "conf/sub/kept",
        "elsewhere/",
        "elsewhere/file",
        "elsewhere/target",
    ];
    assert_eq!(list(field.there("")), expected);
    assert_eq!(read(field.there("conf/old")), "newer");
    assert_eq!(mode(field.there("conf/old")), 0o640);
    assert_eq!(read(field.there("elsewhere/target")), "pointed");
    assert_eq!(read(field.there("elsewhere/file")), "through");
    assert_eq!(read(field.there("conf/kept")), "kept");
}

#[track_caller]
fn fails(talk: &ChannelIo, message: &str) {
    let Outcome::Failed(error) = &talk.outcome else { panic!("{talk:?}") };
    assert_eq!(error.to_string(), message);
    assert_eq!(error.class(), crate::events::event::Class::Copy);
}

fn chmod(path: PathBuf, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn modes_and_times_are_kept_if_they_shall() {
    let field = Field::new();
    write(field.here("conf/sub/run"), "#!");
    write(field.here("conf/sub/read"), "r");
    chmod(field.here("conf/sub/run"), 0o4775);
    chmod(field.here("conf/sub/read"), 0o444);
    chmod(field.here("conf/sub"), 0o555);
    for path in ["conf", "conf/sub", "conf/sub/run"] {
        let touched = Command::new("touch").args(["-d", "@1000000000"]).arg(field.here(path)).status().unwrap();
        assert!(touched.success());
    }
    let umask = 0o777 & !crate::copy::download_root::local_mode(0o777, false);
    send_well(&field, &["conf"], "plain", TREE);
    let modes = ["sub", "sub/run", "sub/read"].map(|path| mode(field.there("plain").join(path)));
    assert_eq!(modes, [0o555 & !umask, 0o775 & !umask, 0o444 & !umask]);
    // Once new, once replacing existing files.
    for _ in 0..2 {
        send_well(&field, &["conf"], "./kept/", Options { preserve: true, ..TREE });
        let modes = ["sub", "sub/run", "sub/read"].map(|path| mode(field.there("kept/conf").join(path)));
        assert_eq!(modes, [0o555, 0o775, 0o444]);
        for path in ["kept/conf", "kept/conf/sub", "kept/conf/sub/run"] {
            assert_eq!(std::fs::metadata(field.there(path)).unwrap().mtime(), 1_000_000_000, "{path}");
        }
        chmod(field.there("kept/conf/sub"), 0o755);
        write(field.there("kept/conf/sub/more"), "more");
    }
    assert_eq!(list(field.there("kept")), ["conf/", "conf/sub/", "conf/sub/more", "conf/sub/read", "conf/sub/run"]);
    chmod(field.here("conf/sub"), 0o755);
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let field = Field::new();
    write(field.here("motd"), "hello");
    write(field.here("conf/fifo"), "through it");
    let fifos = ["fifo", "conf/fifo"];
    std::fs::create_dir(field.there("conf")).unwrap();
    for path in fifos {
        let made = Command::new("mkfifo").arg(field.there(path)).status().unwrap();
        assert!(made.success());
    }
    let readers: Vec<_> = fifos
        .iter()
        .map(|path| {
            let path = field.there(path);
            std::thread::spawn(move || read(path))
        })
        .collect();
    send_well(&field, &["motd"], "fifo", PLAIN);
    send_well(&field, &["conf"], "", TREE);
    let heard: Vec<String> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert_eq!(heard, ["hello", "through it"]);
    send_well(&field, &["motd"], "/dev/null", PLAIN);
    assert_eq!(list(field.there("")), ["conf/", "conf/fifo", "fifo"]);
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn links_are_written_through() {
    let field = Field::new();
    write(field.here("motd"), "hello");
    write(field.there("deep/real"), "old");
    for (target, link) in
        [("deep/second", "first"), ("real", "deep/second"), ("deep/none", "dangling"), ("loop", "loop")]
    {
        std::os::unix::fs::symlink(target, field.there(link)).unwrap();
    }
    send_well(&field, &["motd"], "first", PLAIN);
    send_well(&field, &["motd"], "dangling", PLAIN);
    assert_eq!(list(field.there("")), ["dangling", "deep/", "deep/none", "deep/real", "deep/second", "first", "loop"]);
    assert_eq!(
        (read(field.there("deep/real")), read(field.there("deep/none"))),
        ("hello".to_owned(), "hello".to_owned())
    );
    let talk = send(&field.peer(), &field.upload(&["motd"], b"loop", PLAIN));
    fails(&talk, "loop: the link there leads nowhere");
}

#[test]
fn a_file_does_not_replace_a_directory_nor_the_reverse() {
    let field = Field::new();
    write(field.here("tree/a"), "a");
    write(field.here("tree/b/x"), "x");
    write(field.here("tree/c"), "c");
    std::fs::create_dir_all(field.there("tree/a")).unwrap();
    write(field.there("tree/b"), "file");
    let talk = send(&field.peer(), &field.upload(&["tree"], b"", TREE));
    fails(&talk, "tree/a: Is a directory (and another one)");
    assert_eq!(list(field.there("")), ["tree/", "tree/a/", "tree/b", "tree/c"]);
    let talk = send(&field.peer(), &field.upload(&["tree"], b"tree/b", TREE));
    fails(&talk, "tree/b: Not a directory");
    let talk = send(&field.peer(), &field.upload(&["tree/a", "tree/c"], b"tree/b", TREE));
    fails(&talk, "tree/b: File exists");
    let talk = send(&field.peer(), &field.upload(&["tree/a"], b"tree/b/new", TREE));
    fails(&talk, "tree/b: File exists");
    let talk = send(&field.peer(), &field.upload(&["tree/a"], b"~no-such-user-here/x", TREE));
    fails(&talk, "~no-such-user-here: no such user");
    assert_eq!(read(field.there("tree/b")), "file");
}

#[test]
fn odd_names_are_nothing_special() {
    let names: [&[u8]; 14] = [
        b"a b",
        b" ",
        b"-r",
        b"--",
        b"~x",
        b"$HOME",
        b"`id`",
        b"it's",
        b"\"\\",
        b"!!",
        b"\xff\xfe",
        b"E",
        b"{a,b}&;|<>()#*?",
        b"tab\t\x01\x02",
    ];
    let field = Field::new();
    for name in names {
        write(field.here("conf").join(OsStr::from_bytes(name)), name);
        write(field.here("conf/sub").join(OsStr::from_bytes(name)), name);
    }
    for options in [TREE, TREE, Options { inplace: true, ..TREE }] {
        send_well(&field, &["conf"], "", options);
        assert_eq!(list(field.there("")), list(field.here("")));
    }
    write(field.here("conf/line\nend"), "refused");
    write(field.here("conf/line\nends/x"), "refused");
    write(field.here("conf/zz"), "copied");
    let talk = send(&field.peer(), &field.upload(&["conf"], b"again/", TREE));
    fails(&talk, "again/conf/line\nend: its name has a line break, which the SCP protocol cannot send (and 2 others)");
    assert_eq!(read(field.there("again/conf/zz")), "copied");
    assert_eq!(list(field.there("again")).len(), list(field.here("")).len() - 3);
}

#[test]
fn many_small_files_cost_few_round_trips() {
    let field = Field::new();
    for number in 0..1_000 {
        write(field.here(format!("tree/{}/{number}", number % 10)), number.to_string());
    }
    write(field.here("large"), vec![7; 16 << 20]);
    let distant = Peer { distant: true, ..field.peer() };
    let talk = send(&distant, &field.upload(&["tree"], b"new", Options { preserve: true, ..TREE }));
    assert!(matches!(talk.outcome, Outcome::Exited(0)), "{talk:?}");
    assert!(talk.trips < 8, "{}", talk.trips);
    assert_eq!(list(field.there("new")), list(field.here("tree")));
    let talk = send(&distant, &field.upload(&["large"], b"", PLAIN));
    assert!(matches!(talk.outcome, Outcome::Exited(0)) && talk.trips < 8, "{talk:?}");
    assert_eq!(std::fs::read(field.there("large")).unwrap(), vec![7; 16 << 20]);
}

#[test]
fn what_cannot_be_written_does_not_stop_the_rest() {
    if !rustix::process::geteuid().is_root() {
        // Our own directories are as closed to us as root's are to other users.
        return closed_directories(None);
    }
    closed_directories(Some(65_534));
}

fn closed_directories(user: Option<u32>) {
    let field = Field::new();
    write(field.here("tree/closed/a"), "a");
    write(field.here("tree/closed/b"), "b");
    write(field.here("tree/open/x"), "new");
    write(field.here("tree/z"), "z");
    write(field.there("tree/closed/kept"), "kept");
    write(field.there("tree/open/x"), "old");
    chmod(field.dir.path().to_owned(), 0o755);
    for (path, mode) in
        [("", 0o777), ("tree", 0o777), ("tree/open", 0o777), ("tree/open/x", 0o666), ("tree/closed", 0o555)]
    {
        chmod(field.there(path), mode);
    }
    let peer = Peer { user, ..field.peer() };
    for options in [TREE, Options { inplace: true, ..TREE }] {
        let talk = send(&peer, &field.upload(&["tree"], b"", options));
        fails(&talk, "tree/closed/a: Permission denied (and another one)");
        let expected = ["tree/", "tree/closed/", "tree/closed/kept", "tree/open/", "tree/open/x", "tree/z"];
        assert_eq!(list(field.there("")), expected);
        assert_eq!(read(field.there("tree/open/x")), "new");
    }
    let talk = send(&peer, &field.upload(&["tree/z"], b"tree/closed/kept", PLAIN));
    fails(&talk, "tree/closed/kept: Permission denied");
    let Outcome::Failed(error) = talk.outcome else { return };
    assert!(error.hint(Program::Pscp).unwrap().contains("--inplace"));
    chmod(field.there("tree/closed/kept"), 0o666);
    let talk = send(&peer, &field.upload(&["tree/z"], b"tree/closed/kept", Options { inplace: true, ..PLAIN }));
    assert!(matches!(talk.outcome, Outcome::Exited(0)), "{talk:?}");
    assert_eq!(read(field.there("tree/closed/kept")), "z");
    // So that the test can remove all this.
    chmod(field.there("tree/closed"), 0o755);
}

#[test]
fn a_file_that_is_too_large_there_does_not_stop_the_rest() {
    let field = Field::new();
    write(field.here("tree/a"), "a");
    write(field.here("tree/b"), vec![1; 300_000]);
    write(field.here("tree/c"), "c");
    write(field.there("tree/b"), "old");
    let peer = Peer { room: Some(100_000), ..field.peer() };
    let talk = send(&peer, &field.upload(&["tree"], b"", TREE));
    fails(&talk, "tree/b: File too large");
    assert_eq!(list(field.there("")), ["tree/", "tree/a", "tree/b", "tree/c"]);
    assert_eq!(read(field.there("tree/b")), "old");
}

#[test]
fn a_full_disk_is_told() {
    with_little_room("copy::scp::tests::upload::on_a_full_disk");
}

#[test]
#[ignore = "run by a_full_disk_is_told, where there is little room"]
fn on_a_full_disk() {
    let (field, there) = (Field::new(), little_room());
    write(field.here("tree/a"), "a");
    write(field.here("tree/b"), vec![1; 300_000]);
    for number in 0..100 {
        write(field.here(format!("tree/c{number}")), vec![1; 1000]);
    }
    write(there.join("tree/b"), "old");
    let talk = send(&Peer::at(&there), &field.upload(&["tree"], b"", TREE));
    fails(&talk, "tree/b: No space left on device (and 100 others)");
    assert_eq!(read(there.join("tree/b")), "old");
    assert_eq!(list(&there), ["tree/", "tree/a", "tree/b"]);
}

#[test]
fn a_file_that_changes_here_does_not_stop_the_rest() {
    let field = Field::new();
    for name in ["a", "b", "c"] {
        write(field.here("tree").join(name), name);
    }
    let upload = field.upload(&["tree"], b"", TREE);
    write(field.here("tree/b"), "changed meanwhile");
    let talk = send(&field.peer(), &upload);
    fails(&talk, "tree/b: it changed while it was copied");
    assert_eq!(list(field.there("")), ["tree/", "tree/a", "tree/c"]);
    // In the middle of it, after its size was sent.
    write(field.here("tree/b"), vec![1; 300_000]);
    write(field.there("tree/b"), "old");
    let upload = field.upload(&["tree"], b"", TREE);
    let mut sending = Changing { inner: Sending::new(upload.clone()), path: field.here("tree/b"), said: 0 };
    let talk = field.peer().talk(&command(&upload, "tag"), &mut sending);
    fails(&talk, "tree/b: it changed while it was copied");
    assert_eq!(list(field.there("")), ["tree/", "tree/a", "tree/b", "tree/c"]);
    assert_eq!(read(field.there("tree/b")), "old");
}

/// Changes a file once part of it was sent.
struct Changing {
    inner: Sending,
    path: PathBuf,
    said: usize,
}

impl Dialogue for Changing {
    fn say(&mut self, out: &mut Vec<u8>) -> Say {
        let before = out.len();
        let say = self.inner.say(out);
        if self.said < 100_000 && self.said + out.len() - before >= 100_000 {
            write(&self.path, "changed");
        }
        self.said += out.len() - before;
        say
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.inner.hear(bytes);
    }

    fn abort(&mut self) {
        self.inner.abort();
    }

    fn conclude(&mut self, channel: Outcome) -> Outcome {
        self.inner.conclude(channel)
    }
}

#[test]
fn written_in_place_a_file_stays_the_same_one() {
    let field = Field::new();
    write(field.here("motd"), "hello");
    write(field.there("motd"), "something longer");
    let inode = |path: PathBuf| std::fs::metadata(path).unwrap().ino();
    let before = inode(field.there("motd"));
    send_well(&field, &["motd"], "", Options { inplace: true, ..PLAIN });
    assert_eq!((inode(field.there("motd")), read(field.there("motd"))), (before, "hello".to_owned()));
    send_well(&field, &["motd"], "made/new", Options { inplace: true, ..PLAIN });
    send_well(&field, &["motd"], "made/", Options { inplace: true, ..PLAIN });
    assert_eq!(list(field.there("")), ["made/", "made/motd", "made/new", "motd"]);
    send_well(&field, &["motd"], "motd", PLAIN);
    assert_ne!(inode(field.there("motd")), before);
}

#[test]
fn what_this_protocol_cannot_do_is_told_before_anything_is_said() {
    let field = Field::new();
    write(field.here("motd"), "hello");
    for options in [Options { checksum: true, ..PLAIN }, Options { resume: true, ..PLAIN }] {
        let mut sending = Sending::new(field.upload(&["motd"], b"new", options));
        assert_eq!(sending.say(&mut Vec::new()), Say::Over);
        let Outcome::Failed(error) = sending.conclude(Outcome::Exited(1)) else { panic!("no error") };
        assert!(
            error.to_string().starts_with("new: the host has no SFTP") && error.hint(Program::Pscp).is_some(),
            "{error}"
        );
    }
}

#[test]
fn an_aborted_copy_leaves_nothing() {
    let field = Field::new();
    write(field.here("large"), vec![1; 2 << 20]);
    write(field.there("large"), "old");
    let upload = field.upload(&["large"], b"", PLAIN);
    let mut sending = Aborting { inner: Sending::new(upload.clone()), said: 0 };
    let talk = field.peer().talk(&command(&upload, "tag"), &mut sending);
    assert!(talk.sent >= 500_000, "{talk:?}");
    assert!(matches!(talk.outcome, Outcome::Failed(_)), "{talk:?}");
    assert_eq!(list(field.there("")), ["large"]);
    assert_eq!(read(field.there("large")), "old");
}

/// Stops it in the middle.
struct Aborting {
    inner: Sending,
    said: usize,
}

impl Dialogue for Aborting {
    fn say(&mut self, out: &mut Vec<u8>) -> Say {
        let before = out.len();
        let say = self.inner.say(out);
        self.said += out.len() - before;
        if self.said >= 500_000 {
            self.inner.abort();
        }
        say
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.inner.hear(bytes);
    }

    fn abort(&mut self) {}

    fn conclude(&mut self, channel: Outcome) -> Outcome {
        self.inner.conclude(channel)
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    /// Wherever the connection is cut, each file is the old or the new one, and no other file exists.
    #[test]
    fn a_cut_connection_leaves_old_or_new(cut in 0usize..70_400, near in 0usize..120, heard: bool, end: bool) {
        let field = Field::new();
        write(field.here("tree/a"), "new a");
        write(field.here("tree/b"), vec![b'n'; 70_000]);
        write(field.here("tree/sub/c"), "new c");
        write(field.there("tree/a"), "old");
        write(field.there("tree/b"), "old");
        write(field.there("tree/sub/c"), "old");
        let cut = if end { 70_000 + near * 3 } else { cut };
        let (sent, received) = if heard { (None, Some(near)) } else { (Some(cut), None) };
        let peer = Peer { cut_sent: sent, cut_heard: received, ..field.peer() };
        let talk = send(&peer, &field.upload(&["tree"], b"", TREE));
        assert_eq!(list(field.there("tree")), ["a", "b", "sub/", "sub/c"], "{talk:?}");
        let (a, b, c) = (read(field.there("tree/a")), read(field.there("tree/b")), read(field.there("tree/sub/c")));
        assert!(a == "old" || a == "new a", "{talk:?}");
        assert!(b == "old" || b == "n".repeat(70_000), "{talk:?}");
        assert!(c == "old" || c == "new c", "{talk:?}");
        match talk.outcome {
            Outcome::Exited(0) => assert!(a != "old" && b != "old" && c != "old", "{talk:?}"),
            Outcome::Failed(_) => {}
            _ => panic!("{talk:?}"),
        }
    }
}

#[test]
fn a_copy_that_is_told_to_end_leaves_nothing() {
    let field = Field::new();
    write(field.here("tree/large"), vec![1; 2 << 20]);
    write(field.there("tree/large"), "old");
    for limit in [1, 20, 500_000] {
        let peer = Peer { told_to_end: Some(limit), ..field.peer() };
        let talk = send(&peer, &field.upload(&["tree"], b"", TREE));
        assert!(matches!(talk.outcome, Outcome::Failed(_)), "{talk:?}");
        assert_eq!(list(field.there("")), ["tree/", "tree/large"]);
        assert_eq!(read(field.there("tree/large")), "old");
    }
}

#[test]
fn a_tree_may_span_file_systems() {
    with_little_room("copy::scp::tests::upload::over_a_file_system_with_little_room");
}

#[test]
#[ignore = "run by a_tree_may_span_file_systems, where there is little room"]
fn over_a_file_system_with_little_room() {
    let (field, there) = (Field::new(), little_room());
    write(field.here("tree/sub/a"), "new");
    write(field.here("tree/sub/large"), vec![1; 300_000]);
    write(field.here("tree/sub/z/z"), "new");
    write(there.join("a"), "old");
    write(there.join("large"), "old");
    std::fs::create_dir(field.there("tree")).unwrap();
    std::os::unix::fs::symlink(&there, field.there("tree/sub")).unwrap();
    let talk = send(&field.peer(), &field.upload(&["tree"], b"", TREE));
    fails(&talk, "tree/sub/large: No space left on device");
    assert_eq!(list(&there), ["a", "large", "z/", "z/z"]);
    assert_eq!((read(there.join("a")), read(there.join("large"))), ("new".to_owned(), "old".to_owned()));
    assert_eq!(list(field.there("")), ["tree/", "tree/sub"]);
}
