//! Peers that send anything: bytes made by hand, and by chance.

use proptest::prelude::*;

use super::*;
use crate::copy::Download;
use crate::copy::download_root::DownloadRoot;
use crate::copy::scp::download::Receiving;
use crate::copy::scp::upload::Sending;
use crate::events::event::HostStage;

/// Runs a dialogue with a peer that sends `pieces` one after the other and then ends with `status`. Returns the outcome
/// and how many bytes the dialogue sent.
fn play<B: AsRef<[u8]>>(dialogue: &mut dyn Dialogue, pieces: &[B], status: u32) -> (Outcome, usize) {
    let mut said = Vec::new();
    for piece in pieces.iter().map(AsRef::as_ref).chain([&b""[..]]) {
        // A dialogue that never listens would send forever.
        for _ in 0..1_000 {
            if dialogue.say(&mut said) != Say::Said {
                break;
            }
        }
        dialogue.hear(piece);
    }
    (dialogue.conclude(Outcome::Exited(status)), said.len())
}

/// A host's directory, and files next to it.
fn field() -> Field {
    let field = Field::new();
    write(field.here("host/kept"), "kept");
    write(field.here("outside"), "outside");
    std::os::unix::fs::symlink("../outside", field.here("host/link")).unwrap();
    std::os::unix::fs::symlink("..", field.here("host/up")).unwrap();
    field
}

#[track_caller]
fn nothing_outside_has_changed(field: &Field) {
    let outside: Vec<String> = list(field.here("")).into_iter().filter(|path| !path.starts_with("host/")).collect();
    assert_eq!(outside, ["outside"]);
    assert_eq!(read(field.here("outside")), "outside");
    assert_eq!(list(field.there("")), [""; 0]);
    assert_eq!(std::fs::read_dir(field.dir.path()).unwrap().count(), 2);
}

fn receiving(field: &Field, remotes: &[&str], recursive: bool) -> Receiving {
    let remotes = remotes.iter().map(|remote| remote.as_bytes().to_vec()).collect();
    let options = Options { recursive, preserve: true, ..Options::default() };
    Receiving::new(
        Arc::new(Download { remotes, target: None, options }),
        DownloadRoot::open(&field.here("host")).unwrap(),
    )
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let cases: [(&str, bool, &[u8], &str); 36] = [
        // The request, whether with directories, the data, and the expected message.
        ("a", true, b"C0644 1 b\nx\0", "b: the host sends this, which was not requested"),
        ("a", true, b"C0644 1 ../a\nx\0", "../a: the host sends this, which was not requested"),
        ("a", true, b"C0644 1 /etc/passwd\nx\0", "/etc/passwd: the host sends this, which was not requested"),
        ("a", true, b"C0644 1 .\nx\0", ".: the host sends this, which was not requested"),
        ("a", true, b"C0644 1 ..\nx\0", "..: the host sends this, which was not requested"),
        ("a", true, b"C0644 1 \nx\0", "a: the host sends this, which was not requested"),
        ("~", true, b"D0755 0 a\n", "a: the host sends this, which was not requested"),
        ("~", true, b"C0644 1 .\nx\0", ".: the host sends a file instead of a directory"),
        ("/", true, b"C0644 1 \nx\0", "/: the host sends a file instead of a directory"),
        ("..", true, b"D0755 0 ..\nC0644 1 ..\nx\0", "..: the host sends an invalid file name"),
        ("a", true, b"D0755 0 a\nC0644 1 ..\nx\0", "a/..: the host sends an invalid file name"),
        ("a", true, b"D0755 0 a\nD0755 0 .\n", "a/.: the host sends an invalid file name"),
        ("a", true, b"D0755 0 a\nC0644 1 b/c\nx\0", "a/b/c: the host sends a name with a slash"),
        ("a", true, b"D0755 0 a\nC0644 1 /c\nx\0", "a//c: the host sends a name with a slash"),
        ("a", true, b"D0755 0 a\nC0644 1 \\^J\\057x\nx\0", "a/\n/x: the host sends a name with a slash"),
        ("a", true, b"D0755 0 a\nC0644 1 x\0y\nx\0", "a/x\0y: the host sends a name with a zero byte"),
        ("a", true, b"D0755 0 a\nC0644 1 \nx\0", "a: the host sends an empty name"),
        ("a", false, b"D0755 0 a\nE\n", "a: the host sends a directory that was not requested"),
        ("a", true, b"E\n", "a: the host ends a directory that it did not start"),
        ("a", true, b"D0755 0 a\nE\nE\n", "a: the host ends a directory that it did not start"),
        ("a", true, b"D0755 0 a\n", "a: the host ended the copy in the middle of this"),
        ("a", true, b"C0644 5 a\nabc", "a: the host ended the copy in the middle of this"),
        ("a", true, b"C0644 5 a\nabcde", "a: the host ended the copy in the middle of this"),
        ("a", true, b"C0644 5 a\nabcdef\0\n", "a: the host sends more than the file's size"),
        ("a", true, b"C0644 1 a\nx\x01scp: a: Input/output error\n", "a: Input/output error"),
        ("a", true, b"C0644 1 a\nx\0C0644 1 a\n", "a: the host sends this name twice"),
        ("a", true, b"D0755 0 a\nE\nC0644 1 a\n", "a: the host sends this name twice"),
        ("a", true, b"D0755 0 a\nC0644 1 b\nx\0D0755 0 b\nE\nE\n", "a/b: the host sends this name twice"),
        ("a", true, b"T1 0 1 0\nC0644 1 a\nx\0X\n", "a: the host does not speak scp's protocol"),
        ("a", true, b"T1 0 1 0\nC0644 -1 a\n", "a: the host sends an invalid size"),
        ("a", true, b"T1 0 1 0\nC0644 9223372036854775808 a\n", "a: the host sends an invalid size"),
        ("a", true, b"T1 0 1 0\nC0644 9223372036854775807 a\nx", "a: the host ended the copy in the middle of this"),
        ("a", true, b"T1 0 1 0\nC0999 1 a\n", "a: the host sends an invalid mode"),
        ("a", true, b"", "a: neither SFTP nor scp answers (exit 0)"),
        ("a", true, b"\x02scp: protocol error: x\n", "a: its scp says: \"protocol error: x\""),
        ("a", true, b"T1 0 1 0\n", "a: the host did not send it"),
    ];
    for (remote, recursive, bytes, message) in cases {
        let field = field();
        let (outcome, _) = play(&mut receiving(&field, &[remote], recursive), &[bytes], 0);
        let Outcome::Failed(error) = outcome else { panic!("{:?}: {outcome:?}", String::from_utf8_lossy(bytes)) };
        assert_eq!(error.to_string(), message, "{:?}", String::from_utf8_lossy(bytes));
        nothing_outside_has_changed(&field);
        assert!(list(field.here("host")).iter().all(|path| !path.contains("pssh-")), "{:?}", list(field.here("host")));
    }
}

