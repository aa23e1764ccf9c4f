//! PubkeyAcceptedAlgorithms of ssh_config(5): which keys and certificates a host is offered, and their signature
//! algorithms.

use crate::ssh::host_keys::known_hosts::key_type;
use crate::ssh_config;

/// OpenSSH's defaults, in its order (KEX_DEFAULT_PK_ALG in myproposal.h).
pub const DEFAULT_ALGORITHMS: [&str; 16] = [
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
];
/// All that can be asked for, in the order in which a pattern stands for them (the table of types in sshkey.c). With SHA-1
/// (`ssh-rsa`) only an agent can sign.
pub const ALL_ALGORITHMS: [&str; 18] = [
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ssh-rsa",
    "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-512-cert-v01@openssh.com",
];
/// The suffix of a certificate type after its key's type (PROTOCOL.certkeys of OpenSSH).
pub const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// The allowed algorithms, in order of preference.
#[derive(Debug)]
pub struct PubkeyAlgorithms(Vec<&'static str>);

impl PubkeyAlgorithms {
    /// Returns those of a configuration.
    ///
    /// # Errors
    /// It allows none.
    pub fn of(
        configured: Option<&ssh_config::Algorithms<ssh_config::KeyTypes>>,
    ) -> Result<PubkeyAlgorithms, ssh_config::NoAlgorithm> {
        let chosen = configured
            .map_or_else(|| Ok(DEFAULT_ALGORITHMS.to_vec()), |list| list.apply(&DEFAULT_ALGORITHMS, &ALL_ALGORITHMS));
        chosen.map(PubkeyAlgorithms)
    }

    /// Whether signing with `algorithm` is allowed.
    pub fn allow(&self, algorithm: &str) -> bool {
        self.0.contains(&algorithm)
    }

    /// Whether a key or a certificate may be offered (`key_type_allowed_by_config` in sshconnect2.c).
    pub fn take(&self, blob: &[u8]) -> bool {
        let Some(kind) = key_type(blob) else { return false };
        self.allow(kind) || rsa_suffix(kind).is_some_and(|suffix| !self.rsa(suffix).is_empty())
    }

    /// Whether a plain key or any certificate of it may be offered.
    pub fn take_any(&self, blob: &[u8]) -> bool {
        let plain = |kind: &str| kind.strip_suffix("@openssh.com").unwrap_or(kind).to_owned();
        let certificate = key_type(blob).map(|kind| plain(kind) + CERTIFICATE);
        let is_rsa = key_type(blob) == Some("ssh-rsa");
        self.take(blob)
            || certificate.is_some_and(|kind| self.allow(&kind))
            || is_rsa && !self.rsa(CERTIFICATE).is_empty()
    }

    /// Returns the algorithms that RSA keys and certificates may sign with, as libssh2 expects them: the names of the
    /// plain algorithms with commas. `None` for other keys.
    pub fn preference(&self, blob: &[u8]) -> Option<String> {
        let suffix = rsa_suffix(key_type(blob)?)?;
        let names = self.rsa(suffix);
        (!names.is_empty()).then(|| names.join(","))
    }

    fn rsa(&self, suffix: &str) -> Vec<&'static str> {
        let plain = |name: &&'static str| name.strip_suffix(suffix).filter(|name| is_sha2(name));
        self.0.iter().filter_map(plain).collect()
    }
}

fn is_sha2(name: &str) -> bool {
    matches!(name, "rsa-sha2-512" | "rsa-sha2-256")
}

/// The suffixes of RSA key types.
fn rsa_suffix(kind: &str) -> Option<&'static str> {
    match kind {
        "ssh-rsa" => Some(""),
        "ssh-rsa-cert-v01@openssh.com" => Some(CERTIFICATE),
        _ => None,
    }
}
