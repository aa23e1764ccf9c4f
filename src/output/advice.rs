//! Hints: one line for each kind of failure, in the words of the program that runs.

use std::path::Path;

use crate::copy::rsync;
use crate::events::check::GivenUp;
use crate::events::event::{Class, Outcome, Phase};
use crate::events::host_error::{FROM_ADDRESS, HostError, HostKeyError, KNOWN_HOSTS_COMMAND, LoginError, ProxyError};
use crate::events::remedy::Remedy;
use crate::plan::program::Program;
use crate::ssh::algorithms::OLD_SERVERS;
use crate::text::message::reason;

/// The state of an interrupted copy.
const INCOMPLETE: &str = "no incomplete file is in place; --resume keeps what has arrived and continues from there";

/// Returns the system's message when no local address fits: no IPv6, a BindAddress of another machine, no free port.
fn no_address_here() -> String {
    reason(&rustix::io::Errno::ADDRNOTAVAIL.into())
}

/// Returns the port option of ssh-keyscan(1), followed by a blank.
fn port_option(port: u16) -> String {
    if port == 22 { String::new() } else { format!("-p {port} ") }
}

/// OpenSSH's message after MaxAuthTries attempts.
const TOO_MANY_FAILURES: &str = "Too many authentication failures";

/// The hint for names that cannot be looked up.
const UNKNOWN_NAMES: &str = "check the spelling, or whether the resolver knows the names";

impl Outcome {
    /// Returns the part that hints share when they differ only in details of the host.
    pub fn hint_kind(&self, program: Program) -> Option<String> {
        match self {
            Outcome::Failed(error) => error.hint_kind(program),
            Outcome::Recorded(recorded) => recorded.hint.clone().map(|hint| match recorded.class {
                class @ (Class::Dns | Class::HostKey | Class::Lost) => class.word().to_owned(),
                _ => hint,
            }),
            outcome => outcome.hint(program),
        }
    }

    /// Returns the hint for several hosts of one kind.
    pub fn shared_hint(&self, program: Program) -> Option<String> {
        match self {
            Outcome::Failed(error) => error.shared_hint(program),
            Outcome::Recorded(recorded) if recorded.class == Class::Dns => Some(UNKNOWN_NAMES.to_owned()),
            outcome => outcome.hint(program),
        }
    }

    /// Returns a one-line hint, if one is known.
    pub fn hint(&self, program: Program) -> Option<String> {
        match self {
            Outcome::Failed(error) => error.hint(program),
            Outcome::Recorded(recorded) => recorded.hint.clone(),
            Outcome::Exited(status) => program.meaning(*status),
            Outcome::Judged { is_success: true, .. } => None,
            Outcome::Judged { outcome, .. } if outcome.exit_status() == Some(0) => {
                Some("0 is not in the list of --success, which replaces its default, 0".to_owned())
            }
            Outcome::Judged { outcome, .. } => outcome.hint(program),
            Outcome::CheckFailed(failure) => {
                let task = program.task();
                let task = if failure.command.class() == Class::Ok && failure.command.word() == Class::Ok.word() { format!("{task} succeeded") } else { format!("{task} ended as a success") };
                Some(if failure.given_up == Some(GivenUp::HostKey) {
                    format!("{task}; find out whether this is still the same host before its new key is accepted")
                } else if failure.given_up == Some(GivenUp::Secret) {
                    format!("{task}; a password that may have been refused is not sent again, as that could lock the account")
                } else if let Some(status @ (126 | 127)) = failure.report.exit_status {
                    format!("{task}; status {status} of the check means that the shell cannot run it: is it right?")
                } else {
                    format!("{task}; a longer --check-timeout gives the check more time")
                })
            }
            Outcome::Unstopped(outcome) => {
                let task = if outcome.class() == Class::Check { "the check" } else { program.task() };
                Some(format!("{task} was asked to stop, but it may still be running there"))
            }
            Outcome::TimedOut { phase: Phase::Connect, .. } => Some(
                "is the host up, and does a firewall block the port? A slow host or link may need a longer --connect-timeout"
                    .to_owned(),
            ),
            Outcome::TimedOut { phase: Phase::KnownHostsCommand, .. } => Some(
                "KnownHostsCommand runs within --connect-timeout; --explain shows where it is configured".to_owned(),
            ),
            Outcome::TimedOut { phase: Phase::Open, .. } => Some(
                "the login succeeded, but the host is slow or overloaded; try a longer --connect-timeout"
                    .to_owned(),
            ),
            Outcome::TimedOut { phase: Phase::Auth | Phase::Secret, .. } => {
                Some("a slow host or link may need a longer --connect-timeout".to_owned())
            }
            Outcome::TimedOut { phase: Phase::Command, .. } => {
                let task = program.task();
                Some(format!("{task} was asked to stop; -t 0 removes the time limit"))
            }
            Outcome::TimedOut { phase: Phase::Transfer, .. } => Some(match program {
                Program::Prsync => "rsync was asked to stop; -t 0 removes the time limit".to_owned(),
                _ => format!("{}; -t 0 removes the time limit", INCOMPLETE),
            }),
            Outcome::TimedOut { phase: Phase::Silence, .. } => {
                let what = match program {
                    Program::Pscp | Program::Pslurp => INCOMPLETE.to_owned(),
                    program => format!("{} was asked to stop", program.task()),
                };
                Some(format!("{what}; a longer --channel-timeout allows longer silences"))
            }
            _ => None,
        }
    }
}

