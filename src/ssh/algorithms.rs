//! The algorithms offered to a host in the key exchange: OpenSSH's lists in OpenSSH's order, limited to what this build
//! of libssh2 has and adjusted by ssh_config(5). Also the agreed algorithms, and why an agreement failed.
//!
//! As with ssh(1), CBC ciphers and algorithms with SHA-1 are only offered where the configuration names them. hmac-sha1, which
//! OpenSSH 9.2 still offers, is among them.

use std::sync::{Arc, LazyLock};

use ssh2::MethodType;

use super::host_keys::certificate;
use super::keys::algorithms::{ALL_ALGORITHMS, DEFAULT_ALGORITHMS};
use crate::events::event::Agreed;
use crate::events::remedy::Remedy;
use crate::ssh_config::{self, NoAlgorithm};
use crate::system::quotation::said_names;

/// Algorithm names, in order of preference.
pub type Names = Arc<[&'static str]>;

/// A kind of algorithm that the key exchange agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Key exchange methods.
    KeyExchange,
    /// Host key algorithms.
    HostKey,
    /// Ciphers.
    Cipher,
    /// Message authentication codes, for ciphers without their own.
    Mac,
}

impl Kind {
    /// All of them, in the order of the SSH_MSG_KEXINIT message (RFC 4253 section 7.1).
    pub const ALL: [Kind; 4] = [Kind::KeyExchange, Kind::HostKey, Kind::Cipher, Kind::Mac];

    /// The keyword of ssh_config(5).
    pub fn keyword(self) -> &'static str {
        match self {
            Kind::KeyExchange => "KexAlgorithms",
            Kind::HostKey => "HostKeyAlgorithms",
            Kind::Cipher => "Ciphers",
            Kind::Mac => "MACs",
        }
    }

    /// Returns the keyword as `ssh -G` spells it.
    pub fn explained(self) -> &'static str {
        match self {
            Kind::KeyExchange => "kexalgorithms",
            Kind::HostKey => "hostkeyalgorithms",
            Kind::Cipher => "ciphers",
            Kind::Mac => "macs",
        }
    }

    /// Returns ssh(1)'s term for one of them.
    fn noun(self) -> &'static str {
        match self {
            Kind::KeyExchange => "key exchange method",
            Kind::HostKey => "host key type",
            Kind::Cipher => "cipher",
            Kind::Mac => "MAC",
        }
    }

    /// Returns OpenSSH's defaults, in its order (myproposal.h).
    fn defaults(self) -> &'static [&'static str] {
        match self {
            // The first is OpenSSH 10's; 9.2 has no algorithm with ML-KEM.
            Kind::KeyExchange => &[
                "mlkem768x25519-sha256",
                "sntrup761x25519-sha512",
                "sntrup761x25519-sha512@openssh.com",
                "curve25519-sha256",
                "curve25519-sha256@libssh.org",
                "ecdh-sha2-nistp256",
                "ecdh-sha2-nistp384",
                "ecdh-sha2-nistp521",
                "diffie-hellman-group-exchange-sha256",
                "diffie-hellman-group16-sha512",
                "diffie-hellman-group18-sha512",
                "diffie-hellman-group14-sha256",
            ],
            Kind::HostKey => &DEFAULT_ALGORITHMS,
            // OpenSSH 10 has GCM before CTR, 9.2 after it. In libssh2, too, GCM costs less: a third less than CTR with a MAC. With
            // instructions for AES it also costs a third less per byte than ChaCha20, but up to a twentieth more per host, which counts
            // for more: most commands print little.
            Kind::Cipher => &[
                "chacha20-poly1305@openssh.com",
                "aes128-gcm@openssh.com",
                "aes256-gcm@openssh.com",
                "aes128-ctr",
                "aes192-ctr",
                "aes256-ctr",
            ],
            Kind::Mac => &[
                "umac-64-etm@openssh.com",
                "umac-128-etm@openssh.com",
                "hmac-sha2-256-etm@openssh.com",
                "hmac-sha2-512-etm@openssh.com",
                "umac-64@openssh.com",
                "umac-128@openssh.com",
                "hmac-sha2-256",
                "hmac-sha2-512",
            ],
        }
    }

    /// Returns those that this build has.
    pub fn supported(self) -> &'static [&'static str] {
        &SUPPORTED[self as usize]
    }

    /// Returns the defaults that this build has.
    fn offered(self) -> Names {
        Arc::clone(&OFFERED[self as usize])
    }
}

