//! What servers say in words: banners (RFC 4252 section 5.4) and goodbyes (RFC 4253 section 11.1), of sshd and of a server that means
//! harm. They are in the message of the host, in one line, quoted and cut.

use std::ffi::OsStr;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use crate::bin::{Env, Run, tool};
use crate::passwords::{Account, PASSWORD, secret_file};
use crate::raw::{Act, Raw, Script, USERAUTH_FAILURE, USERAUTH_REQUEST, Wire, goodbye, send_plain, string};
use crate::sshd::{Setup, Sshd, hosts};

const RAW: &str = "127.0.0.1";
const TOO_MANY: &str = "; the server said: \"Too many authentication failures\"";

/// A run of a command on a server that speaks as `script` says.
fn run(script: Script, options: &[&str]) -> Run {
    let env = Env::new();
    let raw = Raw::start(script);
    env.trust(&raw.known_hosts_line());
    env.pssh().hosts([raw.address]).args(["--num-retries", "1"]).args(options).args(["--", "x"]).run()
}

#[test]
fn too_many_failures_are_named_by_sshd() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { config: "MaxAuthTries 1\nAuthorizedKeysFile none\n", ..Setup::default() });
    let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
    run.exits(4).ends(&sshd.label(), "auth: ").hints(&sshd.label(), "-O IdentitiesOnly=yes");
    run.check(run.outcome(&sshd.label()).ends_with(TOO_MANY), "the server's words");
    assert_eq!(sshd.connections(), 1, "it is not tried again");
}

#[test]
fn a_banner_is_told_at_v_and_with_a_failed_login() {
    let env = Env::new();
    let banner = env.file("banner", "Authorised\tusers only.\n\nAll you do is \x1b[31mrecorded\x1b[0m.\n");
    let config = format!("Banner {}\n", banner.display());
    let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
    // As ssh, nothing of it without -v; unlike ssh, since it would come from every host.
    env.pssh().hosts(sshd.hosts()).arg("true").run().exits(0).stderr_lacks("Authorised");
    let run = env.pssh().hosts(sshd.hosts()).args(["-v", "true"]).run();
    run.exits(0).stderr_has("] banner: \"Authorised users only.\"\n");
    run.stderr_has("] banner: \"All you do is \\u{1b}[31mrecorded\\u{1b}[0m.\"\n");
    for setting in ["DenyUsers *", "AllowUsers nobody", "AuthorizedKeysFile none"] {
        let config = format!("{config}{setting}\n");
        let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
        let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
        run.exits(4).ends(&sshd.label(), "auth: ");
        let said = "; its banner: \"Authorised users only. All you do is \\\\u{1b}[31mrecorded\\\\u{1b}[0m.\"";
        let outcome = run.outcome(&sshd.label());
        run.check(outcome.ends_with(&said.replace("\\\\", "\\")), setting);
    }
}

/// An account that PAM does not let in although the key is right: sshd sends PAM's words as a banner, and closes the connection.
#[test]
fn an_expired_account_says_so() {
    // Only root can make an account; there is nothing to try elsewhere.
    let Some(account) = Account::make() else { return };
    let name = OsStr::new(&account.name);
    let env = Env::new();
    let general = env.file("banner", "Authorised users only.\n");
    let config = format!("UsePAM yes\nPasswordAuthentication yes\nBanner {}\n", general.display());
    let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
    let pssh = || env.pssh().hosts(sshd.hosts()).args(["-l", &account.name]);
    pssh().arg("true").run().exits(0);
    tool("chage", &[OsStr::new("-E"), OsStr::new("0"), name]);
    let connections = sshd.connections();
    let said = "; the server said: \"Your account has expired; please contact your system administrator.\"";
    let run = pssh().arg("true").run();
    run.exits(4).ends(&sshd.label(), &format!("auth: {}: refused after trying ssh-ed25519 ", account.name));
    run.check(run.outcome(&sshd.label()).contains(said), "PAM's words");
    run.check(run.hint(&sshd.label()).is_none(), "a hint about keys would mislead");
    assert_eq!(sshd.connections(), connections + 1, "it is not tried again");
    // The same with a password.
    let password = secret_file(&env, "password", &format!("{PASSWORD}\n"));
    let run = pssh().args(["-O", "PubkeyAuthentication=no", "--password-file"]).arg(&password).arg("true").run();
    run.exits(4).ends(&sshd.label(), "auth: ");
    run.check(run.outcome(&sshd.label()).contains("Your account has expired"), "PAM's words");
    // A jump host says it in the same words.
    let (_, target) = hosts(1);
    env.trust(&target.known_hosts());
    let jump = format!("{}@{}", account.name, sshd.hosts()[0]);
    let run = env.pssh().hosts(target.hosts()).args(["-J", &jump, "true"]).run();
    run.exits(4).stderr_has("Your account has expired");
}

