//! ssh_config, compared with `ssh -G`: a table of configurations, and generated ones. Every keyword that pssh resolves must
//! have the values that ssh prints, and what is an error to one is an error to the other.
//!
//! `ssh` finds `~/.ssh/config` through the password database, so that the files are given with `-F`; `HOME` counts for
//! Include alone, for both. What pssh leaves to `ssh -G` in production it can't resolve here: there is no ssh for it, but
//! for the cases that say so.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use proptest::sample::select;
use pssh::SshOption;
use pssh::internal::{
    Config, ConfigError, ConfigOrigin as Origin, Files, Kind, Local, Query, Resolved, Sources, Tool, Word, offered,
    understand,
};
use tempfile::TempDir;

type Said = BTreeMap<String, Vec<String>>;

/// What `ssh -G` says without any configuration: its defaults, and who we are.
static DEFAULTS: LazyLock<Said> =
    LazyLock::new(|| said(Command::new("ssh").args(["-G", "-F", "none", "--", "localhost"])).expect("ssh works"));

/// A variable that configurations can use.
const VARIABLE: (&str, &str) = ("PSSH_ORACLE", "value");

/// Keywords whose lists ssh prints completed.
const ALGORITHMS: [(&str, &str); 6] = [
    ("ciphers", "cipher"),
    ("macs", "mac"),
    ("kexalgorithms", "kex"),
    ("hostkeyalgorithms", "key-sig"),
    ("pubkeyacceptedalgorithms", "key-sig"),
    ("casignaturealgorithms", "sig"),
];

/// All names, in the order in which ssh goes through them.
static NAMES: LazyLock<BTreeMap<&str, Vec<String>>> = LazyLock::new(|| {
    let names =
        |query: &str| String::from_utf8(Command::new("ssh").args(["-Q", query]).output().unwrap().stdout).unwrap();
    let names = |query| names(query).lines().map(str::to_owned).collect();
    ALGORITHMS.map(|(keyword, query)| (keyword, names(query))).into()
});

/// Keywords that pssh resolves and may have nothing to print for.
const OPTIONAL: [&str; 14] = [
    "bindaddress",
    "bindinterface",
    "hostkeyalias",
    "identityagent",
    "ignoreunknown",
    "preferredauthentications",
    "certificatefile",
    "sendenv",
    "setenv",
    "proxycommand",
    "proxyjump",
    "revokedhostkeys",
    "knownhostscommand",
    "identityfile",
];

/// A program that is ssh, with the environment that the configurations expect: the home directory is where it is called.
static SSH: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ssh");
    let (name, value) = VARIABLE;
    fs::write(&path, format!("#!/bin/sh\nHOME=${{0%/*}} {name}={value}\nexport HOME {name}\nexec ssh \"$@\"\n"))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    // Another thread's child may hold it open for a moment, for writing.
    while Command::new(&path).arg("-V").output().is_err() {}
    (dir, path)
});

/// A program that isn't there.
const NO_SSH: &str = "/nonexistent/ssh";