#[test]
fn what_was_asked_for_twice_or_by_wildcards_is_taken_once() {
    let field = field();
    let ready = b"pssh:ready\t3\t\n";
    // The first of the directories is refused in time, and not sent.
    let three: [&[u8]; 5] = [ready, b"C0644 1 x.log\n1\0", b"D0755 0 .\n", b"D0755 0 ..\nE\n", b"C0644 1 .y\n2\0"];
    let (outcome, _) = play(&mut receiving(&field, &["*.log", ".*"], true), &three, 0);
    // What else `.*` matches is not a failure.
    assert!(matches!(outcome, Outcome::Exited(0)), "{outcome:?}");
    assert_eq!(list(field.here("host")), [".y", "kept", "link", "up", "x.log"]);
    let (outcome, _) = play(&mut receiving(&field, &["*.log"], true), &[ready, &b"C0644 1 x.txt\n1\0"[..]], 0);
    assert!(outcome.to_string().contains("x.txt: the host sends this, which was not requested"), "{outcome}");
    nothing_outside_has_changed(&field);
}

#[test]
fn links_in_the_directory_are_not_followed() {
    let field = field();
    let (outcome, _) = play(&mut receiving(&field, &["link"], true), &[b"C0644 3 link\nnew\0"], 0);
    assert!(matches!(outcome, Outcome::Exited(0)), "{outcome:?}");
    assert_eq!(read(field.here("host/link")), "new");
    let (outcome, _) = play(&mut receiving(&field, &["up"], true), &[b"D0755 0 up\n"], 0);
    assert!(outcome.to_string().contains("a symbolic link exists there"), "{outcome}");
    // A peer that ignores refusals.
    let heedless = b"D0755 0 up\nC0644 3 outside\nnew\0E\n";
    let (outcome, _) = play(&mut receiving(&field, &["up"], true), &[heedless], 0);
    assert!(outcome.to_string().contains("outside: the host sends this, which was not requested"), "{outcome}");
    nothing_outside_has_changed(&field);
}