impl HostError {
    /// Returns the part that hints share when they differ only in the host's name and place.
    pub fn hint_kind(&self, program: Program) -> Option<String> {
        match self {
            HostError::Dns { .. } => Some(Class::Dns.word().to_owned()),
            HostError::Lost { .. } => Some(Class::Lost.word().to_owned()),
            HostError::HostKey(error) => error.shared_hint(),
            error => error.hint(program),
        }
    }

    /// Returns the hint for several hosts of one kind, without details of a single host.
    pub fn shared_hint(&self, program: Program) -> Option<String> {
        match self {
            HostError::Dns { .. } => Some(UNKNOWN_NAMES.to_owned()),
            HostError::HostKey(error) => error.shared_hint(),
            error => error.hint(program),
        }
    }

    /// Returns a one-line hint, if one is known.
    pub fn hint(&self, program: Program) -> Option<String> {
        match self {
            HostError::Dns { origin, .. } => {
                let place = origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
                Some(format!("check the spelling{place}, or whether the resolver knows the name"))
            }
            HostError::Connect { tried }
                if !tried.is_empty() && tried.iter().all(|(_, reason)| reason.starts_with(FROM_ADDRESS)) =>
            {
                Some("the host cannot be reached from that address: check BindAddress".to_owned())
            }
            HostError::Connect { tried } if tried.iter().all(|(_, reason)| *reason == no_address_here()) => Some(
                "this machine has no address to reach it from: check BindAddress and IPv6; after very many connections, all \
                 local ports may be in use for a minute"
                    .to_owned(),
            ),
            HostError::Connect { .. } => {
                Some("is sshd running there, on that port, and not behind a firewall?".to_owned())
            }
            HostError::Behind { hop, .. } => {
                Some(format!("{hop} resolves the name and connects: can it reach the host, and is sshd running there?"))
            }
            HostError::Proxy { cause, .. } => cause.hint(program),
            HostError::HostKey(error) => error.hint(),
            HostError::Auth(error) => error.hint(),
            HostError::Dropped { banner_seen: false, .. } => Some(
                "is it an SSH server? A busy one (MaxStartups) does this too: fewer hosts at once (-p) may help"
                    .to_owned(),
            ),
            HostError::Dropped { banner_seen: true, .. } => None,
            HostError::Sudo { hint, .. }
            | HostError::Ssh { hint, .. }
            | HostError::Copy { hint, .. }
            | HostError::Local { hint, .. } => hint.as_ref().map(Remedy::hint),
            HostError::Lost { hint: Some(hint), .. } => Some(hint.hint()),
            HostError::Lost { hint: None, .. } => Some(match program {
                Program::Pscp | Program::Pslurp => INCOMPLETE.to_owned(),
                _ => "the command may still be running there, or may have ended".to_owned(),
            }),
        }
    }
}

