//! What may help against a failure, in the words of a program that uses the library: settings instead of options.

use crate::events::event::{Class, Outcome, Phase};
use crate::events::host_error::{HostError, HostKeyError, LoginError, ProxyError};
use crate::events::remedy::Remedy;

/// Returns a sentence about `outcome`, if more is known than it says.
pub(super) fn of_outcome(outcome: &Outcome) -> Option<String> {
    let text = match outcome {
        Outcome::Failed(error) => return of_error(error),
        Outcome::Judged { is_success: false, outcome } => return of_outcome(outcome),
        Outcome::Unstopped(outcome) if outcome.class() == Class::Check => "the check may still be running there",
        Outcome::Unstopped(_) => "it was asked to stop, but it may still be running there",
        Outcome::TimedOut { phase, .. } => match phase {
            Phase::Connect | Phase::KnownHostsCommand => {
                "is the host up, and does a firewall block the port? Settings::connect_timeout is the limit"
            }
            Phase::Open => {
                "the login succeeded, but the host is slow or overloaded; Settings::connect_timeout is the limit"
            }
            Phase::Auth | Phase::Secret => "a slow host or link may need a longer Settings::connect_timeout",
            Phase::Command => "the command was asked to stop; Command::timeout is the limit",
            Phase::Silence => "it was asked to stop; Settings::silence_timeout is the limit",
            Phase::Transfer => "no incomplete file is in place; Transfer::timeout is the limit",
        },
        _ => return None,
    };
    Some(text.to_owned())
}

fn of_error(error: &HostError) -> Option<String> {
    let text = match error {
        HostError::Dns { .. } => "check the spelling, or whether the resolver knows the name",
        HostError::Connect { .. } => "is sshd running there, on that port, and not behind a firewall?",
        HostError::Behind { .. } => "the jump host resolves the name and connects: can it reach the host?",
        HostError::Proxy { cause, .. } => return of_proxy(cause),
        HostError::HostKey(error) => return of_key(error),
        HostError::Auth(error) => return of_login(error),
        HostError::Dropped { banner_seen: false, .. } => {
            "is it an SSH server? A busy one (MaxStartups) does this too: a smaller Settings::pool_size may help"
        }
        HostError::Lost { hint: None, .. } => "it may still be running there, or may have ended",
        HostError::Sudo { hint, .. }
        | HostError::Ssh { hint, .. }
        | HostError::Copy { hint, .. }
        | HostError::Local { hint, .. }
        | HostError::Lost { hint, .. } => return hint.as_ref().map(of_remedy),
        HostError::Dropped { banner_seen: true, .. } => return None,
    };
    Some(text.to_owned())
}

fn of_proxy(error: &ProxyError) -> Option<String> {
    let text = match error {
        ProxyError::Login(outcome) => return of_outcome(outcome),
        ProxyError::Late(_) => "a slow proxy may need a longer Settings::connect_timeout",
        ProxyError::Forbidden(_) => "see AllowTcpForwarding and PermitOpen of sshd_config(5) on the proxy",
        ProxyError::Full(_) => "a smaller Settings::pool_size may help",
        ProxyError::Ended(_) | ProxyError::Command(_) => return None,
    };
    Some(text.to_owned())
}

fn of_key(error: &HostKeyError) -> Option<String> {
    let text = match error {
        HostKeyError::Unknown { .. } => {
            "compare the fingerprint and add the key to a known_hosts file, or set Settings::host_key_check to AcceptNew"
        }
        HostKeyError::Changed { .. } => "if the host was really re-installed, replace its key in the known_hosts file",
        HostKeyError::Certificate { .. } => {
            "sign a new host certificate, or add an @cert-authority line for its authority to known_hosts"
        }
        // A revoked key must not be easy to accept.
        HostKeyError::Revoked { .. }
        | HostKeyError::Listed { .. }
        | HostKeyError::Command { .. }
        | HostKeyError::Replaced { .. }
        | HostKeyError::Malformed { .. } => return None,
    };
    Some(text.to_owned())
}

fn of_login(error: &LoginError) -> Option<String> {
    if let Some(advice) = &error.advice {
        return Some(of_remedy(advice));
    }
    let text = match error.tried.is_empty() {
        _ if error.is_explained => return None,
        true => "there is no key to offer: set Settings::identities, Settings::agent or Settings::password",
        false => "is the key or password that of this user (Settings::user)?",
    };
    Some(text.to_owned())
}