#[test]
fn lines_and_directories_without_end_are_bounded() {
    let field = field();
    let (outcome, _) = play(&mut receiving(&field, &["a"], true), &[vec![b'x'; 100_000]], 0);
    assert!(outcome.to_string().contains("the host sends an endless line"), "{outcome}");
    let (outcome, _) = play(&mut receiving(&field, &["a"], true), &[b"hello\n".repeat(100_000)], 0);
    assert!(outcome.to_string().contains("something other than answers"), "{outcome}");
    let deep = [&b"D0755 0 a\n"[..], &b"D0755 0 b\n".repeat(100)[..], &b"E\n".repeat(101)[..]].concat();
    let (outcome, _) = play(&mut receiving(&field, &["a"], true), &[deep], 0);
    assert!(outcome.to_string().contains("directories are nested too deep: does a link lead back?"), "{outcome}");
    std::fs::remove_dir_all(field.here("host/a")).unwrap();
    let deeper = [&b"D0755 0 a\n"[..], &b"D0755 0 b\n".repeat(100_000)[..]].concat();
    let (outcome, said) = play(&mut receiving(&field, &["a"], true), &[deeper], 0);
    assert!(outcome.to_string().contains("directories are nested too deep"), "{outcome}");
    assert!(said < 10_000, "{said}");
    std::fs::remove_dir_all(field.here("host/a")).unwrap();
    // Side by side, each with its end.
    let broad: Vec<u8> = (0..20_000).flat_map(|number| format!("D0755 0 {number}\nE\n").into_bytes()).collect();
    let (outcome, _) = play(&mut receiving(&field, &["a"], true), &[[&b"D0755 0 a\n"[..], &broad].concat()], 0);
    assert!(outcome.to_string().contains("more than 8192 directories: an endless tree?"), "{outcome}");
    assert_eq!(std::fs::read_dir(field.here("host/a")).unwrap().count(), 8191);
    nothing_outside_has_changed(&field);
    let field = self::field();
    // A file of this size is not created before its data comes.
    let (outcome, _) = play(&mut receiving(&field, &["a"], true), &[b"C0644 9223372036854775807 a\nx"], 0);
    assert!(outcome.to_string().contains("a: the host ended the copy in the middle of this"), "{outcome}");
}

/// Two files and a directory to send.
fn sending(field: &Field, options: Options) -> Sending {
    write(field.here("tree/a"), "a");
    write(field.here("tree/b"), vec![1; 100_000]);
    write(field.here("tree/c/d"), "d");
    Sending::new(field.upload(&["tree"], b"new", Options { recursive: true, ..options }))
}

#[test]
fn no_success_is_told_that_the_script_has_not_told() {
    let cases: [(&[&[u8]], &str); 13] = [
        (&[], "new: neither SFTP nor scp answers (exit 0)"),
        (&[b"hello\n"], "new: neither SFTP nor scp answers (exit 0): \"hello\""),
        (&[b"pssh:done\t\t\n"], "new: the host sends an unexpected answer"),
        (&[b"pssh:ready\n"], "new: neither SFTP nor scp answers (exit 0): \"pssh:ready\""),
        (&[b"pssh:stop\tx\tPermission denied\n"], "x: Permission denied"),
        (&[b"pssh:ready\tnew\t\n\0"], "new: the host ended the copy too early (ok (exit 0))"),
        (&[b"pssh:ready\tnew\t\n", &[0; 100]], "new: the host sends more answers than requests"),
        (&[b"pssh:ready\tnew\t\nscp: not found\n"], "new: its scp says: \"not found\""),
        (&[b"pssh:ready\tnew\t\n\0", b"pssh:done\t\t\n"], "new: its scp ended too early"),
        // The new directory refuses one of its files: its data was taken for records.
        (
            &[b"pssh:ready\tnew\t\n\0", b"\0", b"\x01scp: x/tree/a: Read-only file system\n"],
            "new/a: Read-only file system (and 2 others)",
        ),
        // The dialogue waits for the large one.
        (&[b"pssh:ready\tnew\t\n\0", b"\0\0\0\x01no\n", b"\0\0\0\0\0"], "new/b: no"),
        (
            &[b"pssh:ready\tnew\t\n\0", b"\0\0\0\0", b"\0\0\0\0\0\0\0", b"pssh:end\t0\t\n"],
            "new: the host ended the copy too early (ok (exit 0))",
        ),
        (
            &[
                b"pssh:ready\tnew\t\n\0",
                b"\0\0\0\0",
                b"\0\0\0\0\0\0\0",
                b"pssh:end\t0\t\n",
                b"pssh:fail\ttree/a\tno\npssh:done\t\t\n",
            ],
            "new/a: no",
        ),
    ];
    for (pieces, message) in cases {
        let field = Field::new();
        let (outcome, _) = play(&mut sending(&field, Options::default()), pieces, 0);
        let Outcome::Failed(error) = outcome else { panic!("{pieces:?}: {outcome:?}") };
        assert_eq!(error.to_string(), message, "{pieces:?}");
    }
    let field = Field::new();
    let well: [&[u8]; 5] =
        [b"pssh:ready\tnew\t\n\0", b"\0\0\0\0", b"\0\0\0\0\0\0\0", b"pssh:end\t0\t\n", b"pssh:done\t\t\n"];
    let (outcome, _) = play(&mut sending(&field, Options::default()), &well, 1);
    assert!(matches!(outcome, Outcome::Exited(0)), "{outcome:?}");
}

