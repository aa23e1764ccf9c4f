//! Algorithm lists: their known names, and how `+`, `-`, `^` and wildcards change the defaults.

use std::marker::PhantomData;

use super::line::{Words, Wrong};
use super::pattern::PatternList;
use super::values::Value;

/// A list as written: names, or names to be added to (`+`), removed from (`-`) or put before (`^`) the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms<N> {
    spec: String,
    names: PhantomData<N>,
}

/// Why a list selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("none of {0:?} can be used")]
pub struct NoAlgorithm(String);

impl<N> Algorithms<N> {
    /// The list as written.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// Returns the algorithms to offer, in order, given the defaults and all supported ones (`kex_assemble_names` in
    /// kex.c).
    ///
    /// # Errors
    /// Nothing is left.
    pub fn apply<'a>(&self, defaults: &[&'a str], all: &[&'a str]) -> Result<Vec<&'a str>, NoAlgorithm> {
        let known = |name: &&&str| all.contains(name);
        let mut chosen = Vec::new();
        match self.spec.as_bytes().first() {
            Some(b'+') => {
                chosen.extend(defaults.iter().filter(known));
                self.add(&self.spec[1..], all, &mut chosen)?;
            }
            Some(b'-') => {
                let removed = PatternList::new(&self.spec[1..], false);
                chosen.extend(defaults.iter().filter(known).filter(|name| !removed.matches(name)));
            }
            Some(b'^') => {
                self.add(&self.spec[1..], all, &mut chosen)?;
                chosen.extend(defaults.iter().filter(known));
            }
            _ => self.add(&self.spec, all, &mut chosen)?,
        }
        let mut offered = Vec::with_capacity(chosen.len());
        for name in chosen {
            if !offered.contains(&name) {
                offered.push(name);
            }
        }
        if offered.is_empty() { Err(NoAlgorithm(self.spec.clone())) } else { Ok(offered) }
    }

    /// Returns the requested names or patterns that match nothing in `all`.
    pub fn lacking(&self, all: &[&str]) -> Vec<&str> {
        let asked = match self.spec.as_bytes().first() {
            Some(b'-') => return Vec::new(),
            Some(b'+' | b'^') => &self.spec[1..],
            _ => &self.spec,
        };
        let is_missing = |asked: &&str| {
            let pattern = PatternList::new(asked, false);
            !asked.is_empty() && !all.iter().any(|name| pattern.matches(name))
        };
        asked.split(',').filter(is_missing).collect()
    }

    fn add<'a>(&self, patterns: &str, all: &[&'a str], chosen: &mut Vec<&'a str>) -> Result<(), NoAlgorithm> {
        for pattern in patterns.split(',') {
            if pattern.starts_with('!') {
                return Err(NoAlgorithm(self.spec.clone()));
            }
            let pattern = PatternList::new(pattern, false);
            chosen.extend(all.iter().filter(|name| pattern.matches(name)));
        }
        Ok(())
    }
}

/// A kind of algorithm list.
pub(super) trait Names {
    /// The term for one of them in messages.
    const WHAT: &'static str;
    const KNOWN: &'static [&'static str];
    /// Whether the configuration may contain patterns.
    const WILDCARDS: bool;
}

impl<N: Names> Value for Algorithms<N> {
    fn read(words: &mut Words<'_>) -> Result<Option<Algorithms<N>>, Wrong> {
        let spec = words.required()?;
        let names = match spec.as_bytes().first() {
            // ssh checks nothing here.
            Some(b'-') => return Ok(Some(Algorithms { spec, names: PhantomData })),
            _ if words.shown => return Ok(Some(Algorithms { spec, names: PhantomData })),
            Some(b'+' | b'^') => &spec[1..],
            _ => &spec,
        };
        if names.is_empty() {
            return Err(words.wrong(format!("{spec:?} names no {}", N::WHAT)));
        }
        // ssh stops at an empty name.
        for name in names.split(',').take_while(|name| !name.is_empty()) {
            let pattern = PatternList::new(name.strip_prefix('!').unwrap_or(name), false);
            if !N::KNOWN.iter().any(|known| *known == name || N::WILDCARDS && pattern.matches(known)) {
                return Err(words.unexpected(name, &format!("a known {}", N::WHAT)));
            }
        }
        Ok(Some(Algorithms { spec, names: PhantomData }))
    }

    fn show(&self) -> Option<String> {
        Some(self.spec.clone())
    }
}

/// All names up to OpenSSH 10.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $what:literal, $wildcards:literal, [$($known:literal),* $(,)?]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {}

        impl Names for $name {
            const WHAT: &'static str = $what;
            const KNOWN: &'static [&'static str] = &[$($known),*];
            const WILDCARDS: bool = $wildcards;
        }
    };
}

names! {
    /// Ciphers.
    Ciphers, "cipher", false, [
        "3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc", "aes128-ctr", "aes192-ctr", "aes256-ctr",
        "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com",
    ]
}

names! {
    /// Message authentication codes.
    Macs, "MAC", false, [
        "hmac-sha1", "hmac-sha1-96", "hmac-sha2-256", "hmac-sha2-512", "hmac-md5", "hmac-md5-96",
        "umac-64@openssh.com", "umac-128@openssh.com", "hmac-sha1-etm@openssh.com", "hmac-sha1-96-etm@openssh.com",
        "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-md5-etm@openssh.com",
        "hmac-md5-96-etm@openssh.com", "umac-64-etm@openssh.com", "umac-128-etm@openssh.com",
    ]
}

names! {
    /// Key exchanges.
    KeyExchanges, "key exchange", false, [
        "diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1", "diffie-hellman-group14-sha256",
        "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512", "diffie-hellman-group-exchange-sha1",
        "diffie-hellman-group-exchange-sha256", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521",
        "curve25519-sha256", "curve25519-sha256@libssh.org", "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com", "mlkem768x25519-sha256",
    ]
}

names! {
    /// Types of keys and of their signatures.
    KeyTypes, "type of key", true, [
        "ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com",
        "sk-ssh-ed25519-cert-v01@openssh.com", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384-cert-v01@openssh.com", "ecdsa-sha2-nistp521",
        "ecdsa-sha2-nistp521-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "webauthn-sk-ecdsa-sha2-nistp256@openssh.com", "ssh-dss",
        "ssh-dss-cert-v01@openssh.com", "ssh-rsa", "ssh-rsa-cert-v01@openssh.com", "rsa-sha2-256",
        "rsa-sha2-256-cert-v01@openssh.com", "rsa-sha2-512", "rsa-sha2-512-cert-v01@openssh.com",
    ]
}