fn of_remedy(remedy: &Remedy) -> String {
    let text = match remedy {
        Remedy::SudoPasswordNeeded => "sudo asks for a password: set Settings::sudo_password",
        Remedy::SudoPasswordRefused => {
            "is Settings::sudo_password right? sudo may also ask for another password or a code"
        }
        Remedy::SudoNotBegun { .. } => {
            "may that user run sh with sudo there, and does sudo require a terminal (requiretty)?"
        }
        Remedy::NewerServer => "version 1 is broken and not supported; the host needs a newer SSH server",
        Remedy::IsItSsh => "is it an SSH server?",
        Remedy::LongerHostKey => "RequiredRSASize in ssh_config sets the minimum; give the host a longer key",
        Remedy::AllowAlgorithm { keyword, name } => {
            return format!("{keyword}=+{name} in Settings::ssh_options offers it to this server");
        }
        Remedy::LackingAlgorithm { reason, .. } => reason,
        Remedy::NothingOffered => "the server offers nothing",
        Remedy::SilentShell => "output of a login shell breaks SFTP: print nothing in non-interactive shells",
        Remedy::IsSftpThere => "is SFTP available there? Check Subsystem in sshd_config(5)",
        Remedy::InstallSftp => "install an SFTP server on the host, or copy without that option",
        Remedy::InstallSftpOrScp => "install an SFTP server on the host, or scp",
        Remedy::IsThereAShell => "does the account have a shell, not a forced command?",
        Remedy::InPlaceForNoNewFile | Remedy::InPlaceForNoRename => {
            "may that user create and rename files in the directory?"
        }
        Remedy::InPlaceForRoom => "the old file stays until the new one is complete; both need space",
        Remedy::ResumeAfterRoom => "Transfer::resume continues the kept file once there is space",
        Remedy::NoReasonGiven => {
            "the server says only this for a full disk, a quota, a read-only file system, and more"
        }
        Remedy::CopyDirectories | Remedy::CopyWholeDirectory => "Transfer::recursive copies directories",
        Remedy::KeptHere(names) => {
            return format!("partial files are kept here, and the same copy continues them: {names}");
        }
        Remedy::KeptThere(names) => {
            return format!("partial files are kept there, and the same copy continues them: {names}");
        }
        Remedy::LeftThere { names, .. } => return format!("unfinished files are left there: remove {names}"),
        Remedy::MoreOpenFiles => "use a smaller Settings::pool_size, or raise the limit of open files (ulimit -n)",
        Remedy::MoreThreads => "use a smaller Settings::pool_size, or raise the limit of threads (ulimit -u)",
        Remedy::InputIncomplete => "the command was asked to stop because it did not get all of its input",
        Remedy::MakeRoom { directory, .. } => return format!("free some space in {}", directory.display()),
        Remedy::OutputIncomplete { .. } => "its output is incomplete",
        Remedy::FindOutEnd => "find out on the host how it ended",
        Remedy::CopyAgain { leaves_files: true } => {
            "the copy can be repeated; an unfinished file of the first one may be left: .NAME.pssh-*"
        }
        Remedy::CopyAgain { leaves_files: false } => "the copy can be repeated",
        Remedy::Report => "please report this fault",
        Remedy::PasswordNeeded => "the server asks for a password: set Settings::password",
        Remedy::AnswerNeeded => "the server asks a question that only the user can answer (Settings::may_ask)",
        Remedy::ChangePassword => "log in once with ssh and change the password",
        Remedy::AllowKeys => {
            "public keys are turned off by PubkeyAuthentication or PreferredAuthentications in ssh_config"
        }
        Remedy::AllowKeyAlgorithms => "PubkeyAcceptedAlgorithms in ssh_config allows none of the keys",
        Remedy::PassphraseNeeded => "use an agent that holds the key, or set Settings::password to its passphrase",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hint_names_an_option() {
        let remedies = [
            Remedy::SudoPasswordNeeded,
            Remedy::AllowAlgorithm { keyword: "Ciphers", name: "aes256-cbc" },
            Remedy::InPlaceForRoom,
            Remedy::ResumeAfterRoom,
            Remedy::CopyDirectories,
            Remedy::PasswordNeeded,
            Remedy::PassphraseNeeded,
            Remedy::MoreOpenFiles,
        ];
        for text in remedies.iter().map(of_remedy) {
            assert!(!text.contains(" -") || text.contains("ulimit"), "{text}");
        }
        let late = Outcome::TimedOut { phase: Phase::Connect, limit: std::time::Duration::ZERO, missing: "" };
        assert!(of_outcome(&late).is_some_and(|hint| hint.contains("Settings::connect_timeout")));
        assert_eq!(of_outcome(&Outcome::Exited(1)), None);
    }
}