/// The data of a benign host with one or another byte changed.
fn almost(well: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let change = (0..well.len(), any::<Option<u8>>());
    prop::collection::vec(change, 0..6).prop_map(|changes| {
        let mut bytes = well.to_vec();
        for (at, byte) in changes {
            match byte {
                Some(byte) => bytes[at.min(well.len() - 1)] = byte,
                None => bytes.insert(at, b"\n\0/ .E"[at % 6]),
            }
        }
        bytes
    })
}

const DOWN: &[u8] =
    b"T1 0 1 0\nD0755 0 a\nT1 0 1 0\nC0644 3 b\nxyz\0D0700 0 c\nC0644 0 d\n\0E\n\x01scp: e: no\nE\nC0644 1 f\nx\0";
const UP: &[u8] = b"pssh:ready\tnew\t\n\0\0\0\0\0\0\0\0\0\0\0pssh:end\t0\t\npssh:fail\tx\ty\npssh:done\t\t\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_comes_gets_out_of_the_directory(
        bytes in prop_oneof![almost(DOWN), prop::collection::vec(any::<u8>(), 0..400)],
        cut in 1usize..50,
        wild: bool,
    ) {
        let field = field();
        let remotes: &[&str] = if wild { &["*", "~/.", ".."] } else { &["a", "f"] };
        let mut dialogue = receiving(&field, remotes, true);
        if wild {
            dialogue.hear(b"pssh:ready\t2\t\n");
        }
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        let (outcome, said) = play(&mut dialogue, &pieces, 0);
        drop(dialogue);
        prop_assert!(said < 10_000);
        nothing_outside_has_changed(&field);
        prop_assert_eq!(read(field.here("host/kept")), "kept");
        prop_assert!(list(field.here("host")).iter().all(|path| !path.contains("pssh-")));
        if matches!(outcome, Outcome::Exited(0)) && !wild {
            prop_assert!(field.here("host/f").exists() && field.here("host/a").exists());
        }
    }

    #[test]
    fn no_answer_makes_an_upload_panic_or_speak_without_end(
        bytes in prop_oneof![almost(UP), prop::collection::vec(any::<u8>(), 0..400)],
        cut in 1usize..50,
        inplace: bool,
    ) {
        let field = Field::new();
        let mut dialogue = sending(&field, Options { inplace, preserve: true, ..Options::default() });
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        let (_, said) = play(&mut dialogue, &pieces, 0);
        prop_assert!(said < 110_000);
    }
}

#[test]
fn what_has_come_can_be_looked_into_when_it_is_ended_from_outside() {
    use std::os::unix::fs::PermissionsExt;
    let field = field();
    let mut receiving = receiving(&field, &["a"], true);
    let mut said = Vec::new();
    for piece in [&b"D0755 0 a\n"[..], b"D0750 0 b\n", b"C0644 5 c\nhal"] {
        while receiving.say(&mut said) == Say::Said {}
        receiving.hear(piece);
    }
    let mode = |path: &str| std::fs::metadata(field.here(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("host/a"), mode("host/a/b")), (0o700, 0o700), "while they are being filled");
    receiving.abort();
    let cancelled = Outcome::Cancelled { stage: HostStage::Running, why: None };
    assert!(matches!(receiving.conclude(cancelled), Outcome::Cancelled { .. }));
    assert_eq!((mode("host/a"), mode("host/a/b")), (0o755, 0o750));
    assert_eq!(list(field.here("host")), ["a/", "a/b/", "kept", "link", "up"]);
}

#[test]
fn names_are_remembered_up_to_a_number_for_all_directories_together() {
    let field = field();
    let mut receiving = receiving(&field, &["a"], true);
    let mut bytes = b"D0755 0 a\n".to_vec();
    // Nested directories, with as many names in each as may be remembered in total.
    for level in 0..4 {
        for number in 0..1_000 {
            bytes.extend_from_slice(format!("C0644 0 f{number}\n\0").as_bytes());
        }
        bytes.extend_from_slice(format!("D0755 0 d{level}\n").as_bytes());
    }
    let mut said = Vec::new();
    for piece in bytes.chunks(997) {
        while receiving.say(&mut said) == Say::Said {}
        receiving.hear(piece);
        assert!(receiving.remembered() <= 1 << 10, "{}", receiving.remembered());
    }
    assert_eq!(receiving.remembered(), 1 << 10);
    assert_eq!(std::fs::read_dir(field.here("host/a/d0/d1/d2")).unwrap().count(), 1_001);
}
