//! Servers with low limits, and ones that use much of our memory.

use std::os::unix::fs::PermissionsExt;

use super::hostile::{Asked, DIRECTORY, FILE, OPENDIR, Played, READ, READDIR, asked, data, play_on, status};
use super::*;
use crate::events::event::HostStage;

/// The system's server with this many open files, five of which it needs itself.
fn server_with(files: usize, directory: &Path) -> Server {
    let script = format!("ulimit -n {files}; exec \"$0\"");
    Server::of(Command::new("sh").arg("-c").arg(script).arg(program()).current_dir(directory))
}

#[test]
fn a_server_with_few_handles_is_not_asked_for_more() {
    let sides = Sides::new();
    for directory in 0..40 {
        for file in 0..4 {
            // Some are large, so that they stay open for a while.
            sides.write(&format!("t/d{directory}/e/f{file}"), vec![b'x'; if file == 0 { 300_000 } else { 10 }]);
        }
    }
    for (remotes, options) in [(&["t"][..], recursive()), (&["t/*/*/f*"], recursive()), (&["t/d1*/e"], recursive())] {
        // A handle for each level, and one for a file.
        let mut server = server_with(11, &sides.remote(""));
        let mut downloading = sides.downloading(remotes, Some("into/"), options);
        run(&mut downloading, &mut server);
        let outcome = failure(downloading.conclude(Outcome::Exited(0)));
        let expected = if remotes[0].ends_with("f*") || remotes[0].ends_with('e') {
            // Copies of the same name; the first counts.
            outcome.contains("something with the same name was already copied")
        } else {
            outcome == "Exited(0)"
        };
        assert!(expected, "{remotes:?}: {outcome}");
        assert_eq!(downloading.handles, 6, "it has said so");
    }
    assert_eq!(
        sides.arrived().iter().filter(|(path, _)| path.starts_with("into/t/") && path.contains("/f")).count(),
        160
    );
}

#[test]
fn bytes_that_come_one_by_one_are_not_kept_one_by_one() {
    const SIZE: usize = 2 << 20;
    let sides = Sides::new();
    let mut played = Played::with_entries(&[(b"a", FILE)]);
    played.files.insert(b"tree/a".to_vec(), vec![b'x'; SIZE]);
    let mut downloading = sides.downloading(&["tree"], None, recursive());
    let (mut replies, mut pieces, mut held_back) = (0, 0, None);
    while replies < 60_000 {
        let (bytes, last) = said(&mut downloading);
        assert_ne!(last, Say::Over);
        if bytes.starts_with(&[0, 0, 0, 5, 1]) {
            downloading.hear(&[0, 0, 0, 5, 2, 0, 0, 0, 3]);
            continue;
        }
        let requests = asked(&bytes);
        assert!(!requests.is_empty(), "it waits for what is held back alone");
        for request in requests {
            // The first READ is answered, so that more follow. Later ones are not: everything else waits for them.
            let answer = match request.kind {
                READ if request.offset == 32 * 1024 => {
                    held_back = Some(request.id);
                    continue;
                }
                READ if request.offset > 0 => data(request.id, b"x"),
                _ => played.answer(&request),
            };
            downloading.hear(&answer);
            replies += 1;
            pieces = pieces.max(downloading.files.values().map(transfer::Transfer::waiting).sum());
        }
    }
    assert!(held_back.is_some() && pieces > 10, "{pieces}");
    assert!(pieces <= 2 * SIZE / transfer::READ as usize, "{pieces} pieces of {replies} bytes");
}

#[test]
fn directories_that_were_being_filled_can_be_looked_into_afterwards() {
    let sides = Sides::new();
    sides.write("tree/a/b/large", vec![b'x'; 8 << 20]);
    fs::set_permissions(sides.remote("tree/a/b"), fs::Permissions::from_mode(0o750)).expect("permissions");
    let mut downloading = sides.downloading(&["tree"], None, recursive());
    let mut server = Server::start(&sides.remote(""));
    run_until(&mut downloading, &mut server, |downloading| downloading.progress.done > 2 << 20);
    let mode = |path: &str| fs::metadata(sides.local(path)).expect("a directory").permissions().mode() & 0o777;
    assert_eq!((mode("tree/a"), mode("tree/a/b")), (0o700, 0o700), "while they are being filled");
    downloading.abort();
    let cancelled = Outcome::Cancelled { stage: HostStage::Running, why: None };
    assert!(matches!(downloading.conclude(cancelled), Outcome::Cancelled { .. }));
    let umask = 0o777 & !local_mode(0o777, false);
    assert_eq!((mode("tree/a"), mode("tree/a/b")), (0o755 & !umask, 0o750 & !umask));
}

#[test]
fn a_file_where_a_wildcard_looks_for_directories_is_nothing_to_tell() {
    for (is_directory, expected) in
        [(false, "Exited(0)"), (true, "tree/*/in*: the SFTP server says \"Failure\" and no more")]
    {
        let sides = Sides::new();
        let mut played = Played::with_entries(&[(b"a", FILE), (b"b", DIRECTORY)]);
        if is_directory {
            played.directories.insert(b"tree/a".to_vec(), Vec::new());
        }
        let remotes = ["tree/*/in*"];
        let mut downloading = sides.downloading(&remotes, None, recursive());
        play_on(&mut downloading, 100, |asked| match asked.kind {
            // As servers do that have no better status code.
            OPENDIR if asked.text.starts_with(b"tree/a") => status(asked.id, 4),
            // The fake server knows directories by one name only.
            OPENDIR | READDIR if asked.text.ends_with(b"/") => {
                let text = asked.text[..asked.text.len() - 1].to_vec();
                played.answer(&Asked { text, ..asked.clone() })
            }
            _ => played.answer(asked),
        });
        assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), expected);
        assert_eq!(sides.arrived(), files(&[("inner", "inner")]));
    }
}
