//! The cases of tests/it/known_hosts.rs, where `ssh` is the oracle, and cases without an oracle.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::*;

const ECDSA: &str = concat!(
    "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJ7ZZV3fa3EhsJADYlKVHreOtT1TN8tqi5nNb0RqqwVC",
    "/yJ3bIGCvtOtjJyiujzSOiICxsP9OQ8n1spRo3xsVWw="
);

fn blob(strings: &[&[u8]]) -> Vec<u8> {
    strings.iter().flat_map(|it| [&(it.len() as u32).to_be_bytes()[..], it].concat()).collect()
}

fn ed25519(seed: u8) -> Vec<u8> {
    blob(&[b"ssh-ed25519", &[seed; 32]])
}

fn rsa(leading_zeros: usize) -> Vec<u8> {
    blob(&[b"ssh-rsa", &[1, 0, 1], &[vec![0; leading_zeros], vec![0xc3; 256]].concat()])
}

fn text(blob: &[u8]) -> String {
    format!("{} {}", key_type(blob).unwrap_or("?"), STANDARD.encode(blob))
}

/// Writes a file in which `{1}` and `{2}` are Ed25519 keys, `{rsa}` and `{ec}` others, each with its type.
fn write(dir: &TempDir, name: &str, template: &str) -> PathBuf {
    let path = dir.path().join(name);
    let filled = template
        .replace("{1_base64}", &STANDARD.encode(ed25519(1)))
        .replace("{1}", &text(&ed25519(1)))
        .replace("{2}", &text(&ed25519(2)))
        .replace("{rsa}", &text(&rsa(1)))
        .replace("{ec}", &format!("ecdsa-sha2-nistp256 {ECDSA}"));
    fs::write(&path, filled).expect("known_hosts");
    path
}

fn load(dir: &TempDir, template: &str) -> KnownHosts {
    KnownHosts::load(&[write(dir, "user", template)], &[])
}

/// Formats the verdict and the lines: `known 1`, `changed 1 2`, `revoked 1` or `unknown`.
fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Known(place) => format!("known {}", place.line),
        Verdict::Unknown => "unknown".to_owned(),
        Verdict::Changed(places) => places.iter().fold("changed".to_owned(), |text, it| format!("{text} {}", it.line)),
        Verdict::Revoked(place) => format!("revoked {}", place.line),
    }
}