impl Remedy {
    /// Returns the sentence.
    fn hint(&self) -> String {
        let text = match self {
            Remedy::SudoPasswordNeeded => {
                "give the password with --sudo-password-file FILE, or allow sudo without one (NOPASSWD in sudoers(5))"
            }
            Remedy::SudoPasswordRefused => {
                "is it the login user's password? pssh cannot answer a sudo that asks for another password or for a code"
            }
            Remedy::SudoNotBegun { was_told: true } => {
                "is it the login user's password, and may that user run sh with sudo there?"
            }
            Remedy::SudoNotBegun { was_told: false } => {
                "may that user run sh with sudo there, and does sudo require a terminal (requiretty)?"
            }
            Remedy::NewerServer => "version 1 is broken and not supported; the host needs a newer SSH server",
            Remedy::IsItSsh => "is it an SSH server?",
            Remedy::LongerHostKey => "RequiredRSASize in ssh_config sets the minimum; give the host a longer key",
            Remedy::AllowAlgorithm { keyword, name } => {
                return format!("-O {keyword}=+{name} offers it to this server");
            }
            Remedy::LackingAlgorithm { reason, is_sha1: true } => return format!("{reason}: {OLD_SERVERS}"),
            Remedy::LackingAlgorithm { reason, is_sha1: false } => reason,
            Remedy::NothingOffered => "the server offers nothing",
            Remedy::SilentShell => {
                "output of a login shell, for example from ~/.bashrc, breaks SFTP: print nothing in non-interactive shells"
            }
            Remedy::IsSftpThere => {
                "is SFTP available there? Check Subsystem in sshd_config(5), and that sftp-server is installed"
            }
            Remedy::InstallSftp => {
                "install an SFTP server on the host (openssh-sftp-server), or copy without that option"
            }
            Remedy::InstallSftpOrScp => {
                "install an SFTP server on the host (openssh-sftp-server), or scp (openssh-client)"
            }
            Remedy::IsThereAShell => "does the account have a shell, not a forced command?",
            Remedy::InPlaceForNoNewFile => "the directory accepts no new file; --inplace writes into the existing one",
            Remedy::InPlaceForNoRename => "--inplace writes into the file itself, without a rename",
            Remedy::InPlaceForRoom => {
                "the old file stays until the new one is complete; --inplace does not need space for both"
            }
            Remedy::ResumeAfterRoom => {
                "--resume continues the kept file once there is space; delete it to free its space"
            }
            Remedy::NoReasonGiven => {
                "the server says only this for a full disk, a quota, a read-only file system, and more"
            }
            Remedy::CopyDirectories => "-r copies directories",
            Remedy::CopyWholeDirectory => "-r copies a whole directory",
            Remedy::KeptHere(names) => {
                return format!("partial files are kept here, and the same command continues them: {names}");
            }
            Remedy::KeptThere(names) => {
                return format!("partial files are kept there, and the same command continues them: {names}");
            }
            Remedy::LeftThere { names, is_in_place } => {
                let what = if *is_in_place { "half-written" } else { "unfinished" };
                return format!("left there, {what}: remove {names} (--resume continues the files that it leaves)");
            }
            Remedy::MoreOpenFiles => "run fewer hosts at once (-p), or raise the limit of open files (ulimit -n)",
            Remedy::MoreThreads => {
                "raise the limit of threads and processes (ulimit -u, pids.max of the cgroup), or run fewer hosts at once (-p)"
            }
            Remedy::InputIncomplete => "the command was asked to stop because it did not get all of its input",
            Remedy::MakeRoom { directory, command } => {
                return format!("free some space in {}; the command itself: {command}", directory.display());
            }
            Remedy::OutputIncomplete { command } => {
                return format!("its output is incomplete; the command itself: {command}");
            }
            Remedy::FindOutEnd => "find out on the host how it ended; --rerun lost runs it again",
            Remedy::Report => "please report this, with the command line",
            Remedy::PasswordNeeded => "-A asks for a password, --password-file reads one",
            Remedy::AnswerNeeded => "answer at a terminal, or with the SSH_ASKPASS program",
            Remedy::ChangePassword => "log in once with ssh and change the password",
            Remedy::AllowKeys => {
                "public keys are turned off by PubkeyAuthentication or PreferredAuthentications; --explain shows where"
            }
            Remedy::AllowKeyAlgorithms => {
                "PubkeyAcceptedAlgorithms allows none of the keys; --explain shows where it is set"
            }
            // The message about the key gives the reason and the ssh-add command.
            Remedy::PassphraseNeeded => {
                "without a terminal, use an agent that holds the key, or --password-file FILE with its passphrase"
            }
        };
        text.to_owned()
    }
}

