//! The scenarios with command lines of their own: one host's stream by cipher, start-up, and copies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::Sha256;

use crate::check::Layout;
use crate::meter::Invocation;
use crate::sshd::Sshds;
use crate::tools::search;
use crate::trials::{Row, Trial, measure};

/// The names of all of them.
pub(crate) const KEYS: [&str; 11] = [
    "r-chacha20",
    "r-aes128-gcm",
    "r-aes256-gcm",
    "r-aes128-ctr",
    "s-plan",
    "s-list",
    "s-range",
    "t-large",
    "t-small",
    "t-far-large",
    "t-far-small",
];
/// Makes OpenSSL do without the processor's instructions for AES.
const NO_AES: (&str, &str) = ("OPENSSL_ia32cap", "~0x200000200000000");
/// Copies on hosts: 20 times 100 MB, and what a file system takes for small files.
const ROOM: u64 = 6_000_000_000;
const LIST: usize = 100_000;

/// How it is measured.
pub(crate) struct Way<'a> {
    /// The pssh that is measured.
    pub(crate) this: &'a Path,
    pub(crate) is_quick: bool,
    pub(crate) rounds: Option<usize>,
    pub(crate) limit: Duration,
    pub(crate) verbose: bool,
    pub(crate) only_ours: bool,
}

impl Way<'_> {
    fn rounds(&self, usual: usize) -> usize {
        if self.is_quick { 1 } else { self.rounds.unwrap_or(usual).max(1) }
    }
}

/// Measures one of them.
pub(crate) fn run(key: &str, way: &Way<'_>) -> Result<Trial> {
    let key = KEYS.into_iter().find(|known| *known == key).context("no such scenario")?;
    match key.split_at(2) {
        ("r-", cipher) => stream(key, cipher, way),
        ("s-", _) => start(key, way),
        (_, kind) => copy(key, kind, way),
    }
}

/// A directory in memory where there is room for the largest copies, else the usual one.
fn directory(way: &Way<'_>) -> Result<tempfile::TempDir> {
    let shm = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(shm).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("pssh-bench-").permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    let fits = free > if way.is_quick { ROOM / 20 } else { ROOM };
    if fits { builder.tempdir_in(shm) } else { builder.tempdir() }.context("no temporary directory")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// A command line in an environment with nothing of the user's.
fn invocation(
    program: &Path,
    arguments: &[&str],
    home: &Path,
    more: Option<(&'static str, &str)>,
) -> Result<Invocation> {
    let mut environment = BTreeMap::from([("HOME", text(home)?.to_owned()), ("LANG", "C.UTF-8".to_owned())]);
    environment.extend(["PATH", "TMPDIR"].into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))));
    environment.extend(more.map(|(name, value)| (name, value.to_owned())));
    Ok(Invocation {
        program: program.to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        environment,
        layout: Layout::Anything,
        files: None,
        is_short: false,
    })
}

/// Rows of a trial; other tools that are not installed are named, once.
struct Rows<'a> {
    way: &'a Way<'a>,
    home: &'a Path,
    rows: Vec<Row>,
}