#[test]
fn verdicts() {
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        ("plain", "h {1}", "h", 22, "known 1"),
        ("nothing known", "", "h", 22, "unknown"),
        ("changed", "h {2}\n\nh {rsa}\n", "h", 22, "changed 1 3"),
        ("one of several", "h {2}\nh {1}\n", "h", 22, "known 2"),
        ("list, tabs, leading blanks", "\t a,h\t{1} c\n", "h", 22, "known 1"),
        ("upper case on both sides", "A.H {1}\n", "a.H", 22, "known 1"),
        ("CRLF", "\r\nh {1}\r\n", "h", 22, "known 2"),
        ("IPv6 in its shortest form", "[2001:db8::1]:2222 {1}\n", "2001:0DB8::0:1", 2222, "known 1"),
        ("port", "[h]:2222 {1}\n", "h", 2222, "known 1"),
        ("port, not on 22", "[h]:2222 {1}\n", "h", 22, "unknown"),
        ("port-less line", "h {1}\n", "h", 2222, "known 1"),
        ("port-less line doesn't contradict", "h {2}\n", "h", 2222, "unknown"),
        ("port-less line doesn't excuse", "[h]:2222 {2}\nh {1}\n", "h", 2222, "changed 1"),
        ("port-less line revokes", "@revoked h {1}\n", "h", 2222, "revoked 1"),
        ("port-less line is not asked", "@revoked h {1}\n[h]:2222 {1}\n", "h", 2222, "known 2"),
        ("pattern", "*.h,!b.h {1}\n", "a.h", 22, "known 1"),
        ("negation", "*.h,!b.h {1}\n", "b.h", 22, "unknown"),
        ("order of plain and pattern", "h {2}\n* {rsa}\nh {2}\n", "h", 22, "changed 1 2 3"),
        ("same name twice in a line", "h,h {2}\n", "h", 22, "changed 1"),
        ("hashed", "|1|STwYA7+Bati5SzEt2L8lRgajbWI=|AYGLxcgpyMOrlaAz/M4DpYDasJ0= {1}\n", "H", 22, "known 1"),
        (
            "hashed, another host",
            "|1|STwYA7+Bati5SzEt2L8lRgajbWI=|AYGLxcgpyMOrlaAz/M4DpYDasJ0= {1}\n",
            "g",
            22,
            "unknown",
        ),
        (
            "hashed, part of a list",
            "|1|STwYA7+Bati5SzEt2L8lRgajbWI=|AYGLxcgpyMOrlaAz/M4DpYDasJ0=,h {1}\n",
            "h",
            22,
            "unknown",
        ),
        ("revoked wins", "h {1}\n@revoked * {1}\n", "h", 22, "revoked 2"),
        ("revoked for another host", "@revoked g {1}\n", "h", 22, "unknown"),
        ("revoked, tab, then spaces", "@revoked\th {1}\n", "h", 22, "revoked 1"),
        ("authority is no key", "@cert-authority h {1}\n", "h", 22, "unknown"),
        ("bad lines", "@x h {2}\n@revoked @revoked h {1}\nh\nh x\nh ssh-ed25519 AAAA\nh {1}\n", "h", 22, "known 6"),
        ("type differs from the key's", "h ssh-rsa {1_base64}\n", "h", 22, "unknown"),
        ("NUL ends the line", "h\0 {2}\nh {1}\0x\n", "h", 22, "known 2"),
    ];
    let dir = TempDir::new().expect("temporary directory");
    for (name, file, host, port, expected) in cases {
        let verdict = load(&dir, file).check(host, *port, &ed25519(1));
        assert_eq!(words(&verdict), *expected, "{name}");
    }
}

#[test]
fn long_names_match_nothing() {
    let dir = TempDir::new().expect("temporary directory");
    for (length, expected) in [(1022, "known 1"), (1023, "unknown")] {
        let known_hosts = load(&dir, &format!("h,{} {{1}}\n", "x".repeat(length)));
        assert_eq!(words(&known_hosts.check("h", 22, &ed25519(1))), expected);
    }
}

#[test]
fn bytes_that_are_no_text() {
    let dir = TempDir::new().expect("temporary directory");
    let path = write(&dir, "user", "");
    fs::write(&path, [b"\xff {1}\nh ", text(&ed25519(1)).as_bytes(), b" caf\xe9\n"].concat()).expect("known_hosts");
    assert_eq!(words(&KnownHosts::load(&[path], &[]).check("h", 22, &ed25519(1))), "known 2");
}

#[test]
fn keys_are_equal_by_value() {
    let dir = TempDir::new().expect("temporary directory");
    let known_hosts = load(&dir, &format!("h rsa-sha2-512 {}\n", STANDARD.encode(rsa(1))));
    assert_eq!(known_hosts.key_types("h", 22), ["ssh-rsa"]);
    for leading_zeros in [1, 2, 9] {
        assert_eq!(words(&known_hosts.check("h", 22, &rsa(leading_zeros))), "known 1", "{leading_zeros}");
    }
    assert_eq!(words(&known_hosts.check("h", 22, &rsa(0))), "changed 1", "a negative number");
    assert_eq!(words(&known_hosts.check("h", 22, b"")), "changed 1", "no key at all");
    assert_eq!(words(&known_hosts.check("g", 22, b"")), "unknown", "no key at all");
}

