//! Public host keys as SSH sends and stores them: the key blob of RFC 4253, section 6.6.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcPoint};
use openssl::nid::Nid;
use openssl::sha::sha256;

/// OpenSSH rejects shorter RSA keys, so that a line with one counts as malformed.
const RSA_MIN_BITS: usize = 1024;
/// The message for such a key.
pub const TOO_SHORT: &str = "RSA key of less than 1024 bits";

/// A name that OpenSSH reads as a key type, at the start of a key blob or in front of one in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    name: &'static str,
    /// The type of the public key in it: `ssh-rsa` for the signature algorithms and certificates of RSA keys.
    pub(crate) plain: &'static str,
    pub(crate) certificate: bool,
}

const ED25519: &str = "ssh-ed25519";
const ED25519_SK: &str = "sk-ssh-ed25519@openssh.com";
const P256: &str = "ecdsa-sha2-nistp256";
const P256_SK: &str = "sk-ecdsa-sha2-nistp256@openssh.com";
const P384: &str = "ecdsa-sha2-nistp384";
const P521: &str = "ecdsa-sha2-nistp521";
const RSA: &str = "ssh-rsa";
const DSA: &str = "ssh-dss";

const fn key(name: &'static str, plain: &'static str) -> Kind {
    Kind { name, plain, certificate: false }
}

const fn certificate(name: &'static str, plain: &'static str) -> Kind {
    Kind { name, plain, certificate: true }
}

static KINDS: [Kind; 21] = [
    key(ED25519, ED25519),
    key(P256, P256),
    key(RSA, RSA),
    key(P384, P384),
    key(P521, P521),
    key(ED25519_SK, ED25519_SK),
    key(P256_SK, P256_SK),
    key(DSA, DSA),
    key("rsa-sha2-256", RSA),
    key("rsa-sha2-512", RSA),
    key("webauthn-sk-ecdsa-sha2-nistp256@openssh.com", P256_SK),
    certificate("ssh-ed25519-cert-v01@openssh.com", ED25519),
    certificate("ecdsa-sha2-nistp256-cert-v01@openssh.com", P256),
    certificate("ecdsa-sha2-nistp384-cert-v01@openssh.com", P384),
    certificate("ecdsa-sha2-nistp521-cert-v01@openssh.com", P521),
    certificate("sk-ssh-ed25519-cert-v01@openssh.com", ED25519_SK),
    certificate("sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", P256_SK),
    certificate("ssh-rsa-cert-v01@openssh.com", RSA),
    certificate("rsa-sha2-256-cert-v01@openssh.com", RSA),
    certificate("rsa-sha2-512-cert-v01@openssh.com", RSA),
    certificate("ssh-dss-cert-v01@openssh.com", DSA),
];

impl Kind {
    pub(crate) fn named(name: &[u8]) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name.as_bytes() == name)
    }
}

/// A well-formed public key, or the public key of a certificate.
#[derive(Debug)]
pub struct Key {
    pub(crate) kind: &'static Kind,
    /// The plain key with its numbers in their shortest form: equal bytes exactly when OpenSSH calls two keys equal.
    pub blob: Vec<u8>,
}