/// A directory with configurations.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".ssh")).unwrap();
        std::os::unix::fs::symlink(&SSH.1, dir.path().join("ssh")).unwrap();
        Place { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file; `{dir}` in it stands for the directory.
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text.replace("{dir}", self.dir.path().to_str().unwrap())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn ssh(&self, options: &[&str], user: Option<&str>, host: &str) -> Result<Said, String> {
        self.ssh_with(options, user, &[], host)
    }

    /// The same with more words of ssh's, where pssh puts them.
    fn ssh_with(&self, options: &[&str], user: Option<&str>, extra: &[&str], host: &str) -> Result<Said, String> {
        let mut command = Command::new("ssh");
        command.arg("-G").arg("-F").arg(self.path("config"));
        command.env("HOME", self.dir.path()).env(VARIABLE.0, VARIABLE.1).env_remove("PSSH_UNSET");
        command.args(user.iter().flat_map(|user| ["-l", user]));
        command.args(options.iter().flat_map(|option| ["-o", option]));
        said(command.args(extra).args(["--", host]))
    }

    fn sources(&self, ssh: bool) -> Sources {
        let ssh = if ssh { self.path("ssh") } else { NO_SSH.into() };
        let home = self.dir.path().to_str().unwrap().to_owned();
        let variable = move |name: &str| match name {
            "HOME" => Some(home.clone()),
            _ => (name == VARIABLE.0).then(|| VARIABLE.1.to_owned()),
        };
        let known_hosts = &DEFAULTS["userknownhostsfile"][0];
        let local = Local {
            user: DEFAULTS["user"][0].clone(),
            uid: fs::metadata(self.dir.path()).unwrap().uid(),
            home: known_hosts.split("/.ssh/").next().unwrap().to_owned(),
            host_name: fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim_end().to_owned(),
            variable: Arc::new(variable),
            home_of: Arc::new(|user| (user == "root").then(|| "/root".to_owned())),
        };
        Sources { files: Files::Only(self.path("config")), local, ssh }
    }

    fn pssh(&self, config: &Config, options: &[&str], user: Option<&str>, host: &str) -> Result<Resolved, ConfigError> {
        let options: Vec<_> = options.iter().map(|option| (option.to_string(), format!("-O {option}"))).collect();
        let options = config.options(&options)?;
        config.resolve(&Query { host, user: user.map(str::to_owned), port: None, options: &options })
    }
}

/// Runs ssh, and gathers the values of each keyword.
fn said(command: &mut Command) -> Result<Said, String> {
    let output = command.output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let mut said = Said::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        said.entry(keyword.to_owned()).or_default().push(value.to_owned());
    }
    Ok(said)
}

/// What pssh says, in ssh's way.
fn ours(resolved: &Resolved) -> Said {
    let mut said = Said::new();
    for (keyword, value, _) in resolved.explain() {
        said.entry(keyword.to_owned()).or_default().push(value);
    }
    let settings = &resolved.settings;
    for (keyword, all) in &*NAMES {
        let (keyword, all) = (*keyword, all.iter().map(String::as_str).collect::<Vec<_>>());
        let defaults: Vec<&str> = DEFAULTS[keyword][0].split(',').collect();
        if !said.contains_key(keyword) {
            said.insert(keyword.to_owned(), DEFAULTS[keyword].clone());
            continue;
        }
        let list = match keyword {
            "ciphers" => settings.ciphers.value.as_ref().unwrap().apply(&defaults, &all),
            "macs" => settings.macs.value.as_ref().unwrap().apply(&defaults, &all),
            "kexalgorithms" => settings.kex_algorithms.value.as_ref().unwrap().apply(&defaults, &all),
            "hostkeyalgorithms" => settings.host_key_algorithms.value.as_ref().unwrap().apply(&defaults, &all),
            "casignaturealgorithms" => settings.ca_signature_algorithms.value.as_ref().unwrap().apply(&defaults, &all),
            _ => settings.pubkey_accepted_algorithms.value.as_ref().unwrap().apply(&defaults, &all),
        };
        said.insert(keyword.to_owned(), vec![list.unwrap_or_default().join(",")]);
    }
    said
}

/// What ssh says, with what it prints raw expanded as it does later.
fn theirs(mut said: Said, resolved: &Resolved) -> Said {
    let settings = &resolved.settings;
    let alias = settings.host_key_alias.value.clone().unwrap_or_else(|| resolved.name.clone());
    let expand = |text: &str| {
        let pairs =
            [("h", &settings.host_name.value), ("n", &resolved.name), ("r", &settings.user.value), ("k", &alias)];
        let port = settings.port.value.to_string();
        let pairs = pairs.into_iter().chain([("p", &port)]);
        let text =
            pairs.fold(text.replace("%%", "\0"), |text, (token, value)| text.replace(&format!("%{token}"), value));
        text.replace('\0', "%")
    };
    for keyword in ["proxycommand", "proxyjump"] {
        if let Some(values) = said.get_mut(keyword) {
            values[0] = expand(&values[0]);
        }
    }
    let home = DEFAULTS["userknownhostsfile"][0].split("/.ssh/").next().unwrap();
    let global = said.get_mut("globalknownhostsfile").unwrap();
    let expand = |name: &str| name.strip_prefix("~/").map_or(name.to_owned(), |name| format!("{home}/{name}"));
    global[0] = global[0].split(' ').map(expand).collect::<Vec<_>>().join(" ");
    // Debian's word.
    said.insert("loglevel".to_owned(), vec![said["loglevel"][0].replace("SILENT", "QUIET")]);
    // Debian's default depends on BatchMode; OpenSSH's doesn't.
    if said["batchmode"][0] == "yes" && settings.server_alive_interval.origin == Origin::Default {
        said.insert("serveraliveinterval".to_owned(), vec!["0".to_owned()]);
    }
    said
}