#[test]
fn malformed_keys_are_skipped_and_noted() {
    let dir = TempDir::new().expect("temporary directory");
    let mut off_curve = STANDARD.decode(ECDSA).expect("base64");
    *off_curve.last_mut().expect("key") ^= 1;
    let small = blob(&[b"ssh-rsa", &[1, 0, 1], &[0x43; 96]]);
    let long = [ed25519(1), vec![0]].concat();
    for bad in [off_curve, small, long, blob(&[b"ssh-ed25519", &[1; 31]]), blob(&[b"ssh-ed25519"])] {
        let known_hosts = load(&dir, &format!("h {{ec}}\nh {}\n", text(&bad)));
        assert_eq!(words(&known_hosts.check("h", 22, &ed25519(1))), "changed 1");
        let notes = known_hosts.notes();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert_eq!(notes[0].line, Some(2));
    }
}

#[test]
fn notes_tell_file_and_line() {
    let dir = TempDir::new().expect("temporary directory");
    let user = write(&dir, "user", "# fine\nh\nh {1}\nh ssh-x AAAA\n");
    let known_hosts = KnownHosts::load(&[user.clone(), dir.path().join("missing"), user.join("below")], &[]);
    let notes: Vec<String> = known_hosts.notes().iter().map(Note::to_string).collect();
    assert_eq!(notes[0], format!("{}:2: no key", user.display()));
    assert_eq!(notes[1], format!("{}:4: unknown key type", user.display()));
    assert_eq!(notes.len(), 2);
    assert_eq!(known_hosts.refused(), None);
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let dir = TempDir::new().expect("temporary directory");
    let good = write(&dir, "good", "h {1}\n");
    let looped = dir.path().join("loop");
    std::os::unix::fs::symlink(&looped, &looped).expect("a link");
    for bad in [dir.path(), looped.as_path()] {
        for (user, global) in [([good.as_path(), bad], &[][..]), ([good.as_path(), &good], &[bad.to_owned()])] {
            let known_hosts = KnownHosts::load(&user.map(Path::to_owned), global);
            let refused = known_hosts.refused().expect("refused").to_string();
            assert!(refused.starts_with(&format!("{}: ", bad.display())), "{refused}");
        }
    }
}

#[test]
fn types_to_ask_for() {
    let cases: &[(&str, u16, &[&str])] = &[
        ("h {rsa}\nh {1}\nh {2}\n", 22, &["ssh-rsa", "ssh-ed25519"]),
        ("h {rsa}\nh {1}\n@revoked * {1}\n", 22, &["ssh-rsa"]),
        ("h {ec}\n[h]:2222 {1}\n", 2222, &["ssh-ed25519"]),
        ("h {ec}\n", 2222, &["ecdsa-sha2-nistp256"]),
        ("@cert-authority * {1}\ng {rsa}\n", 22, &[]),
    ];
    let dir = TempDir::new().expect("temporary directory");
    for (file, port, expected) in cases {
        assert_eq!(load(&dir, file).key_types("h", *port), *expected, "{file}");
    }
}

#[test]
fn authorities() {
    let dir = TempDir::new().expect("temporary directory");
    let (host_key, authority) = (ed25519(1), ed25519(2));
    let cases: &[(&str, u16, &str)] = &[
        ("@cert-authority *.h {2}\n", 22, "known 1"),
        ("@cert-authority *.h {2}\na.h {rsa}\n", 2222, "known 1"),
        ("@cert-authority a.h {2}\n[a.h]:2222 {rsa}\n", 2222, "known 1"),
        ("@cert-authority *.h {rsa}\n", 22, "changed 1"),
        ("a.h {2}\n", 22, "unknown"),
        ("@cert-authority * {2}\n@revoked * {2}\n", 22, "revoked 2"),
        ("@cert-authority * {2}\n@revoked * {1}\n", 22, "revoked 2"),
    ];
    for (file, port, expected) in cases {
        let entries = load(&dir, file).lookup("a.h", *port);
        assert_eq!(words(&entries.check_authority(&authority, &host_key)), *expected, "{file}");
        assert_eq!(entries.has_authorities(), file.contains("@cert-authority"), "{file}");
    }
}