static SUPPORTED: LazyLock<[Vec<&'static str>; 4]> = LazyLock::new(|| {
    // Without memory for a session there is none to offer them in.
    let session = ssh2::Session::new().ok();
    let of = |method| session.as_ref().and_then(|session| session.supported_algs(method).ok()).unwrap_or_default();
    let host_keys = of(MethodType::HostKey);
    [
        of(MethodType::Kex),
        ALL_ALGORITHMS.into_iter().filter(|name| host_keys.contains(name)).collect(),
        of(MethodType::CryptCs),
        of(MethodType::MacCs),
    ]
});

static OFFERED: LazyLock<[Names; 4]> = LazyLock::new(|| {
    Kind::ALL.map(|kind| {
        let names = kind.defaults().iter().copied();
        names.filter(|name| kind.supported().contains(name)).collect()
    })
});

/// Selects the algorithms of one kind for a host with this list in its configuration, in order of preference.
///
/// # Errors
/// The list selects none.
pub fn offered<N>(kind: Kind, configured: Option<&ssh_config::Algorithms<N>>) -> Result<Names, NoAlgorithm> {
    let defaults = kind.offered();
    match configured {
        None => Ok(defaults),
        Some(list) => list.apply(&defaults, kind.supported()).map(Into::into),
    }
}

/// The algorithms offered to a host in the key exchange.
pub struct Algorithms {
    /// KexAlgorithms.
    pub key_exchanges: Names,
    /// HostKeyAlgorithms: the allowed ones.
    pub host_keys: Names,
    /// Whether HostKeyAlgorithms fixes their order, whatever is known of the host.
    pub orders_host_keys: bool,
    /// Ciphers.
    pub ciphers: Names,
    /// MACs.
    pub macs: Names,
    /// CASignatureAlgorithms, by name.
    pub authorities: Vec<&'static str>,
    /// Compression.
    pub compression: bool,
}

impl Algorithms {
    /// Selects those for a host with these settings.
    ///
    /// # Errors
    /// A list selects none; in words, with its place.
    pub fn of(set: &ssh_config::Settings) -> Result<Algorithms, String> {
        Ok(Algorithms {
            key_exchanges: chosen(Kind::KeyExchange, &set.kex_algorithms)?,
            host_keys: chosen(Kind::HostKey, &set.host_key_algorithms)?,
            // As in ssh, + and - leave the order to pssh; every other list fixes it.
            orders_host_keys: (set.host_key_algorithms.value.as_ref())
                .is_some_and(|list| !list.spec().starts_with(['+', '-'])),
            ciphers: chosen(Kind::Cipher, &set.ciphers)?,
            macs: chosen(Kind::Mac, &set.macs)?,
            authorities: certificate::algorithms(set.ca_signature_algorithms.value.as_ref()),
            compression: set.compression.value == ssh_config::Compression::Yes,
        })
    }

    /// Returns those of a kind.
    pub fn names(&self, kind: Kind) -> &[&'static str] {
        match kind {
            Kind::KeyExchange => &self.key_exchanges,
            Kind::HostKey => &self.host_keys,
            Kind::Cipher => &self.ciphers,
            Kind::Mac => &self.macs,
        }
    }
}

