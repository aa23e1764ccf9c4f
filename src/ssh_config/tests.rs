use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::files::glob;
use super::pattern::PatternList;
use super::*;
use crate::text::wildcard::matches;

/// A directory with configurations.
struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Place {
        let place = Place(tempfile::tempdir().expect("a directory"));
        for (name, text) in files {
            place.write(name, text.as_bytes());
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        self.mode(name, 0o644);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("permissions");
    }

    fn sources(&self, files: Files) -> Sources {
        let variable = |name: &str| match name {
            "SOCK" => Some("/run/agent".to_owned()),
            "TILDE" => Some("~/elsewhere".to_owned()),
            _ => None,
        };
        let local = Local {
            user: "me".to_owned(),
            uid: rustix::process::getuid().as_raw(),
            home: self.0.path().to_str().expect("UTF-8").to_owned(),
            host_name: "here.example".to_owned(),
            variable: Arc::new(variable),
            home_of: Arc::new(|user| (user == "you").then(|| "/home/you/".to_owned())),
        };
        Sources { files, local, ssh: "/nonexistent/ssh".into() }
    }

    /// The user's file is `user`, the system's is `system`.
    fn usual(&self) -> Result<Config, ConfigError> {
        Config::load(&self.sources(Files::Usual { user: self.path("user"), system: self.path("system") }))
    }
}

fn config(text: &str) -> Config {
    load(text).expect("a good configuration")
}

fn load(text: &str) -> Result<Config, ConfigError> {
    Place::new(&[("user", text)]).usual()
}

fn resolved(text: &str, host: &str) -> Resolved {
    config(text).resolve(&query(host)).expect("a good host")
}

fn query(host: &str) -> Query<'_> {
    Query { host, ..Query::default() }
}

/// The message without the directory.
fn message(result: Result<Resolved, ConfigError>) -> String {
    let text = result.expect_err("an error").to_string();
    text.rsplit_once("/").map_or(text.clone(), |(_, message)| message.to_owned())
}

fn error(text: &str) -> String {
    message(load(text).and_then(|config| config.resolve(&query("web1"))))
}

#[test]
fn the_users_file_comes_before_the_systems() {
    let place = Place::new(&[
        ("user", "User mine\nIdentityFile ~/a\nSendEnv A\nHost x\n"),
        ("system", "User theirs\nPort 7\nIdentityFile ~/a\nSendEnv A\n"),
    ]);
    let resolved = place.usual().expect("good files").resolve(&query("web1")).expect("a good host");
    let settings = &resolved.settings;
    assert_eq!((settings.user.value.as_str(), settings.port.value), ("mine", 7));
    assert_eq!(settings.port.origin.to_string(), format!("{}:2", place.path("system").display()));
    // Equal identities of the two are two, as in ssh.
    assert_eq!(resolved.identity_files.len(), 2);
    assert_eq!(resolved.identity_files[0].value.path, Some(place.path("a")));
    assert_eq!(resolved.send_env.len(), 2);
}

#[test]
fn which_files_are_read() {
    assert_eq!(Files::of("/h", Some(OsStr::new("NONE"))), Files::None);
    assert_eq!(Files::of("/h", Some(OsStr::new("f"))), Files::Only("f".into()));
    let usual = Files::Usual { user: "/h/.ssh/config".into(), system: "/etc/ssh/ssh_config".into() };
    assert_eq!(Files::of("/h", None), usual);
    let place = Place::new(&[("system", "Port 7\n")]);
    assert_eq!(place.usual().expect("the user has no file").resolve(&query("x")).expect("x").settings.port.value, 7);
    assert!(Config::load(&place.sources(Files::Only(place.path("missing")))).is_err());
    let none =
        Config::load(&place.sources(Files::None)).expect("nothing to read").resolve(&query("Web1")).expect("a host");
    assert_eq!((none.settings.host_name.value.as_str(), none.settings.user.value.as_str()), ("web1", "me"));
    assert_eq!(none.identity_files.len(), 7);
}