impl Rows<'_> {
    fn ours(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[&str],
        more: Option<(&'static str, &str)>,
    ) -> Result<()> {
        self.rows.push(Row::new(name, true, invocation(program, arguments, self.home, more)?));
        Ok(())
    }

    fn other(&mut self, name: &str, needs: &str, arguments: &[&str], more: Option<(&'static str, &str)>) -> Result<()> {
        if self.way.only_ours {
            return Ok(());
        }
        match search(needs) {
            Some(_) => {
                let program = search(arguments[0]).with_context(|| format!("there is no {}", arguments[0]))?;
                self.rows.push(Row::new(name, false, invocation(&program, &arguments[1..], self.home, more)?));
            }
            None => println!("{name} is not measured: there is no {needs}\n"),
        }
        Ok(())
    }
}

/// One host's stream with one cipher, beside ssh's.
fn stream(key: &'static str, cipher: &str, way: &Way<'_>) -> Result<Trial> {
    const LINE: usize = 80;
    let lines = if way.is_quick { 125_000 } else { 12_500_000 };
    let directory = directory(way)?;
    let root = directory.path();
    let hosts = Sshds::start(1, false, root)?;
    let file = root.join("lines");
    let mut writer = BufWriter::with_capacity(1 << 20, fs::File::create(&file)?);
    for number in 0..lines {
        writeln!(writer, "{number:<79}")?;
    }
    writer.flush()?;
    let name = match cipher {
        "chacha20" => "chacha20-poly1305@openssh.com".to_owned(),
        "aes128-ctr" => cipher.to_owned(),
        _ => format!("{cipher}@openssh.com"),
    };
    // A MAC that both know, where the cipher has none of its own.
    let (ciphers, macs) = (format!("Ciphers={name}"), "MACs=hmac-sha2-256-etm@openssh.com");
    let config = text(&hosts.ssh_config)?;
    let host = crate::sshd::address(0).to_string();
    let command = format!("cat {}", text(&file)?);
    let mut rows = Rows { way, home: root, rows: Vec::new() };
    for (suffix, more) in [("", None), (", without AES instructions", Some(NO_AES))] {
        let ssh = ["ssh", "-n", "-F", config, "-o", &ciphers, "-o", macs, &host, &command];
        rows.other(&format!("ssh{suffix}"), "ssh", &ssh, more)?;
        for format in ["lines", "none"] {
            let words = ["-F", config, "-H", &host, "-O", &ciphers, "-O", macs, "--format", format, &command];
            rows.ours(&format!("**this pssh**, {format}{suffix}"), way.this, &words, more)?;
        }
    }
    let title = format!("One host says {} MB in lines of 80 bytes, {name}", lines * LINE / 1_000_000);
    let mut trial = Trial { key, title, rows: rows.rows };
    let prefix = host.len() + 2;
    measure(
        &mut trial,
        way.rounds(3),
        way.limit,
        way.verbose,
        || Ok(()),
        |row, run| {
            let wanted = match row.name.contains("none") {
                true => 0,
                false if row.is_ours => lines * (LINE + prefix),
                false => lines * LINE,
            };
            ensure!(run.printed == wanted as u64, "it printed {} bytes, not {wanted}", run.printed);
            Ok(())
        },
    )?;
    Ok(trial)
}

/// How long it takes until there would be a connection.
fn start(key: &'static str, way: &Way<'_>) -> Result<Trial> {
    let directory = directory(way)?;
    let root = directory.path();
    let path = |name: &str| root.join(name);
    let hosts = if way.is_quick { 1000 } else { LIST };
    let mut rows = Rows { way, home: root, rows: Vec::new() };
    let mut least = 1;
    let (title, rounds) = match key {
        "s-plan" => {
            files_of_a_user(root)?;
            let (config, known) = (path("config"), format!("UserKnownHostsFile={}", text(&path("known_hosts"))?));
            let config = text(&config)?;
            let words = ["-F", config, "-O", &known, "-H", "x", "--dry-run", "true"];
            rows.ours("**this pssh** --dry-run", way.this, &words, None)?;
            rows.other("ssh -G", "ssh", &["ssh", "-F", config, "-o", &known, "-G", "x"], None)?;
            ("One host is planned, with 10,000 known hosts and 1,000 blocks in ssh_config".to_owned(), 25)
        }
        "s-list" => {
            let list: String = (1..=hosts).map(|host| format!("node{host:06}.example.net\n")).collect();
            fs::write(path("list"), &list)?;
            least = hosts;
            let list = path("list");
            let list = text(&list)?;
            rows.ours("**this pssh** --list", way.this, &["-F", "none", "-h", list, "--list"], None)?;
            let words = ["-F", "none", "-h", list, "--dry-run", "true"];
            rows.ours("**this pssh** --dry-run", way.this, &words, None)?;
            rows.other("pdsh -Q", "pdsh", &["pdsh", "-R", "ssh", "-w", &format!("^{list}"), "-Q"], None)?;
            let line = r#"nodeset -e -S "\n" < "$1""#;
            rows.other("nodeset -e", "nodeset", &["sh", "-c", line, "sh", list], None)?;
            (format!("A list of {hosts} hosts is read"), 9)
        }
        _ => {
            let range = format!("node[000001-{hosts:06}].example.net");
            least = hosts;
            rows.ours("**this pssh** --list", way.this, &["-F", "none", "-w", &range, "--list"], None)?;
            rows.other("pdsh -Q", "pdsh", &["pdsh", "-R", "ssh", "-w", &range, "-Q"], None)?;
            rows.other("nodeset -e", "nodeset", &["nodeset", "-e", "-S", "\\n", &range], None)?;
            (format!("A range of {hosts} hosts is expanded"), 9)
        }
    };
    let mut trial = Trial { key, title, rows: rows.rows };
    measure(
        &mut trial,
        way.rounds(rounds),
        way.limit,
        way.verbose,
        || Ok(()),
        |_, run| {
            // A host's name has more than ten bytes, whatever else is printed.
            let wanted = if least == 1 { 1 } else { least as u64 * 10 };
            ensure!(run.printed >= wanted, "it printed only {} bytes", run.printed);
            Ok(())
        },
    )?;
    Ok(trial)
}

/// A known_hosts of 10,000 lines, every other name hashed, and an ssh_config of 1,000 blocks.
fn files_of_a_user(root: &Path) -> Result<()> {
    let mut random = Random(1);
    let mut known = String::new();
    for host in 0..10_000 {
        let mut key = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        key.extend(random.bytes(32));
        let name = if host % 2 == 0 {
            format!("host{host}.example.net")
        } else {
            format!("|1|{}|{}", STANDARD.encode(random.bytes(20)), STANDARD.encode(random.bytes(20)))
        };
        let _ = writeln!(known, "{name} ssh-ed25519 {}", STANDARD.encode(key));
    }
    let mut config = String::new();
    for block in 0..1000 {
        let _ = writeln!(
            config,
            "Host web{block} web{block}.*\n  HostName 10.0.{}.{}\n  User deploy\n  IdentityFile ~/.ssh/id_{block}",
            block / 250,
            block % 250
        );
    }
    config += "Host *\n  SendEnv LANG LC_*\n  HashKnownHosts yes\n  GSSAPIAuthentication yes\n";
    fs::write(root.join("known_hosts"), known)
        .and_then(|()| fs::write(root.join("config"), config))
        .context("cannot write the user's files")
}

/// Copies to hosts with directories of their own.
fn copy(key: &'static str, kind: &str, way: &Way<'_>) -> Result<Trial> {
    let (is_far, is_large) = (kind.starts_with("far"), kind.ends_with("large"));
    let hosts = match (is_large, way.is_quick) {
        (true, false) => 20,
        (false, false) => 5,
        (_, true) => 3,
    };
    let directory = directory(way)?;
    let root = directory.path();
    let sshds = Sshds::start(hosts, is_far, root)?;
    let source = root.join("source");
    let (name, what) = match is_large {
        true => ("large", large(&source, if way.is_quick { 2_000_000 } else { 100_000_000 })?),
        false => ("small", small(&source, if way.is_quick { 1 } else { 100 })?),
    };
    let wanted = digest(&source)?;

    let program = |name: &str| -> Result<PathBuf> {
        let link = root.join(name);
        std::os::unix::fs::symlink(fs::canonicalize(way.this)?, &link)?;
        Ok(link)
    };
    let local = source.join(name);
    let (local, target) = (text(&local)?, text(&sshds.shared)?);
    let (config, list, at_once) = (text(&sshds.ssh_config)?, text(&sshds.hosts_file)?, hosts.to_string());
    let ssh = format!("ssh -F {config}");
    let mut rows = Rows { way, home: root, rows: Vec::new() };
    rows.ours(
        "**this pscp**",
        &program("pscp")?,
        &["-F", config, "-h", list, "-p", &at_once, "-r", local, target],
        None,
    )?;
    // -a is what rsync gets from the others, too.
    let words = ["-F", config, "-h", list, "-p", &at_once, "-a", local, target];
    rows.ours("**this prsync**", &program("prsync")?, &words, None)?;
    let line = r#"while read -r host; do scp -qr -F "$2" "$3" "$host:$4" </dev/null || exit 1; done <"$1""#;
    rows.other("scp, one after the other", "scp", &["sh", "-c", line, "sh", list, config, local, target], None)?;
    let to = format!("{{}}:{target}");
    let words = ["xargs", "-a", list, "-P", &at_once, "-I", "{}", "scp", "-qr", "-F", config, local, &to];
    rows.other("xargs -P scp", "scp", &words, None)?;
    let words = ["xargs", "-a", list, "-P", &at_once, "-I", "{}", "rsync", "-a", "-e", &ssh, local, &to];
    rows.other("xargs -P rsync", "rsync", &words, None)?;
    let extra = format!("-F {config}");
    let words = ["parallel-scp", "-h", list, "-p", &at_once, "-t", "0", "-x", &extra, "-r", local, target];
    rows.other("parallel-scp", "parallel-scp", &words, None)?;
    let words = ["parallel-rsync", "-h", list, "-p", &at_once, "-t", "0", "-S", &extra, "-a", local, target];
    rows.other("parallel-rsync", "parallel-rsync", &words, None)?;

    let way_there = if is_far { " behind a round trip of 40 ms" } else { "" };
    let place = if root.starts_with("/dev/shm") { "in memory" } else { "on disk" };
    let title = format!("{what} to {hosts} hosts{way_there}, all at once, {place}");
    let mut trial = Trial { key, title, rows: rows.rows };
    measure(
        &mut trial,
        way.rounds(3),
        way.limit,
        way.verbose,
        || sshds.clear(),
        |_, _| {
            for host in 0..hosts {
                ensure!(digest(&sshds.directory(host))? == wanted, "what host {host} has got is not what was sent");
            }
            Ok(())
        },
    )?;
    Ok(trial)
}

fn large(source: &Path, bytes: usize) -> Result<String> {
    fs::create_dir_all(source)?;
    fs::write(source.join("large"), Random(2).bytes(bytes)).context("cannot write the large file")?;
    Ok(format!("A file of {} MB", bytes / 1_000_000))
}

/// Directories with 100 files of 1 KiB each.
fn small(source: &Path, directories: usize) -> Result<String> {
    let mut random = Random(3);
    for directory in 0..directories {
        let directory = source.join(format!("small/{directory:03}"));
        fs::create_dir_all(&directory)?;
        for file in 0..100 {
            fs::write(directory.join(format!("file-{file:02}")), random.bytes(1024))
                .context("cannot write small files")?;
        }
    }
    Ok(format!("{} files of 1 KiB", directories * 100))
}

/// Of all names and contents below a directory.
fn digest(directory: &Path) -> Result<[u8; 32]> {
    fn add(hash: &mut Sha256, directory: &Path) -> Result<()> {
        let mut paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let content = if path.is_dir() { None } else { Some(fs::read(&path)?) };
            let length = content.as_ref().map_or(u64::MAX, |content| content.len() as u64);
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(&length.to_le_bytes());
            match content {
                Some(content) => hash.update(&content),
                None => add(hash, &path)?,
            }
            hash.update(b"end");
        }
        Ok(())
    }
    let mut hash = Sha256::new();
    add(&mut hash, directory).with_context(|| format!("cannot read {}", directory.display()))?;
    Ok(hash.finish())
}

/// Bytes that do not compress, the same in each run: xorshift.
struct Random(u64);

impl Random {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.extend(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
