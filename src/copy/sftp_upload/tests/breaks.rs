use std::os::unix::process::CommandExt;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::copy::sftp::testing::{lost, program};
use crate::events::event::HostStage;
use crate::plan::program::Program;
use crate::system::cancel::Reason;

/// Whether a name is that of a temporary file.
fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.contains(".pssh-")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The server gets a part of the data, then the connection breaks.
    #[test]
    fn wherever_the_connection_breaks_the_target_is_the_old_or_the_new_file(
        cut in prop_oneof![0..1_500usize, 0..210_000usize],
        options in prop::sample::select(vec![
            plain(),
            Options { checksum: true, ..plain() },
            Options { preserve: true, ..plain() },
            Options { resume: true, ..plain() },
        ]),
        has_extensions: bool,
        is_there: bool,
    ) {
        let pair = Pair::new();
        let (old, new) = (noise(1_000), noise(100_000));
        for name in ["f", "g"] {
            pair.write(name.as_bytes(), &new);
            if is_there {
                fs::write(pair.there.join(name), &old).unwrap();
            }
        }
        let mut server = if has_extensions { pair.server() } else { pair.server().without_extensions() };
        server.sends = cut;
        let mut uploading = pair.uploading(&["f", "g"], "", options);
        let outcome = server.talk(&mut uploading);
        let is_broken = server.sent == cut;
        for name in ["f", "g"] {
            match fs::read(pair.there.join(name)) {
                Ok(content) => prop_assert!(content == new || is_there && content == old, "{} bytes", content.len()),
                // A server that cannot replace a file must remove it first: only then both may be missing for a moment.
                Err(_) => prop_assert!(!is_there || !has_extensions),
            }
        }
        if is_broken && !matches!(uploading.phase, Phase::Done) {
            let text = match outcome {
                Outcome::Failed(error) => error.to_string(),
                other => panic!("{other:?}"),
            };
            prop_assert!(text.contains("the connection failed; ") && text.ends_with("of 2 files and directories were copied"));
        } else {
            assert_ok(&outcome);
            prop_assert!(pair.read("f") == new && pair.read("g") == new);
            prop_assert_eq!(pair.names(), ["f", "g"]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// The partial file of an earlier attempt is continued, and the result is the same file.
    #[test]
    fn what_has_arrived_already_is_not_sent_again(cut in 5_000_000..9_000_000usize, checksum: bool) {
        let pair = Pair::new();
        let content = noise(9_000_000);
        pair.write(b"f", &content);
        let options = Options { resume: true, checksum, ..plain() };
        let mut server = pair.server();
        server.sends = cut;
        let mut uploading = pair.uploading(&["f"], "", options);
        prop_assert!(!matches!(server.talk(&mut uploading), Outcome::Exited(_)));
        let left = pair.names();
        prop_assert!(left.len() == 1 && is_temporary(&left[0]), "{:?}", left);
        let arrived = fs::metadata(pair.there.join(&left[0])).unwrap().len();

        let mut server = pair.server();
        let mut uploading = pair.uploading(&["f"], "", options);
        assert_ok(&server.talk(&mut uploading));
        prop_assert!(pair.read("f") == content);
        prop_assert_eq!(pair.names(), ["f"]);
        prop_assert_eq!(uploading.progress(), Some(Progress { done: 9_000_000, total: 9_000_000 }));
        let rest = content.len() as u64 - (arrived - WINDOW);
        prop_assert!((rest..rest + 50_000).contains(&(server.sent as u64)), "{} for {rest}", server.sent);
    }
}

#[test]
fn another_version_of_a_file_is_not_continued() {
    let pair = Pair::new();
    let options = Options { resume: true, ..plain() };
    pair.write(b"f", noise(9_000_000));
    let mut server = pair.server();
    server.sends = 8_000_000;
    server.talk(&mut pair.uploading(&["f"], "", options));
    let left = pair.names();
    assert!(left.len() == 1 && is_temporary(&left[0]), "{left:?}");
    let content = vec![7; 9_000_000];
    pair.write(b"f", &content);
    assert_ok(&pair.upload(&["f"], "", options));
    assert!(pair.read("f") == content);
    assert_eq!(pair.names(), [&left[0], "f"]);
}

#[test]
fn what_cannot_be_continued_is_begun_anew_or_refused() {
    let pair = Pair::new();
    pair.write(b"f", "content");
    let options = Options { resume: true, ..plain() };
    let mut uploading = pair.uploading(&["f"], "", options);
    let version = uploading.shared.upload.sources.version(0);
    let temporary = pair.there.join(OsStr::from_bytes(&crate::copy::temporary_name(b"f", &version)));
    fs::write(&temporary, "longer than the whole file").unwrap();
    assert_ok(&pair.server().talk(&mut uploading));
    assert_eq!((pair.read("f"), pair.names().len()), (b"content".to_vec(), 1));
    // One that its owner may no longer open.
    fs::write(&temporary, "cont").unwrap();
    fs::set_permissions(&temporary, Permissions::from_mode(0o400)).unwrap();
    assert_ok(&pair.upload(&["f"], "", options));
    assert_eq!((pair.read("f"), mode(&pair.there.join("f"))), (b"content".to_vec(), 0o644));
    // A link that another user may have created is not followed.
    fs::write(pair.there.join("victim"), "victim").unwrap();
    std::os::unix::fs::symlink("victim", &temporary).unwrap();
    let (told, _) = failure(pair.upload(&["f"], "", options));
    assert!(told.ends_with("it is not a regular file, and cannot be continued"), "{told}");
    assert_eq!(pair.read("victim"), b"victim");
}

#[test]
fn what_others_may_have_put_there_is_not_continued() {
    assert!(rustix::process::geteuid().is_root(), "only root can give a file away");
    let options = Options { resume: true, ..plain() };
    let content = noise(9_000_000);
    // Without owners neither its owner nor ours is known.
    for has_owners in [true, false] {
        for (owner, bits, goes_on) in [
            (0, 0o644, true),
            (65_533, 0o644, !has_owners),
            (0, 0o646, false),
            (0, 0o664, false),
            (65_533, 0o666, false),
        ] {
            let pair = Pair::new();
            pair.write(b"f", &content);
            let mut uploading = pair.uploading(&["f"], "", options);
            let version = uploading.shared.upload.sources.version(0);
            let temporary = pair.there.join(OsStr::from_bytes(&crate::copy::temporary_name(b"f", &version)));
            fs::write(&temporary, &content[..8_000_000]).unwrap();
            fs::set_permissions(&temporary, Permissions::from_mode(bits)).unwrap();
            std::os::unix::fs::chown(&temporary, Some(owner), None).unwrap();
            let mut server = pair.server();
            if !has_owners {
                server.rewrite = Box::new(without_owner);
            }
            assert_ok(&server.talk(&mut uploading));
            assert_eq!(server.sent < 6_000_000, goes_on, "{owner} {bits:o} {has_owners}: {} bytes", server.sent);
            let copy = fs::metadata(pair.there.join("f")).unwrap();
            assert!(pair.read("f") == content && (copy.uid() == 0 || goes_on) && copy.mode() & 0o022 == 0);
            assert_eq!(pair.names(), ["f"], "neither it nor what was made to look at is left");
        }
    }
}

/// Takes the owner out of an answer with attributes (`SSH_FXP_ATTRS`).
fn without_owner(packet: &mut Vec<u8>) {
    const ATTRS: u8 = 105;
    const HAS_OWNER: u8 = 2;
    // Length, type, number, flags, size, owner.
    if packet[4] == ATTRS && packet[12] & HAS_OWNER != 0 {
        packet[12] &= !HAS_OWNER;
        let start = if packet[12] & 1 != 0 { 21 } else { 13 };
        packet.drain(start..start + 8);
        let length = (packet.len() - 4) as u32;
        packet[..4].copy_from_slice(&length.to_be_bytes());
    }
}

#[test]
fn a_hard_link_to_another_file_is_not_gone_on_with() {
    let options = Options { resume: true, ..plain() };
    let content = noise(9_000_000);
    // Also one of which no part could be kept; and a server whose lines do not contain the number of links.
    for (length, is_link, tells_links) in [
        (8_000_000, true, true),
        (5_000, true, true),
        (0, true, true),
        (8_000_000, true, false),
        (8_000_000, false, false),
    ] {
        let pair = Pair::new();
        pair.write(b"f", &content);
        let mut uploading = pair.uploading(&["f"], "", options);
        let version = uploading.shared.upload.sources.version(0);
        let temporary = pair.there.join(OsStr::from_bytes(&crate::copy::temporary_name(b"f", &version)));
        let victim = pair.there.parent().unwrap().join("victim");
        fs::write(&victim, vec![7; length]).unwrap();
        if is_link {
            fs::hard_link(&victim, &temporary).unwrap();
        } else {
            fs::copy(&victim, &temporary).unwrap();
        }
        let mut server = pair.server();
        if !tells_links {
            server.rewrite = Box::new(|packet| without_lines(packet));
        }
        assert_ok(&server.talk(&mut uploading));
        assert!(fs::read(&victim).unwrap() == vec![7; length], "{length}: the other file is as it was");
        assert!(pair.read("f") == content);
        assert_eq!(pair.names(), ["f"]);
    }
}

/// Empties the long lines in a list of names (`SSH_FXP_NAME`).
fn without_lines(packet: &mut [u8]) {
    const NAME: u8 = 104;
    if packet[4] == NAME {
        let mode = b"-rw";
        let lines: Vec<usize> = (0..packet.len() - mode.len()).filter(|at| packet[*at..].starts_with(mode)).collect();
        lines.into_iter().for_each(|at| packet[at] = b'?');
    }
}

#[test]
fn another_file_that_takes_its_place_is_not_written_to() {
    let pair = Pair::new();
    pair.write(b"f", noise(9_000_000));
    let options = Options { resume: true, ..plain() };
    let mut uploading = pair.uploading(&["f"], "", options);
    let version = uploading.shared.upload.sources.version(0);
    let temporary = pair.there.join(OsStr::from_bytes(&crate::copy::temporary_name(b"f", &version)));
    fs::write(&temporary, vec![7; 5_000_000]).unwrap();
    let mut server = pair.server();
    let (place, victim) = (temporary.clone(), pair.there.join("victim"));
    fs::write(&victim, "victim").unwrap();
    // Between the look at it and its open.
    let mut is_done = false;
    server.tamper = Box::new(move |said| {
        let opens = said.windows(14).filter(|packet| packet[4] == 3).count();
        if opens > 0 && !std::mem::replace(&mut is_done, true) {
            fs::remove_file(&place).unwrap();
            std::os::unix::fs::symlink("victim", &place).unwrap();
        }
    });
    let (told, _) = failure(server.talk(&mut uploading));
    assert!(told.ends_with("another file has taken its place"), "{told}");
    assert_eq!(fs::read(victim).unwrap(), b"victim");
}

#[test]
fn what_was_damaged_on_its_way_does_not_take_its_place() {
    for resume in [false, true] {
        let pair = Pair::new();
        pair.write(b"f", noise(100_000));
        fs::write(pair.there.join("f"), "old").unwrap();
        let mut server = pair.server();
        let mut sent = 0;
        server.tamper = Box::new(move |bytes| {
            // A byte within the content.
            if (sent..sent + bytes.len()).contains(&50_000) {
                bytes[50_000 - sent] ^= 1;
            }
            sent += bytes.len();
        });
        let options = Options { checksum: true, resume, ..plain() };
        let (told, others) = failure(server.talk(&mut pair.uploading(&["f"], "", options)));
        assert_eq!((told.as_str(), others), ("f: the received file differs from the local one (SHA-256)", 0));
        // No part remains that could be continued.
        assert_eq!((pair.names(), pair.read("f")), (vec!["f".to_owned()], b"old".to_vec()));
    }
}

#[test]
fn an_upload_that_is_stopped_leaves_nothing_behind() {
    for (resume, stop_at) in [(false, 0), (false, 1), (false, 3_000_000), (true, 3_000_000)] {
        let pair = Pair::new();
        for name in ["a", "b", "c"] {
            pair.write(name.as_bytes(), noise(9_000_000));
            fs::write(pair.there.join(name), "old").unwrap();
        }
        let mut uploading = pair.uploading(&["a", "b", "c"], "", Options { resume, ..plain() });
        let mut server = pair.server();
        server.talk_while(&mut uploading, |uploading| uploading.shared.done < stop_at);
        let (names, temporary): (Vec<_>, Vec<_>) = pair.names().into_iter().partition(|name| !is_temporary(name));
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(temporary.is_empty(), !resume, "{temporary:?}");
        for name in names {
            let content = pair.read(&name);
            assert!(content == b"old" || content == noise(9_000_000));
        }
        assert_eq!(uploading.shared.open, 0);
        // The reason of the stop is reported.
        let cancelled = || Outcome::Cancelled { stage: HostStage::Running, why: Some(Reason::Program) };
        assert!(matches!(uploading.conclude(cancelled()), Outcome::Cancelled { .. }));
    }
}

#[test]
fn a_file_that_changes_here_is_an_error_for_that_file() {
    let pair = Pair::new();
    let large = pair.write(b"large", noise(9_000_000));
    pair.write(b"other", "other");
    fs::write(pair.there.join("large"), "old").unwrap();
    let mut uploading = pair.uploading(&["large", "other"], "", Options { resume: true, ..plain() });
    let mut is_changed = false;
    let outcome = pair.server().talk_while(&mut uploading, |uploading| {
        if uploading.shared.done > 1_000_000 && !is_changed {
            is_changed = true;
            fs::write(&large, vec![1; 9_000_000]).unwrap();
        }
        true
    });
    let (told, others) = failure(outcome);
    assert_eq!((told, others), (format!("{}: it changed while it was copied", large.display()), 0));
    assert_eq!((pair.read("large"), pair.read("other")), (b"old".to_vec(), b"other".to_vec()));
    assert_eq!(pair.names(), ["large", "other"]);
}

/// A server that cannot write files of more than 100 KiB, and reports a full disk.
fn full_server(pair: &Pair, tells_room: bool) -> Server {
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f 200; exec {} -d \"$0\"", program().display());
    command.arg("-c").arg(script).arg(&pair.there).process_group(0);
    let mut server = Server::spawn(command);
    server.rewrite = Box::new(move |packet| {
        // The reply to STATVFS, and not that to LIMITS, which is shorter.
        if tells_room && packet[4] == 201 && packet.len() == 9 + 88 {
            packet[9..].fill(0);
        }
    });
    server
}

#[test]
fn a_full_disk_is_told_and_ends_the_copy() {
    let pair = Pair::new();
    for number in 0..200 {
        pair.write(format!("t/{number:03}").as_bytes(), if number == 3 { noise(8_000_000) } else { noise(50) });
    }
    for resume in [false, true] {
        let mut uploading = pair.uploading(&["t"], "", Options { resume, ..recursive() });
        let (told, others) = failure(full_server(&pair, true).talk(&mut uploading));
        let (told, kept) = told.split_once("; the received part is kept as t/.003.pssh-").unwrap_or((&told, ""));
        assert_eq!((told, kept.is_empty()), ("t/003: No space left on device", !resume));
        // What was sent in full is put in place, the rest is not tried.
        let (temporary, copied): (Vec<_>, Vec<_>) =
            names(&pair.there.join("t")).into_iter().partition(|name| is_temporary(name));
        assert_eq!(temporary.len(), usize::from(resume), "{temporary:?}");
        assert!(copied.len() < 200 && others == 199 - copied.len(), "{others} {}", copied.len());
        for name in copied {
            assert_eq!(pair.read(&format!("t/{name}")), noise(50));
        }
        fs::remove_dir_all(pair.there.join("t")).unwrap();
    }
    // With free space the reason is another, and only that file fails.
    let mut uploading = pair.uploading(&["t"], "", recursive());
    let outcome = full_server(&pair, false).talk(&mut uploading);
    assert!(outcome.hint(Program::Pscp).is_some());
    let (told, others) = failure(outcome);
    assert_eq!((told.as_str(), others), ("t/003: the SFTP server says \"Failure\" and no more", 0));
    assert_eq!(names(&pair.there.join("t")).len(), 199);
}

#[test]
fn what_the_user_may_not_do_is_told() {
    let pair = Pair::new();
    for name in ["t/closed/f", "t/open/f", "t/other"] {
        pair.write(name.as_bytes(), name);
    }
    fs::create_dir_all(pair.there.join("t/closed")).unwrap();
    fs::create_dir_all(pair.there.join("t/open")).unwrap();
    fs::write(pair.there.join("t/closed/g"), "old").unwrap();
    fs::set_permissions(pair.there.join("t/closed/g"), Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(pair.there.join("t/closed"), Permissions::from_mode(0o555)).unwrap();
    for path in ["t", "t/open"] {
        fs::set_permissions(pair.there.join(path), Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(pair.here.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    // root may do everything: run the server as another user.
    let upload = |names: &[&str], target: &str, options: Options| {
        let mut command = Command::new(program());
        command.arg("-d").arg(&pair.there);
        if nix::unistd::getuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        Server::spawn(command).talk(&mut pair.uploading(names, target, options))
    };
    let (told, others) = failure(upload(&["t"], "", recursive()));
    assert_eq!((told.as_str(), others), ("t/closed/f: Permission denied", 0));
    assert_eq!((pair.read("t/open/f"), pair.read("t/other")), (b"t/open/f".to_vec(), b"t/other".to_vec()));
    // A file may be writable in a directory that is not, but only in place.
    let outcome = upload(&["t/other"], "t/closed/g", plain());
    assert!(outcome.hint(Program::Pscp).is_some_and(|hint| hint.contains("--inplace")));
    assert_eq!(failure(outcome), ("t/closed/g: Permission denied".to_owned(), 0));
    assert_eq!(pair.read("t/closed/g"), b"old");
    assert_ok(&upload(&["t/other"], "t/closed/g", Options { inplace: true, ..plain() }));
    assert_eq!(pair.read("t/closed/g"), b"t/other");
    assert_eq!(walk(&pair.there).len(), 6);
}

/// Runs a part of a dialogue.
fn say_until(server: &mut Server, uploading: &mut Uploading, is_enough: impl Fn(&Uploading) -> bool) {
    let mut out = Vec::new();
    while !is_enough(uploading) {
        while uploading.say(&mut out) == Say::Said {}
        assert!(out.is_empty() || server.send(&out));
        out.clear();
        uploading.hear(&server.packet().unwrap());
    }
}

#[test]
fn a_server_that_ends_too_early_says_what_is_missing() {
    let pair = Pair::new();
    pair.write(b"t/f", noise(9_000_000));
    pair.write(b"t/g", "g");
    let mut server = pair.server();
    let mut uploading = pair.uploading(&["t"], "", recursive());
    let mut packets = 0;
    server.rewrite = Box::new(move |packet| {
        packets += 1;
        if packets > 20 {
            // Far too long.
            packet[0] = 0xff;
        }
    });
    match server.talk(&mut uploading) {
        Outcome::Failed(error) => {
            assert!(error.to_string().starts_with("SFTP: the server broke the protocol: a packet of "), "{error}");
        }
        other => panic!("{other:?}"),
    }

    let mut uploading = pair.uploading(&["t"], "x", recursive());
    let mut server = pair.server();
    uploading.overhear(b"first line\nsegfault, or so\n");
    say_until(&mut server, &mut uploading, |uploading| uploading.shared.done > 100_000);
    let ended = server.end();
    let (told, others) = failure(uploading.conclude(ended));
    let expected = "x/f: it was not copied before the SFTP server ended (exit status 0: \"segfault, or so\")";
    assert_eq!((told.as_str(), others <= 1), (expected, true));

    let mut uploading = pair.uploading(&["t"], "x", recursive());
    uploading.overhear(b"sh: sftp-server: not found\n");
    assert!(!uploading.has_begun());
    match uploading.conclude(Outcome::Exited(127)) {
        Outcome::Failed(error) => {
            let expected =
                "SFTP: the server ended before it answered (exit status 127: \"sh: sftp-server: not found\")";
            assert_eq!(error.to_string(), expected);
            assert!(error.hint(Program::Pscp).is_some());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_is_killed_does_not_hang_us() {
    let pair = Pair::new();
    pair.write(b"f", noise(9_000_000));
    fs::write(pair.there.join("f"), "old").unwrap();
    let mut uploading = pair.uploading(&["f"], "", plain());
    let mut server = pair.server();
    say_until(&mut server, &mut uploading, |uploading| uploading.shared.done > 1_000_000);
    server.kill();
    while let Some(packet) = server.packet() {
        uploading.hear(&packet);
    }
    let outcome = uploading.conclude(Outcome::Signaled { name: "KILL".to_owned() });
    assert_eq!(failure(outcome).0, "f: it was not copied before the SFTP server ended (signal KILL)");
    assert_eq!(pair.read("f"), b"old");
    assert!(matches!(pair.uploading(&["f"], "", plain()).conclude(lost()), Outcome::Failed(_)));
}

#[test]
fn everything_confirmed_is_success_however_the_channel_ends() {
    let pair = Pair::new();
    pair.write(b"f", "f");
    let mut uploading = pair.uploading(&["f"], "", plain());
    assert_ok(&pair.server().talk(&mut uploading));
    for channel in [Outcome::Exited(1), Outcome::Signaled { name: "PIPE".to_owned() }, lost()] {
        assert_ok(&uploading.conclude(channel));
    }
}

#[test]
fn text_before_the_first_packet_is_explained() {
    let pair = Pair::new();
    pair.write(b"f", "f");
    let mut command = Command::new("sh");
    command.args(["-c", "echo 'Welcome to db1'; exec \"$0\"", program().to_str().unwrap()]);
    let mut uploading = pair.uploading(&["f"], "", plain());
    // Its first text is not a packet: the driver would wait for one.
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    uploading.hear(&output.stdout);
    assert_eq!(uploading.say(&mut Vec::new()), Say::Over);
    // A program exists: its answer to scp would be the same as to SFTP.
    assert!(uploading.has_begun());
    match uploading.conclude(Outcome::Exited(0)) {
        Outcome::Failed(error) => {
            assert_eq!(error.to_string(), "SFTP: the host sent text instead: \"Welcome to db1\"");
            assert!(error.hint(Program::Pscp).is_some());
        }
        other => panic!("{other:?}"),
    }
}