#[test]
fn others_must_not_have_written_the_file() {
    let place = Place::new(&[("user", "User a\nInclude ~/more\n"), ("more", ""), ("system", "")]);
    assert!(place.usual().is_ok());
    place.mode("system", 0o666);
    assert!(place.usual().is_ok(), "ssh doesn't mind either");
    for name in ["user", "more"] {
        place.mode(name, 0o646);
        let error = place.usual().err().expect("an error").to_string();
        let expected = format!("/{name}: bad owner or permissions: mode 0646 lets others write it (chmod go-w)");
        assert!(error.ends_with(&expected), "{error}");
        place.mode(name, 0o640);
    }
    let only = place.sources(Files::Only(place.path("user")));
    place.mode("user", 0o666);
    assert!(Config::load(&only).is_ok(), "what -F names may be anybody's");
    place.mode("more", 0o666);
    assert!(Config::load(&only).is_err(), "what it includes may not");
    // Only root can give a file away.
    place.mode("user", 0o600);
    if chown(place.path("user"), Some(12345), None).is_ok() {
        assert!(place.usual().is_err());
    }
}

#[test]
fn the_system_includes_nothing_of_the_user() {
    let place = Place::new(&[("system", "Include ~/x\n")]);
    assert!(
        place
            .usual()
            .err()
            .expect("an error")
            .to_string()
            .contains("system:1:9: include: a system-wide file can't include a path in ~")
    );
}

