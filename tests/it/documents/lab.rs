//! The hosts of the documents, and the directory in which their commands are run.
//!
//! Every name in the documents is a host here: an SSH server in this process, with a home directory of its own, which the lab's
//! ssh_config and known_hosts know. `web4` is down. Remote programs that would change the machine are stand-ins, and absolute paths
//! are relative ones ([`ROOTS`]), so that `/etc/motd` of a host is a file below its home directory.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use pssh::internal::Program;
use regex_lite::Regex;

use super::markdown::Block;
use crate::bin::{Env, path_of};
use crate::embedded::{Config, Prompt, Server, refused_address};
use crate::sshd::sftp_server;

/// Directories of the documents that are below the working directory here, on hosts and locally.
const ROOTS: &str = r#"(^|[\s'"=<>:(,])/(etc|srv|var|opt|run)\b"#;
/// What the home directory is called in the documents.
const HOME: &str = "/home/me";
/// The directory for the lab's own files, below the home directory.
const OWN: &str = ".lab";
/// The host that is down.
const DOWN: &str = "web4";

/// A jump host that also wants a one-time code.
const GATE: &str = "gate";
pub(super) const CODE: &str = "123456";

/// Files on every host: name, text. Those that begin with `#!` can be run.
const ON_HOSTS: [(&str, &str); 11] = [
    (
        "health",
        "#!/bin/sh\ncase $LAB_NAME in\nweb2) echo 'nginx: active'; echo 'requests/s: 397';;\n\
         web*) echo 'nginx: active'; echo 'requests/s: 412';;\ndb2) echo 'postgres: standby'; sleep 0.3; echo 'replication stopped' >&2; exit 2;;\n\
         db*) echo 'postgres: primary';;\n*) echo ok;;\nesac\n",
    ),
    ("deploy", "#!/bin/sh\necho \"version ${1:-2.4.1} is live\"\n"),
    ("update", "#!/bin/sh\necho 'everything is up to date'\n"),
    ("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n"),
    ("etc/hostname", "host\n"),
    ("etc/ssh/sshd_config", "PasswordAuthentication no\n"),
    ("etc/nginx/nginx.conf", "worker_processes auto;\nkeepalive_timeout 65;\n"),
    ("etc/nginx/mime.types", "text/html html;\n"),
    ("var/log/app.log", "started\n"),
    ("srv/app/VERSION", "2.4.1\n"),
    ("run/lock", ""),
];
/// Files of single hosts that are other ones there.
const DIFFERENT: [(&str, &str, &str); 2] = [
    ("web3", "etc/nginx/nginx.conf", "worker_processes auto;\nkeepalive_timeout 5;\n"),
    ("web07", "etc/nginx/nginx.conf", "worker_processes auto;\nkeepalive_timeout 5;\n"),
];
/// Programs on the hosts that are stand-ins.
const REMOTE: [(&str, &str); 13] = [
    ("hostname", "echo \"$LAB_NAME\""),
    ("uname", "case $LAB_NAME in db2) echo 6.1.0-25-amd64;; *) echo 6.1.0-28-amd64;; esac"),
    ("uptime", "echo ' 10:02:11 up 12 days,  3:04,  1 user,  load average: 0.08, 0.03, 0.01'"),
    ("df", "printf 'Filesystem Size Used Avail Use%% Mounted on\\n/dev/vda1 40G 17G 21G 46%% /\\n'"),
    (
        "systemctl",
        "case $*,$LAB_NAME in is-active*) echo active;; reboot*) rm -f run/rebooting;; 'restart app,web01') exit 1;; esac",
    ),
    ("apt-get", ":"),
    ("curl", "echo ok"),
    ("pkill", ":"),
    ("reboot", ":"),
    ("id", "echo \"$LAB_USER\""),
    ("docker", ":"),
    ("logger", ":"),
    (
        "sudo",
        "user=root; while [ $# -gt 0 ]; do case $1 in --) shift; break;; -u) user=$2; shift 2;; -p) shift 2;; -*) shift;; *) break;; esac; done\n\
         LAB_USER=$user \"$@\"",
    ),
];
/// Files in the working directory, see [`ON_HOSTS`].
const LOCAL: [(&str, &str); 16] = [
    ("hosts.txt", "web1\nweb2\ndb2\n"),
    ("more.txt", "db1\n"),
    ("web.txt", "web1\nweb2\nweb3\n"),
    ("motd", "Maintenance on Sunday.\n"),
    ("a.conf", "a = 1\n"),
    ("nginx.conf", "worker_processes auto;\nkeepalive_timeout 65;\n"),
    ("sshd_config", "PasswordAuthentication no\n"),
    ("setup.sh", "#!/bin/sh\necho \"set up $1 as $(id)\"\n"),
    ("versions.csv", "host,version\nweb1,2.4.1\nweb2,2.4.1\ndb2,2.3.9\n"),
    ("site/index.html", "<h1>Hello</h1>\n"),
    ("site/css/site.css", "h1 { color: black }\n"),
    ("etc/pssh/hosts", "web1\n"),
    ("known_hosts", "# nothing\n"),
    ("key", "a private key\n"),
    ("tests/run", "#!/bin/sh\n"),
    ("packaging/deb", "#!/bin/sh\n"),
];