fn chosen<N>(kind: Kind, setting: &ssh_config::Setting<Option<ssh_config::Algorithms<N>>>) -> Result<Names, String> {
    let ssh_config::Setting { value: list, origin } = setting;
    offered(kind, list.as_ref()).map_err(|error| {
        let lacking = list.as_ref().map(|list| list.lacking(kind.supported())).unwrap_or_default();
        let reasons = reasons(&lacking).map(|reasons| format!(": {reasons}")).unwrap_or_default();
        let hint =
            if lacking.iter().any(|name| is_sha1(name)) { format!("\nhint: {OLD_SERVERS}") } else { String::new() };
        format!("{origin}: {}: {error}{reasons}{hint}", kind.keyword())
    })
}

/// Lists what a configuration requests and this build lacks: a line for each of its lists.
pub fn notes(set: &ssh_config::Settings) -> Vec<String> {
    fn note<N>(
        keyword: &str,
        setting: &ssh_config::Setting<Option<ssh_config::Algorithms<N>>>,
        supported: &[&str],
    ) -> Option<String> {
        let lacking = setting.value.as_ref()?.lacking(supported);
        Some(format!("{}: {keyword}: {}", setting.origin, reasons(&lacking)?))
    }
    let notes = [
        note(Kind::KeyExchange.keyword(), &set.kex_algorithms, Kind::KeyExchange.supported()),
        note(Kind::HostKey.keyword(), &set.host_key_algorithms, Kind::HostKey.supported()),
        note(Kind::Cipher.keyword(), &set.ciphers, Kind::Cipher.supported()),
        note(Kind::Mac.keyword(), &set.macs, Kind::Mac.supported()),
        note("PubkeyAcceptedAlgorithms", &set.pubkey_accepted_algorithms, &ALL_ALGORITHMS),
        note("CASignatureAlgorithms", &set.ca_signature_algorithms, &certificate::ALGORITHMS),
    ];
    notes.into_iter().flatten().collect()
}

/// Formats names with the reasons why this build lacks them; `None` without names.
fn reasons(names: &[&str]) -> Option<String> {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in names {
        let reason = reason(name);
        match by_reason.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, names)) => names.push(name),
            None => by_reason.push((reason, vec![name])),
        }
    }
    let parts: Vec<String> =
        by_reason.into_iter().map(|(reason, names)| format!("{reason} ({})", names.join(", "))).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The remedy for missing SHA-1.
pub const OLD_SERVERS: &str = "\"Old servers\" in docs/guide.md says how to build pssh with SHA-1";

/// Returns why this build lacks an algorithm that OpenSSH has.
fn reason(name: &str) -> &'static str {
    match name {
        _ if name.starts_with("diffie-hellman-") && is_sha1(name) => "this build has no SHA-1 key exchanges",
        _ if name.starts_with("hmac-") && is_sha1(name) => "this build has no SHA-1 MACs",
        _ if is_sha1(name) => "this build has no SHA-1 signatures",
        _ if name.starts_with("mlkem") => "it needs OpenSSL 3.5 or newer",
        _ if name.starts_with("sntrup761") => "this build has no sntrup761",
        _ if name.starts_with("umac-") => "this build has no UMAC",
        _ if name.starts_with("hmac-md5") => "this build has no MD5",
        _ if name.starts_with("ssh-dss") => "this build has no DSA",
        _ if name.starts_with("3des") => "this build has no 3DES",
        _ if name.starts_with("sk-") || name.starts_with("webauthn-") => {
            "pssh does not verify signatures of security keys"
        }
        _ => "this build lacks it",
    }
}

fn is_sha1(name: &str) -> bool {
    name.contains("-sha1") || name.starts_with("ssh-rsa")
}