#[test]
fn includes_are_sixteen_deep_at_most() {
    let names: Vec<String> = (0..=17).map(|depth| format!("f{depth:02}")).collect();
    let texts: Vec<String> = (1..=18).map(|depth| format!("Include ~/f{depth:02}\n")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    files[16].1 = "Port 16\n";
    let deep = |files: &[(&str, &str)]| {
        let place = Place::new(files);
        Config::load(&place.sources(Files::Only(place.path("f00")))).map(|config| config.resolve(&query("x")))
    };
    assert_eq!(deep(&files).expect("16 files").expect("a host").settings.port.value, 16);
    files[16].1 = "Include ~/f17\n";
    assert!(deep(&files).expect_err("an error").to_string().contains("more than 16 files deep"));
}

#[test]
fn patterns_of_files() {
    let place = Place::new(&[("d/a.conf", ""), ("d/b.conf", ""), ("d/.c.conf", ""), ("d/[x]", ""), ("e/a.conf", "")]);
    let names = |pattern: &str| -> Vec<String> {
        let found = glob(&format!("{}/{pattern}", place.0.path().display())).expect("a pattern");
        found.iter().map(|path| path.strip_prefix(place.0.path()).expect("inside").display().to_string()).collect()
    };
    assert_eq!(names("d/*.conf"), ["d/a.conf", "d/b.conf"]);
    assert_eq!(names("*/a.conf"), ["d/a.conf", "e/a.conf"]);
    assert_eq!(names("d/.*"), ["d/.c.conf"]);
    assert_eq!(names("d/[!a].conf"), ["d/b.conf"]);
    assert_eq!(names("d/[b-z].c??f"), ["d/b.conf"]);
    assert_eq!(names("d/\\[x]"), ["d/[x]"]);
    assert_eq!(names("d//a.conf"), ["d/a.conf"]);
    assert_eq!(names("d/[x"), [""; 0]);
    assert_eq!(names("missing/*"), [""; 0]);
    assert!(glob("/[[:alpha:]]").is_err());
}

#[test]
fn patterns_of_hosts() {
    let hard = "*a".repeat(200) + "b";
    assert!(!matches("a".repeat(2000).as_bytes(), hard.as_bytes()));
    for (text, pattern, expected) in [
        ("", "", true),
        ("", "*", true),
        ("", "?", false),
        ("abc", "a*?c", true),
        ("ab", "a**", true),
        ("a", "*b", false),
    ] {
        assert_eq!(matches(text.as_bytes(), pattern.as_bytes()), expected, "{text} {pattern}");
    }
    let long = format!("web1,{}", "x".repeat(1023));
    assert!(!PatternList::new(&long, true).matches("web1"), "ssh gives up at the long one");
    assert!(PatternList::new(&long[..long.len() - 1], true).matches("web1"));
}

#[test]
fn errors_name_file_line_and_column() {
    assert_eq!(error("\n  Port 7x\n"), "user:2:8: port: \"7x\" is not a port (1-65535, or a service's name)");
    assert_eq!(error("User a b"), "user:1:8: user: \"b\" is an extra argument");
    assert_eq!(error("User"), "user:1:5: user: its argument is missing");
    assert_eq!(error("User 'a"), "user:1:6: user: a quote isn't closed");
    assert_eq!(error("Host x\nFrob 1"), "user:2: \"frob\" is not a keyword of ssh_config(5)");
    assert_eq!(error("Match frob x\n"), "user:1:7: match: \"frob\" is not a criterion");
    assert_eq!(error("HostName %z\n"), "user:1: %z is not a token here");
    assert_eq!(error("IdentityFile ${NOPE}\n"), "user:1: the variable \"NOPE\" is not set");
    assert_eq!(error("ProxyJump web1\n"), "user:1: web1 is its own jump host");
    assert_eq!(error("RefuseConnection \"not today\"\n"), "user:1: connection refused: not today");
    assert_eq!(error("ProxyUseFdpass yes\nProxyCommand x\n"), "user:1: ProxyUseFdpass is not supported");
    assert_eq!(error("ProxyJump a, b\n"), "user:1:11: proxyjump: \"a, b\" contains a blank");
    assert_eq!(error("Compression true\n"), "user:1:13: compression: \"true\" is not yes or no");
    let options = config("").options(&[("Port=x".to_owned(), "-O Port=x".to_owned())]);
    assert!(options.expect_err("no port").to_string().starts_with("-O Port=x: port: \"x\" is not a port"));
}

#[test]
fn what_only_ssh_can_tell_is_an_error_without_it() {
    let reason = "can only be evaluated by ssh: /nonexistent/ssh can't be run: No such file or directory; install it, or remove the line";
    let failed =
        |text: &str| load(text).and_then(|config| config.resolve(&query("web1"))).expect_err("no ssh").to_string();
    for (text, place) in [
        ("Match host web* exec true\nPort 3\n", "user:1: Match exec"),
        ("Port 1\nMatch localnetwork 10.0.0.0/8\nUser x\n", "user:2: Match localnetwork"),
        ("Tag x\nMatch tagged x\nUser x\n", "user:2: Match tagged"),
        ("CanonicalizeHostname always\n", "user:1: CanonicalizeHostname"),
        ("Include x-%h\n", "user:1: Include with tokens or variables"),
        ("User %u\n", "user:1: User with tokens or variables"),
        ("SetEnv A=${SOCK}\n", "user:1: SetEnv with tokens or variables"),
        ("Match host 'web1'\nUser x\n", "user:1: Match with ' or \\"),
    ] {
        assert!(failed(text).ends_with(&format!("{place} {reason}")), "{text}: {}", failed(text));
        let elsewhere = format!("Host other\n{}", text.replace("Match ", "Match host other "));
        assert!(config(&elsewhere).resolve(&query("web1")).is_ok(), "it doesn't matter for others: {elsewhere}");
    }
    assert!(failed("Match command *\nUser x\n").contains("user:1: Match command can only be evaluated by ssh: "));
}

#[test]
fn what_ssh_complains_about_is_told() {
    let place = Place::new(&[("user", "Match exec true\nPort 3\n"), ("ssh", "#!/bin/sh\necho no way >&2\nexit 255\n")]);
    place.mode("ssh", 0o755);
    let files = Files::Usual { user: place.path("user"), system: place.path("system") };
    let sources = Sources { ssh: place.path("ssh"), ..place.sources(files) };
    let config = Config::load(&sources).expect("a good configuration");
    // The script may be busy for a moment while another test starts a process.
    let said = || config.resolve(&query("web1")).expect_err("it fails").to_string();
    let text = std::iter::repeat_with(said).find(|text| !text.contains("busy")).expect("a text");
    assert!(text.ends_with("user:1: Match exec can only be evaluated by ssh: it said \"no way\""), "{text}");
}

#[test]
fn names_that_a_shell_could_misunderstand() {
    let config = config("User fine\n");
    for host in ["", "-x", "a b", "a;b", "$(x)", "a,b", "a\nb", "`x`"] {
        assert!(matches!(config.resolve(&query(host)), Err(ConfigError::Name { what: "host", .. })), "{host:?}");
    }
    for user in ["-x", "a;b", "a -b", "a\\", "a\0"] {
        let query = Query { host: "h", user: Some(user.to_owned()), ..Query::default() };
        assert!(matches!(config.resolve(&query), Err(ConfigError::Name { what: "user", .. })), "{user:?}");
    }
    let query = Query { host: "fe80::1%eth0", user: Some("DOM\\me".to_owned()), ..Query::default() };
    assert!(config.resolve(&query).is_ok());
}

#[test]
fn every_value_has_its_origin() {
    let place = Place::new(&[("user", "Host web*\n  HostName %h.x\n  ForwardAgent /s\nSetEnv A=1\nProxyJump u@j\n")]);
    let config = place.usual().expect("a good configuration");
    let options = [("Compression=yes".to_owned(), "-O Compression=yes".to_owned())];
    let options = config.options(&options).expect("a good option");
    let query = Query { host: "web1", user: Some("me2".to_owned()), port: Some(9), options: &options };
    let lines = config.resolve(&query).expect("a good host").explain();
    let find = |keyword: &str| {
        let lines: Vec<_> = lines.iter().filter(|line| line.0 == keyword).collect();
        assert_eq!(lines.len(), 1, "{keyword}");
        (lines[0].1.clone(), lines[0].2.to_string().rsplit('/').next().expect("a word").to_owned())
    };
    let expect = |keyword, value: &str, origin: &str| assert_eq!(find(keyword), (value.to_owned(), origin.to_owned()));
    expect("host", "web1", "host entry");
    expect("user", "me2", "host entry");
    expect("port", "9", "host entry");
    expect("hostname", "web1.x", "user:2");
    expect("forwardagent", "/s", "user:3");
    expect("setenv", "A=1", "user:4");
    expect("proxyjump", "u@j", "user:5");
    expect("compression", "yes", "-O Compression=yes");
    expect("connecttimeout", "none", "default");
}

#[test]
fn notes_name_what_has_no_effect() {
    let config = config(
        "ForwardX11 yes\nHost x\nControlMaster auto # c\nCipher x\nProtocol 2\n\"Port 7\nTag t\nChannelTimeout *=1h\n",
    );
    let notes: Vec<String> = config.notes().iter().map(|note| note.to_string()).collect();
    let notes: Vec<&str> = notes.iter().filter_map(|note| note.rsplit_once('/')).map(|(_, note)| note).collect();
    assert_eq!(
        notes,
        [
            "user:1: forwardx11 has no effect here",
            "user:3: controlmaster has no effect here",
            "user:4: cipher is deprecated and has no effect",
            "user:6: a quote isn't closed: ssh ignores this line",
            "user:8: channeltimeout has no effect here",
        ]
    );
}

#[test]
fn options_have_notes_too_and_threads_share_the_configuration() {
    fn shared<T: Send + Sync>(value: T) -> T {
        value
    }
    let options =
        [("Tunnel=yes".to_owned(), "-O Tunnel=yes".to_owned()), ("Port=1".to_owned(), "-O Port=1".to_owned())];
    let notes = shared(config("")).options(&options).expect("good options");
    let notes: Vec<_> = notes.iter().map(|option| option.note().map(|note| note.to_string())).collect();
    assert_eq!(notes, [Some("-O Tunnel=yes: tunnel has no effect here".to_owned()), None]);
}

#[test]
fn agents() {
    let agent = |text: &str| resolved(text, "x").agent;
    assert_eq!(agent(""), Agent::Environment);
    assert_eq!(agent("IdentityAgent SSH_AUTH_SOCK"), Agent::Environment);
    assert_eq!(agent("IdentityAgent none"), Agent::None);
    assert_eq!(agent("IdentityAgent $SOCK"), Agent::Socket("/run/agent".into()));
    assert_eq!(agent("IdentityAgent ${SOCK}.%h"), Agent::Socket("/run/agent.x".into()));
    assert_eq!(agent("IdentityAgent $NOPE"), Agent::None);
    let forwarded = |text: &str| resolved(text, "x").forwarded_agent;
    assert_eq!(forwarded(""), ForwardedAgent::None);
    assert_eq!(forwarded("ForwardAgent yes"), ForwardedAgent::Own);
    assert_eq!(forwarded("ForwardAgent $SOCK"), ForwardedAgent::Socket("/run/agent".into()));
    assert_eq!(forwarded("ForwardAgent $NOPE"), ForwardedAgent::None);
    assert_eq!(forwarded("ForwardAgent no\nForwardAgent /s"), ForwardedAgent::None);
    assert_eq!(forwarded("ForwardAgent yes\nForwardAgent /s"), ForwardedAgent::Socket("/s".into()));
}

#[test]
fn tokens_and_homes() {
    let path = |text: &str| {
        let resolved =
            resolved(&format!("HostName Real\nUser u\nHostKeyAlias K\nPort 7\nIdentityFile {text}\n"), "Typed");
        resolved.identity_files[0].value.path.as_ref().expect("a path").display().to_string()
    };
    assert_eq!(path("%%-%h-%n-%p-%r-%u-%k-%l-%L"), "%-real-Typed-7-u-me-k-here.example-here");
    assert_eq!(path("~you//x"), "/home/you/x");
    // printf 'here.examplereal7u' | sha1sum
    assert_eq!(path("%C"), "4d9c935bdd4b6becfaa99ed4a7b1723c46cf04e8");
    let resolved = resolved("UserKnownHostsFile ${TILDE}\nIdentityFile none\nRevokedHostKeys ~you/r\n", "x");
    assert!(resolved.settings.user_known_hosts_file.value.0[0].ends_with("/elsewhere"));
    assert_eq!(resolved.identity_files[0].value.path, None);
    assert_eq!(resolved.settings.revoked_host_keys.value.as_deref(), Some("/home/you/r"));
}

#[test]
fn proxies() {
    let proxy = |text: &str| resolved(text, "Web1").proxy.value;
    assert_eq!(proxy("ProxyCommand none\nProxyJump j"), Proxy::Direct);
    assert_eq!(proxy("ProxyJump none\nProxyCommand x"), Proxy::Command("x".to_owned()));
    assert_eq!(proxy("ProxyCommand nc '%h' %p %n%% # x"), Proxy::Command("nc 'web1' 22 Web1% # x".to_owned()));
    let hop = |user: Option<&str>, host: &str, port| Hop { user: user.map(str::to_owned), host: host.to_owned(), port };
    let hops = vec![hop(Some("u"), "a", None), hop(None, "::1", Some(22)), hop(Some("v w"), "web1.gw", Some(3))];
    assert_eq!(proxy("ProxyJump u@a,[::1]:ssh,ssh://v+w@web1.gw:3 # c,d"), Proxy::Jump(hops));
    assert_eq!(proxy("ProxyJump a@b@c"), Proxy::Jump(vec![hop(Some("a@b"), "c", None)]));
    assert_eq!(proxy("ProxyJump %h.gw"), Proxy::Jump(vec![hop(None, "web1.gw", None)]));
}

#[test]
fn lists_of_algorithms() {
    let ciphers = |text: &str| resolved(&format!("Ciphers {text}"), "x").settings.ciphers.value.expect("a list");
    let (defaults, all) = (["aes256-ctr", "gone"], ["aes256-ctr", "aes128-ctr", "3des-cbc"]);
    assert_eq!(ciphers("+3des-cbc").apply(&defaults, &all), Ok(vec!["aes256-ctr", "3des-cbc"]));
    assert_eq!(ciphers("^3des-cbc").apply(&defaults, &all), Ok(vec!["3des-cbc", "aes256-ctr"]));
    assert_eq!(ciphers("aes128-cbc,aes128-ctr").apply(&defaults, &all), Ok(vec!["aes128-ctr"]));
    let none = ciphers("-aes*").apply(&defaults, &all).expect_err("none is left");
    assert_eq!(none.to_string(), "none of \"-aes*\" can be used");
}

#[test]
fn times() {
    let time = |text: &str| resolved(&format!("ConnectTimeout {text}"), "x").settings.connect_timeout.value.0;
    assert_eq!(time("1h2m3"), Some(Duration::from_secs(3723)));
    assert_eq!(time("none"), None);
    assert_eq!(time("0"), Some(Duration::ZERO));
}

#[test]
fn bytes_that_are_no_text() {
    let load = |text: &[u8]| {
        let place = Place::new(&[]);
        place.write("user", text);
        place.usual().and_then(|config| Ok(config.resolve(&query("x"))?.settings.user.value))
    };
    assert_eq!(load(b" # caf\xe9\nUser a\n").expect("a comment may be anything"), "a");
    assert!(
        load(b"User caf\xe9\n")
            .expect_err("no UTF-8")
            .to_string()
            .ends_with("user:1:9: text that isn't UTF-8 outside of a comment")
    );
    assert!(load(b"User a\0b\n").is_err());
    // Errors in the blocks of other hosts do not matter.
    assert_eq!(load(b"Host y\n User caf\xe9\nHost x\n User a\n").expect("another host's"), "a");
    assert_eq!(load(b"Host caf\xe9 !\xe9\n User b\nHost *\n User a\n").expect("a name that nobody has"), "a");
    for wrong in
        [&b"Host y\nHost x\n User \xe9\n"[..], b"Host y\n\xe9 z\n", b"Host y\n Include \xe9\n", b"Match user \xe9\n"]
    {
        load(wrong).expect_err("it is about all hosts, or about this one");
    }
    assert_eq!(load("User é\n".as_bytes()).expect("UTF-8"), "é");
}

#[test]
fn a_directory_is_an_empty_file() {
    let place = Place::new(&[("user/x", "Port 3\n")]);
    assert_eq!(place.usual().expect("no lines").resolve(&query("x")).expect("x").settings.port.value, 22);
    assert!(Path::new(&place.path("user")).is_dir());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn nothing_makes_it_panic(text in lines(), host in "[ -~é]{0,12}") {
        let place = Place::new(&[]);
        place.write("user", &text);
        if let Ok(config) = place.usual() {
            let _ = config.resolve(&query(&host)).map(|resolved| resolved.explain());
        }
    }
}

/// Keywords with any arguments.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let keyword = proptest::sample::select(
        &[
            "",
            "Host",
            "Match",
            "Match host",
            "Match exec",
            "Port",
            "ProxyJump",
            "ProxyJump ssh://",
            "HostName",
            "IdentityFile",
            "ConnectTimeout",
            "Ciphers",
            "SetEnv",
            "SendEnv -",
            "UserKnownHostsFile",
            "IdentityAgent",
            "Include",
            "Frob",
        ][..],
    );
    let junk = prop_oneof![
        "[ =\"'\\\\#%${}~,!*?:@\\[\\]a-c0-9é]{0,20}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    let line = (keyword, junk).prop_map(|(keyword, junk)| [keyword.as_bytes(), b" ", &junk, b"\n"].concat());
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}
