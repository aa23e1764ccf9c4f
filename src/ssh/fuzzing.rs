//! Entry points of [`crate::fuzzing`] to this module's private parts.

use std::path::Path;

use super::host_keys::certificate::Certificate;
use super::host_keys::known_hosts::Key;
use super::host_keys::revocation_list::RevokedKeys;
use super::keys::agent;
use super::keys::private_key::{self, Loaded};

/// Parses a private key, and uses it if it is one.
pub fn private_key(text: &[u8]) -> Result<(), String> {
    match private_key::parse(text, || None).map_err(|error| error.to_string())? {
        Loaded::Key(key) => key.sign("", b"data").map(drop),
        Loaded::Encrypted(_) | Loaded::Public(_) => Ok(()),
    }
}

/// Parses the certificate of a user.
pub fn user_certificate(text: &[u8]) -> Result<(), String> {
    private_key::certificate_of(text).map(drop)
}

/// Parses what a host presents: a key, or a certificate.
pub fn host_key(blob: &[u8]) -> Result<(), String> {
    let key = Key::parse(blob).map_err(str::to_owned)?;
    let again = Key::parse(&key.blob).expect("a key as it is kept is a key");
    assert_eq!(again.blob, key.blob, "a key is kept in one form");
    let certificate = Certificate::parse(blob).map_err(str::to_owned)?;
    let _ = (certificate.to_string(), certificate.check("host", &[]));
    Ok(())
}

/// Parses a file of revoked keys, and looks a key up in it.
pub fn revoked_keys(bytes: &[u8]) -> Result<(), String> {
    const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0 01234567890123456789012345678901";
    let revoked = RevokedKeys::parse(Path::new("file"), bytes).map_err(|error| error.to_string())?;
    let _ = revoked.revoking(&Key::parse(KEY).expect("a key"), None);
    Ok(())
}

/// Parses an agent's answers.
pub fn agent_answer(answer: &[u8]) {
    let _ = (agent::parse_identities(answer), agent::parse_signature(answer));
}