#[test]
fn goodbyes_in_every_phase() {
    fn in_exchange(stream: &mut TcpStream) -> io::Result<()> {
        send_plain(stream, &goodbye(11, b"Maintenance till noon"))
    }
    fn at_login(wire: &mut Wire) -> io::Result<()> {
        wire.disconnect(14, b"Your account is locked")
    }
    fn at_login_for_now(wire: &mut Wire) -> io::Result<()> {
        wire.disconnect(12, b"Come back later")
    }
    fn at_open(wire: &mut Wire) -> io::Result<()> {
        wire.disconnect(2, b"No channels today")
    }
    fn in_command(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        // Apart from the goodbye, with which libssh2 would drop it.
        std::thread::sleep(Duration::from_millis(300));
        wire.disconnect(11, b"Shutting down")
    }
    fn without_words(wire: &mut Wire, _channel: u32) -> io::Result<()> {
        wire.disconnect(10, b"")
    }
    let script = Script::default;
    for (script, outcome) in [
        (
            Script { instead_of_kex: Some(in_exchange), ..script() },
            "ssh: key exchange: the server said: \"Maintenance till noon\"",
        ),
        (
            Script { at_open: Some(at_open), ..script() },
            "ssh: opening a channel: the server said: \"No channels today\"",
        ),
        (Script { command: Some(in_command), ..script() }, "lost: the server said: \"Shutting down\""),
        (Script { command: Some(without_words), ..script() }, "lost: the server disconnected: connection lost"),
        (
            Script { at_login: Some(at_login_for_now), ..script() },
            "ssh: authentication: the server said: \"Come back later\"",
        ),
    ] {
        run(script, &[]).exits(4).ends(RAW, outcome);
    }
    let run = run(Script { at_login: Some(at_login), ..script() }, &[]);
    run.exits(4).ends(RAW, "auth: ");
    run.check(run.outcome(RAW).ends_with("; the server said: \"Your account is locked\""), "a refusal");
}

#[test]
fn a_jump_host_says_goodbye() {
    fn at_open(wire: &mut Wire) -> io::Result<()> {
        wire.disconnect(11, b"No more guests")
    }
    let env = Env::new();
    let raw = Raw::start(Script { at_open: Some(at_open), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    let jump = raw.address.to_string();
    let run = env.pssh().hosts(["127.0.0.9"]).args(["-J", &jump, "--num-retries", "1", "x"]).run();
    run.exits(4).ends("127.0.0.9", "proxy: ");
    run.stderr_has("the connection to it ended: the server said: \"No more guests\"");
}

#[test]
fn hostile_words_do_nothing() {
    /// As long as a packet of libssh2's can be.
    const LONG: usize = 30_000;
    fn hostile() -> Vec<u8> {
        let text = "\x1b]0;title\x07\r\npssh: 127.0.0.1: ok (exit 0)\n\u{202e}\u{200b}\u{61c}\"; its banner: \0";
        [text.as_bytes(), b"\xff\xfe", &vec![b'x'; LONG]].concat()
    }
    fn goodbyes(wire: &mut Wire) -> io::Result<()> {
        wire.disconnect(2, &hostile())
    }
    fn banners(wire: &mut Wire) -> io::Result<()> {
        for _ in 0..10 {
            wire.banner(&hostile())?;
        }
        wire.disconnect(14, b"")
    }
    fn lost(wire: &mut Wire, _channel: u32) -> io::Result<()> {
        wire.disconnect(u32::MAX, &hostile())
    }
    fn cut_short(wire: &mut Wire) -> io::Result<()> {
        // A length beyond the packet.
        wire.send(&[&[1, 0, 0, 0, 2][..], &[0xff; 4], b"x"].concat())
    }
    let script = Script::default;
    for (script, word) in [
        (Script { at_login: Some(goodbyes), ..script() }, "auth: "),
        (Script { at_login: Some(banners), ..script() }, "auth: "),
        (Script { command: Some(lost), ..script() }, "lost: the server said: \""),
    ] {
        let run = run(script, &["-v"]);
        run.exits(4).ends(RAW, word).within(30);
        let text = run.stderr_text();
        let bad = |c: char| c != '\n' && c.is_control() || "\u{202e}\u{200b}\u{61c}".contains(c);
        run.check(!text.contains(bad), "harmless characters only");
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        run.check(longest < 900, &format!("{longest} characters in a line"));
        run.check(text.matches("] banner: ").count() <= 40, "so many lines of banners");
        run.check(text.lines().all(|line| !line.starts_with("pssh: 127.0.0.1: ok")), "no line of the server's");
        run.check(text.contains("\\u{1b}]0;title\\u{7} pssh: 127.0.0.1: ok (exit 0)"), "its words in one line");
    }
    let run = run(Script { at_login: Some(cut_short), ..script() }, &[]);
    run.exits(4).ends(RAW, "auth: ");
    run.check(run.outcome(RAW).ends_with("; the server disconnected: protocol error"), "without its words");
}

#[test]
fn lists_of_methods_are_lists_of_names() {
    fn refuse(wire: &mut Wire, methods: &[u8]) -> io::Result<()> {
        loop {
            wire.send(&[&[USERAUTH_FAILURE][..], &string(methods), &[0]].concat())?;
            wire.expect(USERAUTH_REQUEST)?;
        }
    }
    let cases: [(Act, String); 4] = [
        (|wire| refuse(wire, b"publickey,hostbased"), "publickey, hostbased".to_owned()),
        // ssh2's own reader of it would panic.
        (|wire| refuse(wire, b"public\xff\xfekey"), "\"public\u{fffd}\u{fffd}key\"".to_owned()),
        (
            |wire| refuse(wire, b"x ok (exit 0)\npssh: other: ok (exit 0)\x1b[2J"),
            "\"x ok (exit 0)\\npssh: other: ok (exit 0)\\u{1b}[2J\"".to_owned(),
        ),
        (|wire| refuse(wire, &[b'x'; 30_000]), format!("{}...", "x".repeat(200))),
    ];
    for (at_login, list) in cases {
        let run = run(Script { at_login: Some(at_login), ..Script::default() }, &[]);
        run.exits(4).ends(RAW, "auth: ").stderr_lacks("panicked");
        run.check(run.outcome(RAW).ends_with(&format!("; the server offers {list}")), &list);
    }
}