impl HostKeyError {
    /// Returns the hint for several hosts, with HOST in place of their names.
    fn shared_hint(&self) -> Option<String> {
        match self {
            HostKeyError::Unknown { scan: Some((_, port)), file: Some(file), .. } if file != Path::new("/dev/null") => {
                let file = file.display();
                Some(format!(
                    "pssh --ping --host-key-check accept-new with the same hosts adds all their keys to '{file}'; to compare the \
                     fingerprints first: ssh-keyscan {}HOST... > keys; ssh-keygen -lf keys; cat keys >> '{file}'",
                    port_option(*port),
                ))
            }
            HostKeyError::Changed { file, .. } if !file.to_string_lossy().starts_with(KNOWN_HOSTS_COMMAND) => {
                Some(format!(
                    "if the hosts were really re-installed, for each HOST: ssh-keygen -R HOST -f '{}', then accept the new keys",
                    file.display()
                ))
            }
            error => error.hint(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            // Keys written there are lost.
            HostKeyError::Unknown { file: Some(file), .. } if file == Path::new("/dev/null") => {
                Some("compare the fingerprint, and name a file with the key: --known-hosts FILE".to_owned())
            }
            HostKeyError::Unknown { scan: Some((host, port)), file: Some(file), .. } => {
                Some(format!(
                    "compare the fingerprint, then: ssh-keyscan {}{host} >> '{}' (or --host-key-check accept-new)",
                    port_option(*port),
                    file.display()
                ))
            }
            HostKeyError::Unknown { file: Some(file), .. } => Some(format!(
                "compare the fingerprint, then: --host-key-check accept-new adds the key to {}",
                file.display()
            )),
            HostKeyError::Unknown { file: None, .. } => {
                Some("compare the fingerprint, and name a file with the key: --known-hosts FILE".to_owned())
            }
            // This is a command, not a file.
            HostKeyError::Changed { file, .. } if file.to_string_lossy().starts_with(KNOWN_HOSTS_COMMAND) => {
                Some("if the host was really re-installed: correct what KnownHostsCommand prints for it".to_owned())
            }
            HostKeyError::Changed { name, file, .. } => Some(format!(
                "if the host was really re-installed: ssh-keygen -R '{name}' -f '{}', then accept the new key",
                file.display()
            )),
            // No hint: a revoked key must not be easy to accept.
            HostKeyError::Revoked { .. } | HostKeyError::Listed { .. } => None,
            HostKeyError::Command { has_started: false, .. } => {
                Some("is that the right path? --explain shows where it is configured".to_owned())
            }
            HostKeyError::Command { .. } => {
                Some("-v shows what the command says; --explain shows where it is configured".to_owned())
            }
            HostKeyError::Replaced { .. } | HostKeyError::Malformed { .. } => None,
            HostKeyError::Certificate { .. } => Some(
                "sign a new host certificate (ssh-keygen -s AUTHORITY -h -I ID -n NAME), or add an @cert-authority line for its authority to known_hosts"
                    .to_owned(),
            ),
        }
    }
}

impl ProxyError {
    fn hint(&self, program: Program) -> Option<String> {
        match self {
            ProxyError::Login(outcome) => outcome.hint(program),
            ProxyError::Late(_) => Some("a slow proxy may need a longer --connect-timeout".to_owned()),
            ProxyError::Forbidden(_) => {
                Some("see AllowTcpForwarding and PermitOpen of sshd_config(5) on the proxy".to_owned())
            }
            ProxyError::Full(_) => Some("fewer hosts at once (-p) may help".to_owned()),
            ProxyError::Ended(_) | ProxyError::Command(_) => None,
        }
    }
}

impl LoginError {
    /// Returns a one-line hint, if one is known.
    pub fn hint(&self) -> Option<String> {
        let is_secret = |method: &String| ["password", "keyboard-interactive"].contains(&method.as_str());
        let password = if self.offered.iter().any(is_secret) { "; -A asks for a password" } else { "" };
        let user = self.jump.as_ref().map_or_else(|| "-l".to_owned(), |jump| format!("-J USER@{jump}"));
        let takes_keys = self.offered.is_empty() || self.offered.iter().any(|method| method == "publickey");
        let is_rsa = |tried: &String| tried.starts_with("ssh-rsa");
        if let Some(advice) = &self.advice {
            return Some(advice.hint());
        }
        if self.is_explained {
            return None;
        }
        Some(if self.said.iter().any(|said| said.contains(TOO_MANY_FAILURES)) {
            "offer only the right key: --identity FILE -O IdentitiesOnly=yes".to_owned()
        } else if self.tried.iter().any(is_secret) && !self.told_secret {
            match self.offered.iter().any(|method| method == "password") {
                true => format!("-A asks for a password; is it the right user ({user})?"),
                false => "the server asked for nothing that pssh could answer; ssh -v shows what it asks".to_owned(),
            }
        } else if self.tried.iter().any(is_secret) {
            format!("is it the right password, and the right user ({user})?")
        } else if !self.accepted.is_empty() {
            match (password, takes_keys) {
                ("", true) => "the server also requires another key: name it with --identity FILE".to_owned(),
                ("", false) => "pssh supports none of the methods that the server also requires".to_owned(),
                _ => "the server requires more: -A asks for a password".to_owned(),
            }
        } else if !takes_keys {
            format!("the server accepts no public keys for this user{password}")
        } else if self.tried.is_empty() {
            format!("no key to offer: name one with --identity FILE, or load one with ssh-add{password}")
        } else if self.tried.iter().all(is_rsa) {
            format!(
                "is the key in that user's authorized_keys, and does the server accept RSA signatures with SHA-2? Name another with --identity FILE, the user with {user}{password}"
            )
        } else {
            format!(
                "is the key in that user's authorized_keys? Name another with --identity FILE, the user with {user}{password}"
            )
        })
    }
}

impl Program {
    /// Returns the meaning of an exit status of the program that it runs on the hosts, if known.
    fn meaning(self, status: u32) -> Option<String> {
        const SEE: &str = "-i shows all output of rsync, -e DIR saves it";
        let meaning = match (self, status) {
            (Program::Prsync, 0) => None,
            (Program::Prsync, _) => {
                let words = rsync_hint(status).or_else(|| rsync::meaning(status)).unwrap_or("rsync failed");
                return Some(format!("{words}; {SEE}"));
            }
            // pkill(1), EXIT STATUS.
            (Program::Pnuke, 1) => Some("no process matched"),
            (Program::Pnuke, 2) => Some("pkill does not understand the pattern"),
            (Program::Pnuke, 127) => Some("pkill is not installed on the host (package procps)"),
            _ => None,
        };
        meaning.map(str::to_owned)
    }
}

/// Returns a hint for an exit status of rsync, if one is known.
fn rsync_hint(status: u32) -> Option<&'static str> {
    Some(match status {
        2 => "does that user's .bashrc print something in non-interactive shells? That breaks rsync",
        12 => "a full disk on the host, or a killed rsync there, can cause this",
        23 => "some files were not transferred; rsync names them",
        126 | 127 => "install rsync on the host; if it is not on PATH: -X --rsync-path=/path/to/rsync",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_passwords_is_told_one_with_an_option() {
        let methods = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let refused = |offered: &[&str]| LoginError {
            tried: methods(&["ssh-ed25519 key", "keyboard-interactive"]),
            offered: methods(offered),
            ..LoginError::default()
        };
        let hint = |offered: &[&str]| refused(offered).hint().unwrap_or_default();
        assert!(hint(&["publickey", "password", "keyboard-interactive"]).starts_with("-A asks for a password"));
        assert!(hint(&["publickey", "keyboard-interactive"]).contains("nothing that pssh could answer"));
    }

    #[test]
    fn what_is_known_of_a_failure_is_in_its_sentence() {
        let sentence = |remedy: Remedy| HostError::Ssh { doing: "", detail: String::new(), hint: Some(remedy) };
        for (remedy, text) in [
            (
                Remedy::AllowAlgorithm { keyword: "Ciphers", name: "aes256-cbc" },
                "-O Ciphers=+aes256-cbc offers it to this server",
            ),
            (Remedy::LackingAlgorithm { reason: "no x", is_sha1: false }, "no x"),
            (
                Remedy::LackingAlgorithm { reason: "no x", is_sha1: true },
                "no x: \"Old servers\" in README says how to build pssh with SHA-1",
            ),
            (
                Remedy::LeftThere { names: "a, b".to_owned(), is_in_place: true },
                "left there, half-written: remove a, b (--resume continues the files that it leaves)",
            ),
        ] {
            assert_eq!(sentence(remedy).hint(Program::Pscp).as_deref(), Some(text));
        }
    }
}