#[test]
fn fingerprint_as_ssh_keygen_prints_it() {
    let key = STANDARD.decode(ECDSA).expect("base64");
    assert_eq!(key_type(&key), Some("ecdsa-sha2-nistp256"));
    assert_eq!(fingerprint(&key), "SHA256:wz08I3qa6sz9o8p0gU5KMoPRToE/v8qw/Ct/UiUuCgE");
    assert_eq!(key_type(b"\0\0\0\x09ssh-rsa"), None);
}

#[test]
fn remembers_for_the_run_and_in_the_file() {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("new/known_hosts");
    let known_hosts = KnownHosts::load(std::slice::from_ref(&path), &[]);
    let first = known_hosts.remember("H", 22, &ed25519(1)).expect("remember");
    assert!(matches!(&first, Remembered::Added(place) if place.to_string() == format!("{}:1", path.display())));
    known_hosts.remember("2001:DB8::0", 2222, &rsa(2)).expect("remember");

    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&dir.path().join("new")), 0o700);
    let expected = format!("h {}\n[2001:db8::]:2222 {}\n", text(&ed25519(1)), text(&rsa(1)));
    assert_eq!(fs::read_to_string(&path).expect("known_hosts"), expected);

    assert_eq!(words(&known_hosts.check("h", 22, &ed25519(1))), "known 1");
    let again = |seed| known_hosts.remember("h", 22, &ed25519(seed)).expect("remember");
    assert!(matches!(again(1), Remembered::Already(Verdict::Known(_))));
    assert!(matches!(again(2), Remembered::Already(Verdict::Changed(_))));
    assert_eq!(fs::read_to_string(&path).expect("known_hosts"), expected);
}

#[test]
fn remembers_after_what_others_wrote() {
    let dir = TempDir::new().expect("temporary directory");
    let known_hosts = load(&dir, "a {1}\nb {1}");
    let path = dir.path().join("user");
    let place = |host| match known_hosts.remember(host, 22, &ed25519(1)).expect("remember") {
        Remembered::Added(place) => format!("added {}", place.line),
        Remembered::Already(verdict) => words(&verdict),
    };
    assert_eq!(place("c"), "added 3", "after an incomplete line");
    let mut other = fs::OpenOptions::new().append(true).open(&path).expect("known_hosts");
    other.write_all(format!("d {}\n# x\ne {}", text(&ed25519(1)), text(&ed25519(2))).as_bytes()).expect("append");
    assert_eq!(place("d"), "known 4");
    assert_eq!(place("e"), "changed 6");
    assert_eq!(place("f"), "added 7");
    // Like an editor or `ssh-keygen -R`.
    fs::rename(write(&dir, "edited", "z {1}\n"), &path).expect("rename");
    assert_eq!(place("g"), "added 2");
    let lines = fs::read_to_string(&path).expect("known_hosts");
    assert_eq!(lines, format!("z {key}\ng {key}\n", key = text(&ed25519(1))));
}

#[test]
fn many_jobs_remember_at_once() {
    let dir = TempDir::new().expect("temporary directory");
    let known_hosts = load(&dir, "");
    let outcomes: Vec<Remembered> = std::thread::scope(|scope| {
        let known_hosts = &known_hosts;
        // Ten hosts; five jobs of each have one key, five another.
        let remember = |job: u8| move || known_hosts.remember(&format!("h{}", job / 10), 22, &ed25519(job % 2));
        let jobs: Vec<_> = (0..100).map(|job| scope.spawn(remember(job))).collect();
        jobs.into_iter().map(|job| job.join().expect("job").expect("remember")).collect()
    });
    let count = |is: fn(&Remembered) -> bool| outcomes.iter().filter(|it| is(it)).count();
    assert_eq!(count(|it| matches!(it, Remembered::Added(_))), 10);
    assert_eq!(count(|it| matches!(it, Remembered::Already(Verdict::Known(_)))), 40);
    assert_eq!(count(|it| matches!(it, Remembered::Already(Verdict::Changed(_)))), 50);
    let written = fs::read_to_string(dir.path().join("user")).expect("known_hosts");
    assert_eq!(written.lines().count(), 10);
    assert!(written.lines().all(|line| line.split(' ').count() == 3), "{written}");
}

