//! The algorithms that are offered to a host in the key exchange: OpenSSH's lists in OpenSSH's order, cut to what this build of
//! libssh2 has, and what ssh_config(5) makes of them. Also what both sides agreed on, and why they could not.
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

/// Names of algorithms, the preferred ones first.
pub type Names = Arc<[&'static str]>;

/// What is agreed on in a key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How the keys are exchanged.
    KeyExchange,
    /// What the host signs with.
    HostKey,
    /// How packets are encrypted.
    Cipher,
    /// How packets are authenticated, where the cipher does not do it.
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

    /// The same as `ssh -G` spells it.
    pub fn explained(self) -> &'static str {
        match self {
            Kind::KeyExchange => "kexalgorithms",
            Kind::HostKey => "hostkeyalgorithms",
            Kind::Cipher => "ciphers",
            Kind::Mac => "macs",
        }
    }

    /// As ssh(1) calls one of them.
    fn noun(self) -> &'static str {
        match self {
            Kind::KeyExchange => "key exchange method",
            Kind::HostKey => "host key type",
            Kind::Cipher => "cipher",
            Kind::Mac => "MAC",
        }
    }

    /// OpenSSH's default ones, in its order (myproposal.h).
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
            // OpenSSH 10 has GCM before CTR, 9.2 after it. In libssh2, too, GCM costs less: a third less than CTR with a MAC.
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

    /// Those that this build has.
    pub fn supported(self) -> &'static [&'static str] {
        &SUPPORTED[self as usize]
    }

    /// The default ones that this build has.
    fn offered(self) -> Names {
        Arc::clone(&OFFERED[self as usize])
    }
}

static SUPPORTED: LazyLock<[Vec<&'static str>; 4]> = LazyLock::new(|| {
    // Without memory for a session there will be none to offer anything on.
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

/// The algorithms of one kind for a host with this list in its configuration, the preferred ones first.
///
/// # Errors
/// The list leaves none.
pub fn offered<N>(kind: Kind, configured: Option<&ssh_config::Algorithms<N>>) -> Result<Names, NoAlgorithm> {
    let defaults = kind.offered();
    match configured {
        None => Ok(defaults),
        Some(list) => list.apply(&defaults, kind.supported()).map(Into::into),
    }
}

/// What a host is offered in the key exchange.
pub struct Algorithms {
    /// KexAlgorithms.
    pub key_exchanges: Names,
    /// HostKeyAlgorithms: those that are allowed.
    pub host_keys: Names,
    /// Whether HostKeyAlgorithms gives their order, whatever is known of the host.
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
    /// Those of a host with these settings.
    ///
    /// # Errors
    /// A list leaves nothing to choose from; in words, with its place.
    pub fn of(set: &ssh_config::Settings) -> Result<Algorithms, String> {
        Ok(Algorithms {
            key_exchanges: chosen(Kind::KeyExchange, &set.kex_algorithms)?,
            host_keys: chosen(Kind::HostKey, &set.host_key_algorithms)?,
            // As for ssh, + and - leave the order to us, and all else is one.
            orders_host_keys: (set.host_key_algorithms.value.as_ref())
                .is_some_and(|list| !list.spec().starts_with(['+', '-'])),
            ciphers: chosen(Kind::Cipher, &set.ciphers)?,
            macs: chosen(Kind::Mac, &set.macs)?,
            authorities: certificate::algorithms(set.ca_signature_algorithms.value.as_ref()),
            compression: set.compression.value == ssh_config::Compression::Yes,
        })
    }

    /// Those of a kind.
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

/// What a configuration asks for and this build does not have: a line for each of its lists.
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

/// Names with the reasons why there is no such algorithm here, if there are any names.
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

/// What would help where SHA-1 is what is lacking.
pub const OLD_SERVERS: &str = "\"Old servers\" in README says how to build pssh with SHA-1";

/// Why this build lacks an algorithm that OpenSSH has.
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

/// What `session` has agreed on.
pub fn agreed(session: &ssh2::Session) -> Option<Agreed> {
    // libssh2's names of them are for ever, but not in the signature of `methods`.
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

/// The compression that begins after the login; before it, libssh2 must not inflate what anybody may have sent.
const DELAYED: &str = "zlib@openssh.com";
const UNCOMPRESSED: &str = "none";
/// What is offered where the configuration wants compression.
pub const COMPRESSION: &str = "zlib@openssh.com,none";
/// The MAC of a cipher that has its own, as ssh(1) calls it.
const IMPLICIT: &str = "<implicit>";

/// Whether a cipher authenticates what it encrypts.
fn is_aead(cipher: &str) -> bool {
    cipher.starts_with("chacha20-poly1305@") || cipher.contains("-gcm@")
}

/// Why there is nothing to agree on.
#[derive(Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// What both sides offer.
    pub detail: String,
    /// What would help.
    pub hint: Remedy,
}

/// Characters of a server's list in a message: what servers offer is not more, and a hostile one has to end somewhere.
const LONGEST_LIST: usize = 300;

/// Finds out why a host that is offered `algorithms`, with `host_keys` in place of its own, has nothing in common with a server that
/// has sent `opening` at the beginning: `None` if it has, or if that can't be known.
pub fn disagreement(algorithms: &Algorithms, host_keys: &[&'static str], opening: &[u8]) -> Option<Disagreement> {
    let theirs = super::opening::proposal(opening)?;
    let ours = |kind| if kind == Kind::HostKey { host_keys } else { algorithms.names(kind) };
    let common = |kind: Kind, theirs: &[&str]| ours(kind).iter().find(|name| theirs.contains(name)).copied();
    // As in the message; to the server and from it.
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