impl Key {
    /// Parses a key blob as strictly as OpenSSH, which skips a line of known_hosts whose key it cannot read. Of a
    /// certificate only the key is read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(blob: &[u8]) -> Result<Key, &'static str> {
        Key::take(blob).map(|(key, _)| key)
    }

    /// The same, but returns also what follows the key in a certificate.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(blob: &[u8]) -> Result<(Key, &[u8]), &'static str> {
        let mut rest = blob;
        let kind = Kind::named(string(&mut rest)?).ok_or("unknown key type")?;
        if kind.certificate {
            string(&mut rest)?; // the nonce
        }
        let mut plain = Vec::new();
        put(&mut plain, kind.plain.as_bytes());
        match kind.plain {
            ED25519 | ED25519_SK => {
                let point = string(&mut rest)?;
                if point.len() != 32 {
                    return Err("not an Ed25519 key");
                }
                put(&mut plain, point);
            }
            P256 | P256_SK => curve_point(&mut rest, &mut plain, "nistp256", Nid::X9_62_PRIME256V1)?,
            P384 => curve_point(&mut rest, &mut plain, "nistp384", Nid::SECP384R1)?,
            P521 => curve_point(&mut rest, &mut plain, "nistp521", Nid::SECP521R1)?,
            RSA => {
                number(&mut rest, &mut plain)?;
                if number(&mut rest, &mut plain)? < RSA_MIN_BITS {
                    return Err(TOO_SHORT);
                }
            }
            _ => {
                for _ in 0..4 {
                    number(&mut rest, &mut plain)?;
                }
            }
        }
        if matches!(kind.plain, ED25519_SK | P256_SK) {
            put(&mut plain, string(&mut rest)?); // the application
        }
        if !rest.is_empty() && !kind.certificate {
            return Err("bytes after the key");
        }
        Ok((Key { kind, blob: plain }, rest))
    }

    /// Whether the key was that of a certificate.
    pub fn is_certified(&self) -> bool {
        self.kind.certificate
    }

    /// Returns the type of the plain key, such as `ssh-rsa`.
    pub fn plain_type(&self) -> &'static str {
        self.kind.plain
    }

    /// Parses the key of a line `keytype base64 [comment]`, as in a `.pub` file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_line(line: &[u8]) -> Result<Key, &'static str> {
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        let kind = Kind::named(words.next().unwrap_or_default()).ok_or("unknown key type")?;
        Key::from_text(kind, words.next().ok_or("no key")?.trim_ascii_end())
    }

    /// Parses the key of a known_hosts line: `kind` as named there, the blob in base64.
    pub(crate) fn from_text(kind: &'static Kind, base64: &[u8]) -> Result<Key, &'static str> {
        let key = Key::parse(&STANDARD.decode(base64).map_err(|_| "key is not base64")?)?;
        let same = key.kind.plain == kind.plain && key.kind.certificate == kind.certificate;
        if same { Ok(key) } else { Err("key type differs from the named one") }
    }

    /// Formats `keytype base64`, as in known_hosts.
    pub(crate) fn to_text(&self) -> String {
        format!("{} {}", self.kind.plain, STANDARD.encode(&self.blob))
    }
}

/// Returns the type of a key blob, such as `ssh-ed25519`: its first string.
pub fn key_type(blob: &[u8]) -> Option<&str> {
    let name = string(&mut &*blob).ok()?;
    std::str::from_utf8(name).ok()
}

/// Returns the fingerprint of a key blob as `ssh-keygen -l` prints it: `SHA256:` and the hash in base64 without
/// padding.
pub fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(blob)))
}

/// Takes an SSH string (four bytes of length, then that many bytes) off the front of `rest`.
fn string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let (length, body) = rest.split_first_chunk().ok_or("key is truncated")?;
    let (value, after) = body.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or("key is truncated")?;
    *rest = after;
    Ok(value)
}

fn put(blob: &mut Vec<u8>, value: &[u8]) {
    blob.extend((value.len() as u32).to_be_bytes());
    blob.extend(value);
}

/// Copies a number of an RSA or DSA key without superfluous zeros; returns its size in bits.
fn number(rest: &mut &[u8], blob: &mut Vec<u8>) -> Result<usize, &'static str> {
    let value = string(rest)?;
    if value.first().is_some_and(|first| first & 0x80 != 0) {
        return Err("negative number in the key");
    }
    let digits = &value[value.iter().take_while(|byte| **byte == 0).count()..];
    let Some(first) = digits.first() else {
        put(blob, &[]);
        return Ok(0);
    };
    // A leading zero byte keeps a number with its top bit set from being negative.
    put(blob, &value[value.len() - digits.len() - usize::from(first & 0x80 != 0)..]);
    Ok(digits.len() * 8 - first.leading_zeros() as usize)
}

/// Copies the curve's name and a point, which must be uncompressed and on the curve.
fn curve_point(rest: &mut &[u8], blob: &mut Vec<u8>, curve: &str, nid: Nid) -> Result<(), &'static str> {
    if string(rest)? != curve.as_bytes() {
        return Err("curve and key type differ");
    }
    let point = string(rest)?;
    let on_curve = || EcPoint::from_bytes(&*EcGroup::from_curve_name(nid)?, point, &mut *BigNumContext::new()?);
    if point.first() != Some(&4) || on_curve().is_err() {
        return Err("not a point on the curve");
    }
    put(blob, curve.as_bytes());
    put(blob, point);
    Ok(())
}