#[test]
fn a_lock_held_for_long_is_waited_for_once() {
    let dir = TempDir::new().expect("temporary directory");
    let known_hosts = load(&dir, "");
    let holder = fs::File::open(dir.path().join("user")).expect("known_hosts");
    flock(&holder, FlockOperation::LockExclusive).expect("lock");
    let start = std::time::Instant::now();
    for job in 0..20 {
        let added = known_hosts.remember(&format!("h{job}"), 22, &ed25519(1)).expect("remember");
        assert!(matches!(added, Remembered::Added(_)), "{added:?}");
    }
    let waited = start.elapsed().as_secs();
    assert!((1..15).contains(&waited), "{waited} s");
}

#[test]
fn remembers_hashed() {
    let dir = TempDir::new().expect("temporary directory");
    let known_hosts = load(&dir, "").hash_names(true);
    known_hosts.remember("h", 2222, &ed25519(1)).expect("remember");
    let written = fs::read_to_string(dir.path().join("user")).expect("known_hosts");
    assert!(written.starts_with("|1|"), "{written}");
    assert_eq!(words(&known_hosts.check("h", 2222, &ed25519(1))), "known 1");
    assert_eq!(words(&load(&dir, &written).check("h", 2222, &ed25519(2))), "changed 1");
}

#[test]
fn a_key_that_cannot_be_written_holds_for_the_run() {
    let dir = TempDir::new().expect("temporary directory");
    let known_hosts = KnownHosts::load(&[dir.path().to_owned()], &[]);
    let err = known_hosts.remember("h", 22, &ed25519(1)).expect_err("a directory");
    assert!(err.to_string().starts_with(&format!("failed to add the host key to {}: ", dir.path().display())), "{err}");
    assert_eq!(words(&known_hosts.check("h", 22, &ed25519(1))), "known 0");
    assert_eq!(words(&known_hosts.check("h", 22, &ed25519(2))), "changed 0");
}

#[test]
fn dev_null_remembers_for_the_run() {
    let known_hosts = KnownHosts::load(&[PathBuf::from("/dev/null")], &[]);
    for host in ["g", "h"] {
        let added = known_hosts.remember(host, 22, &ed25519(1)).expect("remember");
        assert!(matches!(added, Remembered::Added(_)), "{added:?}");
    }
    assert_eq!(words(&known_hosts.check("h", 22, &ed25519(2))), "changed 2");
}

#[test]
fn refuses_to_write_what_would_be_read_differently() {
    let dir = TempDir::new().expect("temporary directory");
    let known_hosts = load(&dir, "");
    for host in ["", "a b", "a,b", "*", "a?", "!a", "@a", "#a", "|1|a", "a\nb", "[a", "a\tb", "a\\b", "a'b"] {
        let err = known_hosts.remember(host, 22, &ed25519(1)).expect_err(host);
        assert!(matches!(err, RememberError::Name(_)), "{err}");
        known_hosts.remember(host, 2222, &ed25519(1)).expect_err(host);
    }
    let err = known_hosts.remember("h", 22, &[1, 2, 3]).expect_err("no key");
    assert!(matches!(err, RememberError::Key(_)), "{err}");
    let err = KnownHosts::load(&[], &[]).remember("h", 22, &ed25519(1)).expect_err("no file");
    assert!(matches!(err, RememberError::NoFile), "{err}");
    assert_eq!(fs::read_to_string(dir.path().join("user")).expect("known_hosts"), "");
}