/// Returns what `session` agreed on.
pub fn agreed(session: &ssh2::Session) -> Option<Agreed> {
    // libssh2's names are static, but not in the signature of `methods`.
    let method = |kind: Kind, method| -> Option<&'static str> {
        let name = session.methods(method)?;
        kind.supported().iter().find(|supported| **supported == name).copied()
    };
    let cipher = |ways: [MethodType; 2]| Some([method(Kind::Cipher, ways[0])?, method(Kind::Cipher, ways[1])?]);
    let ciphers = cipher([MethodType::CryptCs, MethodType::CryptSc])?;
    let mac = |cipher: &str, way| if is_aead(cipher) { Some(IMPLICIT) } else { method(Kind::Mac, way) };
    let compression = |way| match session.methods(way) {
        Some(DELAYED) => DELAYED,
        _ => UNCOMPRESSED,
    };
    Some(Agreed {
        key_exchange: method(Kind::KeyExchange, MethodType::Kex)?,
        host_key: method(Kind::HostKey, MethodType::HostKey)?,
        ciphers,
        macs: [mac(ciphers[0], MethodType::MacCs)?, mac(ciphers[1], MethodType::MacSc)?],
        compression: [compression(MethodType::CompCs), compression(MethodType::CompSc)],
    })
}

/// The compression that starts after the login; before it, libssh2 must not inflate data from an unauthenticated peer.
const DELAYED: &str = "zlib@openssh.com";
const UNCOMPRESSED: &str = "none";
/// The offer if the configuration enables compression.
pub const COMPRESSION: &str = "zlib@openssh.com,none";
/// ssh(1)'s name for the MAC of a cipher that authenticates.
const IMPLICIT: &str = "<implicit>";

/// Whether a cipher authenticates.
fn is_aead(cipher: &str) -> bool {
    cipher.starts_with("chacha20-poly1305@") || cipher.contains("-gcm@")
}

/// A failed agreement.
#[derive(Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Both offers, in words.
    pub detail: String,
    /// The remedy.
    pub hint: Remedy,
}

/// Most characters of a server's list in a message: real lists fit, and a hostile one is cut.
const LONGEST_LIST: usize = 300;

/// Finds out why a host that is offered `algorithms`, with `host_keys` instead of its own, has nothing in common with a
/// server that started with `opening`; `None` if it has, or if that is unknown.
pub fn disagreement(algorithms: &Algorithms, host_keys: &[&'static str], opening: &[u8]) -> Option<Disagreement> {
    let theirs = super::opening::proposal(opening)?;
    let ours = |kind| if kind == Kind::HostKey { host_keys } else { algorithms.names(kind) };
    let common = |kind: Kind, theirs: &[&str]| ours(kind).iter().find(|name| theirs.contains(name)).copied();
    // As in the message: to the server, and from it.
    let lists = [
        (Kind::KeyExchange, &theirs[0]),
        (Kind::HostKey, &theirs[1]),
        (Kind::Cipher, &theirs[2]),
        (Kind::Cipher, &theirs[3]),
        (Kind::Mac, &theirs[4]),
        (Kind::Mac, &theirs[5]),
    ];
    let implicit = [2, 3].map(|way| common(Kind::Cipher, &theirs[way]).is_some_and(is_aead));
    let needed = |place: usize| place < 4 || !implicit[place - 4];
    let (kind, theirs) = lists
        .into_iter()
        .enumerate()
        .find(|(place, (kind, theirs))| needed(*place) && common(*kind, theirs).is_none())
        .map(|(_, list)| list)?;
    let detail = format!(
        "no matching {} found: the server offers {}; pssh offers {}",
        kind.noun(),
        said_names(theirs, LONGEST_LIST),
        said_names(ours(kind), LONGEST_LIST)
    );
    let supported = |name: &&str| kind.supported().iter().find(|supported| *supported == name).copied();
    let hint = match (theirs.iter().find_map(supported), theirs.iter().find(|name| is_sha1(name))) {
        (Some(name), _) => Remedy::AllowAlgorithm { keyword: kind.keyword(), name },
        (None, Some(name)) => Remedy::LackingAlgorithm { reason: reason(name), is_sha1: true },
        (None, None) => theirs
            .first()
            .map_or(Remedy::NothingOffered, |name| Remedy::LackingAlgorithm { reason: reason(name), is_sha1: false }),
    };
    Some(Disagreement { detail, hint })
}

#[cfg(test)]
#[path = "algorithms/tests.rs"]
mod tests;