/// The differences between the two.
fn differences(resolved: &Resolved, said: Said) -> Vec<String> {
    let (ours, theirs) = (ours(resolved), theirs(said, resolved));
    let mut differences = Vec::new();
    let keywords = ours.keys().map(String::as_str).chain(OPTIONAL).collect::<std::collections::BTreeSet<_>>();
    for keyword in keywords {
        let (mine, other) = (ours.get(keyword), theirs.get(keyword));
        let same = if keyword == "proxyjump" { hops(mine) == hops(other) } else { mine == other };
        if !same {
            differences.push(format!("{keyword}: pssh {mine:?}, ssh {other:?}"));
        }
    }
    differences
}

/// Hops without what ssh prints as it is written: brackets, URIs.
fn hops(values: Option<&Vec<String>>) -> Option<String> {
    Some(values?[0].replace("ssh://", "").replace(['[', ']'], ""))
}

/// Compares the two for some hosts; says how they differ.
fn compare(place: &Place, ssh: bool, options: &[&str], user: Option<&str>, hosts: &[&str]) -> Vec<String> {
    let config = Config::load(&place.sources(ssh));
    let mut found = Vec::new();
    for host in hosts {
        let said = place.ssh(options, user, host);
        let resolved = match &config {
            Ok(config) => place.pssh(config, options, user, host).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match (resolved, said) {
            (Ok(resolved), Ok(said)) => {
                found
                    .extend(differences(&resolved, said).into_iter().map(|difference| format!("{host}: {difference}")));
            }
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => found.push(format!("{host}: ssh fails: {error}")),
            (Err(error), Ok(_)) => found.push(format!("{host}: pssh fails: {error}")),
        }
    }
    found
}

/// A configuration and the hosts to try it for. A `--- NAME` line starts another file.
struct Case {
    name: &'static str,
    config: &'static str,
    hosts: &'static [&'static str],
    options: &'static [&'static str],
    user: Option<&'static str>,
    /// Whether pssh needs ssh for it.
    asks: bool,
}

const fn case(name: &'static str, config: &'static str, hosts: &'static [&'static str]) -> Case {
    Case { name, config, hosts, options: &[], user: None, asks: false }
}

const fn with(options: &'static [&'static str], case: Case) -> Case {
    Case { options, ..case }
}

const fn asks(case: Case) -> Case {
    Case { asks: true, ..case }
}

const fn user(user: &'static str, case: Case) -> Case {
    Case { user: Some(user), ..case }
}

include!("config_cases.rs");

