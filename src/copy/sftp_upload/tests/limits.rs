//! Servers with few handles, and what `--inplace` may remove.

use std::process::Command;

use super::*;
use crate::copy::sftp::testing::program;

#[test]
fn a_server_with_few_handles_is_not_asked_for_more() {
    let pair = Pair::new();
    for number in 0..300 {
        pair.write(format!("t/d{}/f{number}", number % 3).as_bytes(), noise(40_000));
    }
    // Twice: the second time every file exists, and is looked at first.
    for checksum in [false, true] {
        let mut command = Command::new("sh");
        // It needs five for itself.
        command.args(["-c", "ulimit -n 9; exec \"$0\" -d \"$1\""]).arg(program()).arg(&pair.there);
        let mut uploading = pair.uploading(&["t"], "", Options { checksum, ..recursive() });
        let mut server = Server::spawn(command);
        assert_ok(&server.talk(&mut uploading));
        assert_eq!((uploading.shared.handles, uploading.shared.open), (4, 0), "it has said so, and none is left over");
    }
    for number in 0..300 {
        assert_eq!(pair.read(&format!("t/d{}/f{number}", number % 3)), noise(40_000));
    }
}

#[test]
fn files_that_fail_before_they_are_opened_are_not_counted_for_ever() {
    let pair = Pair::new();
    for number in 0..400 {
        pair.write(format!("t/f{number}").as_bytes(), "x");
        // A directory exists in place of all but the last ones.
        if number < 390 {
            fs::create_dir_all(pair.there.join(format!("t/f{number}"))).unwrap();
        }
    }
    let mut uploading = pair.uploading(&["t"], "", recursive());
    let (told, others) = failure(pair.server().talk(&mut uploading));
    assert!(told.ends_with("a directory exists where the file should go"), "{told}");
    assert_eq!((others, uploading.shared.open), (389, 0));
    for number in 390..400 {
        assert_eq!(pair.read(&format!("t/f{number}")), b"x");
    }
}

#[test]
fn in_place_removes_what_it_has_made_and_nothing_else() {
    let inplace = Options { inplace: true, ..plain() };
    let pair = Pair::new();
    pair.write(b"f", noise(200_000));
    let link = |name: &str, to: &str| std::os::unix::fs::symlink(to, pair.there.join(name)).unwrap();
    // A dangling link is written through.
    link("link", "made");
    assert_ok(&pair.upload(&["f"], "link", inplace));
    assert_eq!(pair.read("made"), noise(200_000));
    assert!(fs::symlink_metadata(pair.there.join("link")).unwrap().is_symlink());
    // If writing fails, the link stays, and a new file does not.
    link("other", "left");
    for (target, stays) in [("other", true), ("new", false)] {
        let mut command = Command::new("sh");
        // A limit of 50 KiB on the size of files simulates a failing disk.
        command.args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" -d \"$1\""]).arg(program()).arg(&pair.there);
        let mut server = Server::spawn(command);
        let (told, _) = failure(server.talk(&mut pair.uploading(&["f"], target, inplace)));
        assert!(told.starts_with(&format!("{target}: the SFTP server says \"Failure\"")), "{told}");
        assert_eq!(fs::symlink_metadata(pair.there.join(target)).is_ok(), stays, "{target}");
    }
    // A file that existed before stays as well, whatever it contains.
    fs::write(pair.there.join("old"), "old").unwrap();
    let mut server = pair.server();
    server.sends = 60_000;
    let _ = server.talk(&mut pair.uploading(&["f"], "old", inplace));
    assert!(pair.there.join("old").exists());
}
