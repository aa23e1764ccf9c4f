//! Whether a tool that met all hosts for the first time knows all of them now: their names may be hashed.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use crate::server::address;

/// Compares what was written with what the hosts are: `right` has a line for each host and others, with names that are not hashed.
pub(crate) fn check(right: &str, written: &str, port: u16, hosts: usize) -> Result<()> {
    let names: Vec<String> = (0..hosts).map(|host| format!("[{}]:{port}", address(host))).collect();
    let mut missing: HashSet<&str> = names.iter().map(String::as_str).collect();
    let keys: HashSet<&str> = right.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    for line in written.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[name, _, key, ..] = fields.as_slice() else {
            anyhow::bail!("a line of known_hosts that is none: {line}")
        };
        ensure!(keys.contains(key), "known_hosts has a key that no host has: {line}");
        let found = match name.strip_prefix("|1|").and_then(|rest| rest.split_once('|')) {
            Some((salt, hash)) => hashed(salt, hash, &missing)?,
            None => missing.get(name).copied(),
        };
        let found = found.with_context(|| format!("known_hosts has a host twice, or one that there is not: {line}"))?;
        missing.remove(found);
    }
    ensure!(missing.is_empty(), "{} of {hosts} hosts are not in known_hosts", missing.len());
    Ok(())
}

/// The name of which this is the hash.
fn hashed<'a>(salt: &str, hash: &str, names: &HashSet<&'a str>) -> Result<Option<&'a str>> {
    let (salt, hash) = (STANDARD.decode(salt)?, STANDARD.decode(hash)?);
    let key = PKey::hmac(&salt)?;
    for &name in names {
        let mut signer = Signer::new(MessageDigest::sha1(), &key)?;
        signer.update(name.as_bytes())?;
        if signer.sign_to_vec()? == hash {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Tries the check itself.
///
/// # Errors
/// It passes what it should not, or the other way round.
pub(crate) fn try_itself() -> Result<()> {
    let line = |host: usize| format!("[{}]:22 ssh-ed25519 AAAA\n", address(host));
    let right = line(0) + &line(1);
    let key = PKey::hmac(b"salt")?;
    let mut signer = Signer::new(MessageDigest::sha1(), &key)?;
    signer.update(format!("[{}]:22", address(1)).as_bytes())?;
    let hash = STANDARD.encode(signer.sign_to_vec()?);
    let hashed = format!("|1|{}|{hash} ssh-ed25519 AAAA\n", STANDARD.encode("salt"));
    let cases = [
        (right.clone(), true),
        (line(0) + &hashed, true),
        (hashed.clone(), false),
        (line(0) + &hashed + &hashed, false),
        (right.replacen("AAAA", "BBBB", 1), false),
        (line(0) + &line(1) + &line(2), false),
        (String::new(), false),
    ];
    for (written, is_right) in cases {
        let checked = check(&right, &written, 22, 2);
        ensure!(checked.is_ok() == is_right, "the check of known_hosts says {checked:?} of {written:?}");
    }
    Ok(())
}