#[test]
fn the_table_is_resolved_as_by_ssh() {
    let mut failures = Vec::new();
    for case in CASES {
        let place = Place::new();
        let mut name = "config";
        let mut text = String::new();
        for line in case.config.split_inclusive('\n') {
            if let Some(next) = line.strip_prefix("--- ") {
                place.write(name, &text);
                (name, text) = (next.trim_end(), String::new());
            } else {
                text.push_str(line);
            }
        }
        place.write(name, &text);
        let found = compare(&place, case.asks, case.options, case.user, case.hosts);
        failures.extend(found.into_iter().map(|difference| format!("{}: {difference}", case.name)));
        if case.asks
            && Config::load(&place.sources(false)).is_ok_and(|config| {
                case.hosts.iter().all(|host| place.pssh(&config, case.options, case.user, host).is_ok())
            })
        {
            failures.push(format!("{}: no need to ask ssh", case.name));
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// Lists as they are written, each for a keyword.
const OFFERS: &[(Kind, &str)] = &[
    (Kind::Cipher, "+aes128-cbc,3des-cbc"),
    (Kind::Cipher, "^aes256-gcm@openssh.com,aes256-cbc"),
    (Kind::Cipher, "-chacha20*,aes*-ctr"),
    (Kind::Cipher, "aes192-cbc,aes256-ctr"),
    (Kind::Mac, "+hmac-md5"),
    (Kind::Mac, "^hmac-sha2-512"),
    (Kind::Mac, "-*-etm@openssh.com"),
    (Kind::Mac, "umac-64@openssh.com,hmac-sha2-512"),
    (Kind::KeyExchange, "+diffie-hellman-group1-sha1"),
    (Kind::KeyExchange, "^diffie-hellman-group18-sha512,ecdh-sha2-nistp521"),
    (Kind::KeyExchange, "-curve25519*,sntrup*"),
    (Kind::KeyExchange, "ecdh-sha2-nistp384,curve25519-sha256"),
    (Kind::HostKey, "+ssh-dss"),
    (Kind::HostKey, "^rsa-sha2-256"),
    (Kind::HostKey, "-*-cert-*"),
    (Kind::HostKey, "*rsa-sha2*,ssh-ed25519"),
];

/// What is offered is what ssh offers, in its order, but for what this build lacks, for what OpenSSH 10 has changed, and for SHA-1 that
/// nobody has named.
#[test]
fn algorithms_are_offered_as_by_ssh_as_far_as_this_build_has_them() {
    let place = Place::new();
    place.write("config", "");
    let known = |keyword: &str, name: &str| NAMES[keyword].iter().any(|known| known == name);
    let mut failures = Vec::new();
    for kind in Kind::ALL {
        let keyword = kind.keyword().to_ascii_lowercase();
        let specs = OFFERS.iter().filter(|(of, _)| *of == kind).map(|(_, spec)| Some(*spec));
        for spec in [None].into_iter().chain(specs) {
            let options: Vec<String> = spec.iter().map(|spec| format!("{}={spec}", kind.keyword())).collect();
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let said = place.ssh(&options, None, "web1").unwrap();
            let named = |name: &str| spec.is_some_and(|spec| spec.contains(name));
            let mut theirs: Vec<&str> = said[&keyword][0]
                .split(',')
                .filter(|name| kind.supported().contains(name) && (!name.contains("sha1") || named(name)))
                .collect();
            // Since OpenSSH 10, GCM comes before CTR in the default list.
            let is_whole = spec.is_some_and(|spec| !spec.starts_with(['+', '-', '^']));
            if let (false, Some(first)) =
                (is_whole, theirs.iter().position(|name| name.ends_with("-ctr") && !named(name)))
            {
                theirs[first..].sort_by_key(|name| match name {
                    name if name.contains("-gcm@") && !named(name) => 0,
                    name if name.ends_with("-ctr") => 1,
                    _ => 2,
                });
            }
            let config = Config::load(&place.sources(false)).unwrap();
            let resolved = place.pssh(&config, &options, None, "web1").unwrap();
            let set = &resolved.settings;
            let ours = match kind {
                Kind::KeyExchange => offered(kind, set.kex_algorithms.value.as_ref()),
                Kind::HostKey => offered(kind, set.host_key_algorithms.value.as_ref()),
                Kind::Cipher => offered(kind, set.ciphers.value.as_ref()),
                Kind::Mac => offered(kind, set.macs.value.as_ref()),
            };
            let ours = ours.unwrap();
            let new: Vec<&str> = ours.iter().copied().filter(|name| !known(&keyword, name)).collect();
            // ssh of this version has no name with ML-KEM.
            let new_first = ours.starts_with(&new) || spec.is_some_and(|spec| spec.starts_with('^'));
            let old: Vec<&str> = ours.iter().copied().filter(|name| known(&keyword, name)).collect();
            if theirs.is_empty() || old != theirs || !new_first || new.iter().any(|name| !name.contains("mlkem")) {
                failures.push(format!("{kind:?} {spec:?}: pssh {ours:?}, ssh {theirs:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// Words for ssh with the options before them, as pssh puts them: `-O` and `-l`, then `-x`.
const WORDS: &[(&[&str], Option<&str>, &[&str])] = &[
    (&[], None, &["-p", "2222"]),
    (&[], None, &["-p2222", "-lroot"]),
    (&[], Some("alice"), &["-l", "root"]),
    (&[], Some("alice"), &["-l", "root", "-o", "User=bob"]),
    (&["Port=3"], None, &["-p", "4"]),
    (&[], None, &["-o", "Port=5", "-p", "4"]),
    (&["Compression=no"], None, &["-C"]),
    (&["AddressFamily=inet6"], None, &["-46", "-4"]),
    (&["ForwardAgent=no"], None, &["-A"]),
    (&[], None, &["-Aa"]),
    (&["ForwardAgent=yes"], None, &["-a"]),
    (&["LogLevel=ERROR"], None, &["-q"]),
    (&[], None, &["-T", "-t"]),
    (&["RequestTTY=no"], None, &["-T", "-tt"]),
    (&["RequestTTY=force"], None, &["-T"]),
    (&["Ciphers=aes128-ctr"], None, &["-c", "aes256-ctr", "-m", "hmac-sha1"]),
    (&[], None, &["-c", "+aes256-cbc"]),
    (&["BindAddress=127.0.0.2"], None, &["-b", "127.0.0.3", "-B", "lo"]),
    (&[], None, &["-J", "a,b@c:3"]),
    (&["ProxyCommand=nc a"], None, &["-o", "ProxyJump=b"]),
    (&["ProxyJump=a"], None, &["-o", "ProxyJump=b"]),
    (&[], None, &["-i", "{dir}/key", "-i", "{dir}/with blank"]),
    (&["IdentityFile=/x"], None, &["-i{dir}/key", "-o", "IdentityFile=/y"]),
    (&[], None, &["-o", "User bob", "-o", "BatchMode yes", "-oSetEnv=A=b"]),
    (&["SendEnv=A"], None, &["-o", "SendEnv=B C"]),
    (&[], None, &["-nxk2", "-e", "none", "-S", "none"]),
    (&[], None, &["-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=/dev/null"]),
    (&["StrictHostKeyChecking=yes"], None, &["-o", "StrictHostKeyChecking=no"]),
];

#[test]
fn words_for_ssh_are_understood_as_by_ssh() {
    let mut failures = Vec::new();
    for (given, user, words) in WORDS {
        let place = Place::new();
        let config =
            "Host web*\n User carol\n Port 7\n Compression yes\n RequestTTY force\nLogLevel INFO\nIdentityFile ~/d\n";
        place.write("config", config);
        place.write("key", "");
        place.write("with blank", "");
        let dir = place.dir.path().to_str().unwrap();
        let words: Vec<String> = words.iter().map(|word| word.replace("{dir}", dir)).collect();
        let extra: Vec<Word> = words.iter().map(|word| Word { text: word.into(), option: "-X" }).collect();
        let understood = understand(Tool::Ssh, "command", &extra).unwrap();
        let texts = |options: &[SshOption]| options.iter().map(|option| option.text.clone()).collect::<Vec<_>>();
        // The user of -l stands between -O and the words, as a host's entry here.
        let given_texts: Vec<String> = given.iter().map(|text| text.to_string()).collect();
        let all = [texts(&understood.flags), given_texts, texts(&understood.options)].concat();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let config = Config::load(&place.sources(false)).unwrap();
        for host in ["web1", "db1"] {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let found = match (place.pssh(&config, &all, *user, host), place.ssh_with(given, *user, &words, host)) {
                (Ok(resolved), Ok(said)) => differences(&resolved, said),
                (ours, theirs) => vec![format!("{:?}, {:?}", ours.map(drop), theirs.map(drop))],
            };
            failures.extend(found.into_iter().map(|it| format!("{given:?} {user:?} {words:?} {host}: {it}")));
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// Lines that are mistakes, to either or both.
const MISTAKES: &[&str] = &[
    "BatchMode maybe",
    "Compression true",
    "User \"\"",
    "User n o",
    "Port",
    "Port 0",
    "Port==1",
    "ServerAliveInterval 1x",
    "ConnectTimeout -1",
    "NumberOfPasswordPrompts -1",
    "SendEnv C=1",
    "SetEnv A",
    "UserKnownHostsFile /a none",
    "IdentityAgent ${PSSH_UNSET}",
    "ProxyJump a/b",
    "HostName %p",
    "Frobnicate x",
    "Ciphers aes",
    "User 'open",
    "Include",
    "Match host",
    "Match frob x",
    "Match",
    "Match # x",
    "Match host web1 user root all",
    "Host \"\"",
    "ProxyJump web1",
    "StrictHostKeyChecking x",
];

/// A line that sets something.
fn setting() -> impl Strategy<Value = String> {
    let flag = select(&["yes", "no", "YES", "\"no\""][..]);
    let flags =
        select(&["BatchMode", "Compression", "IdentitiesOnly", "tcpkeepalive", "ForwardX11", "CheckHostIP"][..]);
    let word = select(&["a", "\"b c\"", "'d e'", "f\\ g", "x#y", "~/h", "H.I", "j", "l # m", "root"][..]);
    let words = select(&["IdentityFile", "CertificateFile", "BindAddress", "HostKeyAlias", "User", "IdentityFile"][..]);
    let host_name = select(&["%h.example.ORG", "Web1", "db1", "10.1", "::1", "%%", "ABC:d", "2001:DB8::1"][..]);
    let number = select(&["1", "022", "+3", "4 # x", "\"5\"", " 7"][..]);
    let numbers = select(&["Port", "ConnectTimeout", "ServerAliveInterval", "NumberOfPasswordPrompts"][..]);
    let time = select(&["1m", "2h3", "none", "0"][..]);
    let times = select(&["ConnectTimeout", "ServerAliveInterval"][..]);
    let list = select(&["A B", "LC_* A", "-LC_*", "-A", "# none", "F C"][..]);
    let set = select(&["C=1 D=2", "\"E=3 4\"", "C=5", "# none"][..]);
    let files = select(&["/a /b", "~/%h", "none", "\"/c\"", "${PSSH_ORACLE}/x", "# no"][..]);
    let known = select(&["UserKnownHostsFile", "GlobalKnownHostsFile"][..]);
    let agent = select(&["~/%h", "none", "${PSSH_ORACLE}/x", "SSH_AUTH_SOCK", "/s", "no", "yes"][..]);
    let agents = select(&["IdentityAgent", "ForwardAgent"][..]);
    let proxy = select(
        &[
            "ProxyJump j",
            "ProxyJump u@j1:3,j2",
            "ProxyJump none",
            "ProxyJump ssh://u@j",
            "ProxyCommand nc %h %p # x",
            "ProxyCommand none",
            "ProxyJump %n-j",
        ][..],
    );
    let other = select(
        &[
            "Ciphers aes128-ctr,aes256-ctr",
            "Ciphers -aes*",
            "MACs +hmac-md5",
            "KexAlgorithms ^ecdh-sha2-nistp521",
            "HostKeyAlgorithms *ed25519*",
            "StrictHostKeyChecking accept-new",
            "StrictHostKeyChecking off",
            "AddressFamily inet6",
            "RequestTTY force",
            "LogLevel debug2",
            "PubkeyAuthentication unbound",
            "IgnoreUnknown frob*",
            "# comment",
            "",
            "\"Port\" 7",
            "\"Port 8",
            "Protocol 2",
            "LocalForward 1 a:2",
            "Us\"er\" q",
            "CanonicalizeHostname no",
            "PreferredAuthentications publickey",
            "ConnectionAttempts 2",
            "Port ssh",
        ][..],
    );
    let separator = select(&[" ", " ", "=", " = ", "\t", "  ", "= "][..]);
    let pair = prop_oneof![
        2 => (flags, flag),
        4 => (words, word),
        2 => (numbers, number),
        1 => (times, time),
        3 => (Just("SendEnv"), list),
        1 => (Just("SetEnv"), set),
        1 => (known, files),
        1 => (agents, agent),
        2 => (Just("HostName"), host_name),
    ];
    let pair = (pair, separator).prop_map(|((keyword, value), separator)| format!("{keyword}{separator}{value}"));
    prop_oneof![30 => pair, 4 => proxy.prop_map(str::to_owned), 15 => other.prop_map(str::to_owned),
        1 => select(MISTAKES).prop_map(str::to_owned)]
}

/// A line that starts a block.
fn condition() -> impl Strategy<Value = String> {
    let pattern = select(
        &["web1", "web*", "!web1", "?eb2", "*", "!*1", "WEB1", "db?", "*.org", "\"web2\"", "10.*", "x,web1"][..],
    );
    let host = proptest::collection::vec(pattern, 1..4).prop_map(|patterns| format!("Host {}", patterns.join(" ")));
    let hosts = select(&["web1", "web*,!web1", "!web2", "WEB*", "*.example.org", "\"db1,web2\"", "a,,*1", "*"][..]);
    let users = select(&["root", "r*", "a,root", "!root", "q"][..]);
    let by_host = (select(&["host", "originalhost", "!host", "Host", "!originalhost"][..]), hosts);
    let by_user = (select(&["user", "localuser", "!user"][..]), users);
    let criterion = prop_oneof![
        6 => by_host.prop_map(|(name, list)| format!("{name} {list}")),
        4 => by_user.prop_map(|(name, list)| format!("{name}={list}")),
        2 => select(&["final", "canonical", "!canonical", "!final"][..]).prop_map(str::to_owned),
        1 => select(&["exec true", "exec \"false\"", "# x"][..]).prop_map(str::to_owned),
    ];
    let matched =
        proptest::collection::vec(criterion, 1..4).prop_map(|criteria| format!("Match {}", criteria.join(" ")));
    // What versions of ssh read differently comes last: pssh doesn't look for mistakes behind it.
    let last = select(&["", "", "", "", "user 'root'", "host 'web1' user root", "user ro\\\\ot"][..]);
    let matched = (matched, last).prop_map(|(matched, last)| format!("{matched} {last}"));
    prop_oneof![host, matched]
}

/// A file of some blocks; `includes` are the files that it may include.
fn file(includes: &'static [&'static str]) -> impl Strategy<Value = String> {
    let include = select(includes).prop_map(|name| format!("Include {name}"));
    let line = prop_oneof![5 => setting(), 3 => condition(), 1 => include];
    let indented = (select(&["", "  ", "\t"][..]), line).prop_map(|(indent, line)| format!("{indent}{line}"));
    let end = select(&["\n", "\n", "\r\n", " \n"][..]);
    proptest::collection::vec((indented, end), 0..14)
        .prop_map(|lines| lines.into_iter().map(|(line, end)| format!("{line}{end}")).collect())
}

/// Files that resemble what people write, with a mistake here and there.
#[test]
fn generated_files_are_resolved_as_by_ssh() {
    let cases = std::env::var("PSSH_ORACLE_CASES").map_or(150, |cases| cases.parse().unwrap());
    let config = proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() };
    let files = (file(&["{dir}/one", "two", "{dir}/*e"]), file(&["two", "{dir}/none"]), file(&["{dir}/none*"]));
    let options = proptest::collection::vec(setting(), 0..2);
    let user = proptest::option::of(select(&["alice", "root"][..]));
    let counts = std::cell::Cell::new((0, 0));
    proptest::test_runner::TestRunner::new(config)
        .run(&(files, options, user), |((main, one, two), options, user)| {
            let place = Place::new();
            place.write("config", &main);
            place.write("one", &one);
            place.write(".ssh/two", &two);
            let options: Vec<&str> = options.iter().map(String::as_str).filter(|option| !skipped(option)).collect();
            let found = compare(&place, true, &options, user, &["web1", "Web2", "10.1"]);
            // How many say something, and need no ssh for that.
            let (good, all) = counts.get();
            let native =
                Config::load(&place.sources(false)).and_then(|config| place.pssh(&config, &options, user, "web1"));
            counts.set((good + u32::from(native.is_ok()), all + 1));
            prop_assert!(found.is_empty(), "{}\n{main}--- one\n{one}--- two\n{two}", found.join("\n"));
            Ok(())
        })
        .unwrap();
    let (good, all) = counts.get();
    assert!(good * 2 > all, "only {good} of {all} configurations were resolved: the test says little");
}

/// Options that ssh passes over in silence and pssh refuses: they say nothing.
fn skipped(option: &str) -> bool {
    option.is_empty() || option.starts_with('#') || option.starts_with("\"Port 8")
}