static ROOT_PATHS: LazyLock<Regex> = LazyLock::new(|| Regex::new(ROOTS).expect("a pattern"));

pub(crate) struct Lab {
    env: Env,
    servers: Vec<Server>,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let mut lab = Lab { env: Env::new(), servers: Vec::new() };
        for (name, text) in LOCAL {
            lab.write(name, text);
        }
        for (name, code) in REMOTE {
            lab.write(&format!("{OWN}/remote/{name}"), &format!("#!/bin/sh\n{code}\n"));
        }
        for program in Program::ALL {
            let path = lab.path("bin").join(program.name());
            fs::create_dir_all(lab.path("bin")).and_then(|()| symlink(path_of(program), path)).expect("a link");
            let dry = format!("#!/bin/sh\nexec '{}' --dry-run \"$@\"\n", path_of(program));
            lab.write(&format!("{OWN}/dry/{}", program.name()), &dry);
        }
        let key = fs::read_to_string(lab.env.ssh_dir().join("id_ed25519")).expect("the key");
        lab.write("keys/web", &key);
        lab.start_hosts();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.env.path(OWN).join(name)
    }

    fn start_hosts(&mut self) {
        let mut config = String::new();
        let block = |name: &str, address: std::net::SocketAddr| {
            format!("Host {name}\n  HostName {}\n  Port {}\n", address.ip(), address.port())
        };
        for name in names() {
            let server = self.host(&name);
            config.push_str(&block(&name, server.addr()));
            self.env.trust(&server.known_hosts());
            self.servers.push(server);
        }
        let down = refused_address(Ipv4Addr::LOCALHOST.into()).expect("a free port");
        config.push_str(&block(DOWN, down));
        config.push_str("Host *\n  ConnectionAttempts 1\n  IdentityAgent none\n");
        self.write(".ssh/config", &config);
    }

    fn host(&self, name: &str) -> Server {
        let home = self.path("hosts").join(name);
        for (file, text) in ON_HOSTS {
            write(&home.join(file), text);
        }
        for (_, file, text) in DIFFERENT.iter().filter(|(host, ..)| *host == name) {
            write(&home.join(file), text);
        }
        let path = format!("{}:/usr/bin:/bin", self.path("remote").display());
        let code = Prompt { text: "Verification code: ".into(), echo: false, answer: CODE.into() };
        let wants_code = name == GATE;
        Server::start(Config {
            keyboard_interactive: if wants_code { vec![vec![code]] } else { Vec::new() },
            second_factor: wants_code,
            authorised: self.env.public_lines(),
            env: [("LAB_NAME", name), ("LAB_USER", "me"), ("PATH", &path)]
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            home: Some(home),
            sftp_server: Some(sftp_server()),
            threads: 1,
            ..Config::default()
        })
    }

    /// Writes a file into the working directory; `~/` means the same.
    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.env.path(name.trim_start_matches("~/")), text);
    }

    /// A command as it is run here.
    pub(crate) fn command(&self, text: &str) -> String {
        // Twice: two paths may share the character between them.
        let once = ROOT_PATHS.replace_all(text, "$1$2");
        ROOT_PATHS.replace_all(&once, "$1$2").into_owned()
    }

    /// What both streams of the commands say, with the document's name of the home directory. Where they are not really run, pssh
    /// only checks its command lines.
    pub(crate) fn run(&self, block: &Block, commands: &str) -> String {
        let needs = block.attribute("needs").is_some() || !block.has_commands();
        let mut path = self.path("bin").display().to_string();
        let mut start = String::from("exec 2>&1\n");
        if needs {
            // Nothing but pssh is run, and that does not connect.
            path = self.path("dry").display().to_string();
            start.push_str("command_not_found_handle() { return 0; }\nexport GITHUB_STEP_SUMMARY=summary.md\n");
        } else {
            for program in block.attribute("with").into_iter().flat_map(|programs| programs.split(',')) {
                let directory = self.path("with").join(program);
                write(&directory.join(program), &super::stand_ins::of(program));
                path = format!("{}:{path}", directory.display());
            }
            path.push_str(":/usr/local/bin:/usr/bin:/bin");
        }
        self.write(&format!("{OWN}/script"), &format!("export PATH='{path}'\n{start}{commands}"));
        let script = format!("exec {} '{}'", bash(), self.path("script").display());
        let run = self.env.bare_pssh().shell(&script).variable("USER", "me").run();
        let home = self.env.path("");
        run.stdout_text().replace(home.display().to_string().trim_end_matches('/'), HOME) + &run.stderr_text()
    }
}

fn bash() -> &'static str {
    ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("bash")
}

/// The hosts that are up.
fn names() -> Vec<String> {
    let web = (1..=20).map(|number| format!("web{number:02}"));
    let single = (1..=9).map(|number| format!("web{number}")).filter(|name| name != DOWN);
    let few = ["db", "app", "node"].into_iter().flat_map(|kind| (1..=3).map(move |number| format!("{kind}{number}")));
    web.chain(single).chain(few).chain(["cache", "bastion", GATE].map(str::to_owned)).collect()
}

fn write(path: &Path, text: &str) {
    let mode = if text.starts_with("#!") { 0o700 } else { 0o600 };
    let written = fs::create_dir_all(path.parent().expect("a directory"))
        .and_then(|()| fs::write(path, text))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
