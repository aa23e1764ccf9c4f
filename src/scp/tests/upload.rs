//! Uploads to a real `scp -t`.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::copy::random_tag;
use crate::scp::upload::{Sending, command};

const PLAIN: Options = Options { recursive: false, preserve: false, checksum: false, resume: false, inplace: false };
const TREE: Options = Options { recursive: true, ..PLAIN };

fn send(peer: &Peer, upload: &Arc<Upload>) -> Talk {
    peer.talk(&command(upload, &random_tag()), &mut Sending::new(upload.clone()))
}

#[track_caller]
fn send_well(field: &Field, sources: &[&str], target: &str, options: Options) -> Talk {
    let talk = send(&field.peer(), &field.upload(sources, target.as_bytes(), options));
    assert!(matches!(talk.outcome, Outcome::Exited(0)), "{target}: {talk:?}");
    assert_eq!(talk.stderr, "", "{target}");
    talk
}

#[test]
fn a_file_goes_where_scp_would_put_it() {
    let cases = [
        // Target, and where the file is then.
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
