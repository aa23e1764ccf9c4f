//! Host certificates (PROTOCOL.certkeys of OpenSSH): parsing, and validity for a host.
//!
//! What is read, checked and refused is that of `cert_parse` and `sshkey_cert_check_host` in sshkey.c of OpenSSH 9.2: names
//! of hosts are compared exactly, and a certificate without any name is one for all hosts. (OpenSSH 10.3 takes `*` and `?`
//! in the names of host certificates for wildcards, and refuses those without names.) Signatures with SHA-1 are never
//! accepted, not even where CASignatureAlgorithms has `ssh-rsa`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::sign::Verifier;

use super::known_hosts::{Key, fingerprint};
use crate::ssh::wire::WireReader;
use crate::ssh_config;
use crate::system::quotation::{said_bytes, said_names};

/// The types of certificates.
const USER: u32 = 1;
const HOST: u32 = 2;
/// OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS.
const MOST_PRINCIPALS: usize = 256;

/// A well-formed certificate with a valid signature of some authority.
#[derive(Debug)]
pub struct Certificate {
    /// The certified key.
    pub key: Key,
    /// The authority's key.
    pub authority: Key,
    /// The algorithm of the signature.
    signed_with: String,
    /// The serial number of the certificate; 0 if the authority does not number them.
    pub serial: u64,
    /// The ID that the authority gave it.
    pub id: Vec<u8>,
    kind: u32,
    principals: Vec<Vec<u8>>,
    /// Seconds since 1970, as is the next.
    valid_after: u64,
    /// The first second at which it has expired.
    valid_before: u64,
    /// The names of its critical options.
    critical: Vec<Vec<u8>>,
}

/// Why a certificate is not valid for a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is a user certificate.
    #[error("it is not a host certificate")]
    Kind,
    /// Its validity has not started.
    #[error("it is not valid before {0}")]
    Early(Date),
    /// It has expired.
    #[error("it expired on {0}")]
    Expired(Date),
    /// It is valid for other hosts.
    #[error("it is not valid for this name, only for {0}")]
    Name(String),
    /// It has an unknown restriction.
    #[error("it has unknown critical options: {0}")]
    Critical(String),
    /// CASignatureAlgorithms lacks the algorithm of its signature.
    #[error("it is signed with {0}, which CASignatureAlgorithms does not allow")]
    Algorithm(String),
    /// pssh does not support the algorithm of its signature.
    #[error("it is signed with {0}, which is not supported")]
    Unsupported(String),
}

/// A time of a certificate, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(u64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).map(Asn1Time::from_unix) {
            Ok(Ok(time)) => write!(f, "{}", &*time),
            // Beyond the calendar.
            _ => write!(f, "{} s after 1970", self.0),
        }
    }
}

/// The result of checking a signature.
enum Signed {
    Rightly,
    Wrongly,
    /// The algorithm is not supported.
    Unsupported,
}

impl Certificate {
    /// Parses a certificate and verifies its signature.
    ///
    /// # Errors
    /// What is wrong with it. OpenSSH then ends the connection, whatever known_hosts says about the key in it.
    pub fn parse(blob: &[u8]) -> Result<Certificate, &'static str> {
        const SHORT: &str = "it is truncated";
        let (key, rest) = Key::take(blob)?;
        if !key.is_certified() {
            return Err("it is a plain key");
        }
        let mut reader = WireReader(rest);
        let serial = reader.u64().ok_or(SHORT)?;
        let kind = reader.u32().ok_or(SHORT)?;
        let id = text(reader.string())?.to_vec();
        let principals = reader.string().ok_or(SHORT)?;
        let (valid_after, valid_before) = (reader.u64().ok_or(SHORT)?, reader.u64().ok_or(SHORT)?);
        let (critical, extensions) = (reader.string().ok_or(SHORT)?, reader.string().ok_or(SHORT)?);
        let _reserved = reader.string().ok_or(SHORT)?;
        let authority = reader.string().ok_or(SHORT)?;
        let signed = &blob[..blob.len() - reader.0.len()];
        let signature = reader.string().ok_or(SHORT)?;
        if !reader.0.is_empty() {
            return Err("extra bytes follow it");
        }
        if !matches!(kind, USER | HOST) {
            return Err("its type is neither user nor host");
        }
        let mut names = Vec::new();
        let mut reader = WireReader(principals);
        while !reader.0.is_empty() {
            if names.len() == MOST_PRINCIPALS {
                return Err("it has more than 256 principals");
            }
            names.push(text(reader.string())?.to_vec());
        }
        let critical = options(critical)?;
        options(extensions)?;
        let authority = Key::parse(authority).map_err(|_| "its CA key is malformed")?;
        if authority.is_certified() {
            return Err("its CA key is a certificate");
        }
        let algorithm = text(WireReader(signature).string())?;
        let signed_with = String::from_utf8_lossy(algorithm).into_owned();
        match verify(&authority, signature, signed) {
            Some(Signed::Rightly | Signed::Unsupported) => {}
            Some(Signed::Wrongly) | None => return Err("its signature is wrong"),
        }
        let principals = names;
        Ok(Certificate {
            key,
            authority,
            signed_with,
            serial,
            id,
            kind,
            principals,
            valid_after,
            valid_before,
            critical,
        })
    }

    /// Checks that it is valid now for the host known as `name` (in lower case, without a port), given the signature
    /// algorithms that authorities may use. Whether its authority is one for the host is not checked here.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, name: &str, algorithms: &[&str]) -> Result<(), Invalid> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.check_at(now, name, algorithms)
    }

    fn check_at(&self, now: u64, name: &str, algorithms: &[&str]) -> Result<(), Invalid> {
        if self.kind != HOST {
            Err(Invalid::Kind)
        } else if now < self.valid_after {
            Err(Invalid::Early(Date(self.valid_after)))
        } else if now >= self.valid_before {
            Err(Invalid::Expired(Date(self.valid_before)))
        } else if !self.principals.is_empty() && !self.principals.iter().any(|it| it == name.as_bytes()) {
            Err(Invalid::Name(words(&self.principals)))
        } else if !self.critical.is_empty() {
            Err(Invalid::Critical(words(&self.critical)))
        } else if !ALGORITHMS.contains(&self.signed_with.as_str()) {
            Err(Invalid::Unsupported(self.signed_with.clone()))
        } else if !algorithms.contains(&self.signed_with.as_str()) {
            Err(Invalid::Algorithm(self.signed_with.clone()))
        } else {
            Ok(())
        }
    }

    /// Formats the authority for a message: type and fingerprint.
    pub fn authority_name(&self) -> String {
        format!("{} {}", self.authority.plain_type(), fingerprint(&self.authority.blob))
    }
}

/// Formats type and fingerprint of the key, the ID, the serial number, and the authority.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, print) = (self.key.plain_type(), fingerprint(&self.key.blob));
        let id = said_bytes(&self.id);
        write!(f, "certificate of {kind} {print} (ID {id}, serial {}, by {})", self.serial, self.authority_name())
    }
}

/// Returns the signature algorithms that authorities may use: OpenSSH's, as changed by CASignatureAlgorithms. With an
/// empty list, no certificate is valid.
pub fn algorithms(configured: Option<&ssh_config::Algorithms<ssh_config::KeyTypes>>) -> Vec<&'static str> {
    // The supported ones are OpenSSH's defaults (SSH_ALLOWED_CA_SIGALGS in myproposal.h).
    configured.map_or_else(|| ALGORITHMS.to_vec(), |list| list.apply(&ALGORITHMS, &ALGORITHMS).unwrap_or_default())
}

/// Reads a string without a NUL in it.
fn text(string: Option<&[u8]>) -> Result<&[u8], &'static str> {
    match string {
        None => Err("it is truncated"),
        Some(string) if string.contains(&0) => Err("one of its strings contains NUL"),
        Some(string) => Ok(string),
    }
}

/// Reads the names of options, each of which has a value.
fn options(section: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut reader = WireReader(section);
    let mut names = Vec::new();
    while !reader.0.is_empty() {
        let (name, value) = (reader.string(), reader.string());
        names.push(name.filter(|_| value.is_some()).ok_or("its options are truncated")?.to_vec());
    }
    Ok(names)
}

/// Most characters of a list of names in a message.
const LONGEST_LIST: usize = 200;

/// Most names in a message.
fn words(names: &[Vec<u8>]) -> String {
    let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
    said_names(&names, LONGEST_LIST)
}

/// The supported signature algorithms.
pub const ALGORITHMS: [&str; 8] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// Checks a signature (RFC 4253 section 6.6) by `key` over `data`. `None` if it is malformed.
fn verify(key: &Key, signature: &[u8], data: &[u8]) -> Option<Signed> {
    let mut reader = WireReader(signature);
    let algorithm = std::str::from_utf8(reader.string()?).ok()?;
    let value = reader.string()?;
    let mut public = WireReader(&key.blob);
    let kind = std::str::from_utf8(public.string()?).ok()?;
    match (kind, algorithm) {
        ("ssh-rsa", "rsa-sha2-256" | "rsa-sha2-512") => {}
        // SHA-1, and what OpenSSH does not allow authorities by default.
        ("ssh-rsa", "ssh-rsa") | ("ssh-dss", "ssh-dss") => return Some(Signed::Unsupported),
        (_, "webauthn-sk-ecdsa-sha2-nistp256@openssh.com") if kind.starts_with("sk-ecdsa-") => {
            return Some(Signed::Unsupported);
        }
        _ if kind == algorithm => {}
        _ => return None,
    }
    // Signatures by devices (PROTOCOL.u2f): over hashes, with flags and a counter, which follow the signature.
    let of_device;
    let (kind, data) = match kind.strip_prefix("sk-") {
        None => (kind, data),
        Some(kind) => {
            let application = application(&key.blob)?;
            let state = reader.0.first_chunk::<5>()?;
            reader.0 = &reader.0[state.len()..];
            of_device = [&sha256(application)[..], state, &sha256(data)].concat();
            (kind.strip_suffix("@openssh.com")?, &of_device[..])
        }
    };
    if !reader.0.is_empty() {
        return None;
    }
    let verified = match kind {
        "ssh-ed25519" => ed25519(public.string()?, value, data),
        "ssh-rsa" => rsa(&mut public, algorithm, value, data)?,
        _ => ecdsa(&mut public, value, data)?,
    };
    Some(if verified.unwrap_or(false) { Signed::Rightly } else { Signed::Wrongly })
}

/// Returns the application of a security key, the last string of its blob.
fn application(blob: &[u8]) -> Option<&[u8]> {
    let mut reader = WireReader(blob);
    let mut last = None;
    while !reader.0.is_empty() {
        last = Some(reader.string()?);
    }
    last
}

fn ed25519(point: &[u8], signature: &[u8], data: &[u8]) -> Result<bool, ErrorStack> {
    let key = PKey::public_key_from_raw_bytes(point, Id::ED25519)?;
    Verifier::new_without_digest(&key)?.verify_oneshot(signature, data)
}

/// RFC 8332 section 3.
fn rsa(
    public: &mut WireReader<'_>,
    algorithm: &str,
    signature: &[u8],
    data: &[u8],
) -> Option<Result<bool, ErrorStack>> {
    let (exponent, modulus) = (public.string()?, public.string()?);
    let digest = if algorithm == "rsa-sha2-512" { MessageDigest::sha512() } else { MessageDigest::sha256() };
    let verify = || {
        let key = Rsa::from_public_components(BigNum::from_slice(modulus)?, BigNum::from_slice(exponent)?)?;
        let size = key.size() as usize;
        let key: PKey<Public> = PKey::from_rsa(key)?;
        // Some leave out leading zeros.
        let padded = [&vec![0; size.saturating_sub(signature.len())][..], signature].concat();
        Verifier::new(digest, &key)?.verify_oneshot(&padded, data)
    };
    Some(verify())
}

/// RFC 5656 section 3.1.2.
fn ecdsa(public: &mut WireReader<'_>, signature: &[u8], data: &[u8]) -> Option<Result<bool, ErrorStack>> {
    let (curve, point) = (public.string()?, public.string()?);
    let (curve, digest) = match curve {
        b"nistp256" => (Nid::X9_62_PRIME256V1, MessageDigest::sha256()),
        b"nistp384" => (Nid::SECP384R1, MessageDigest::sha384()),
        b"nistp521" => (Nid::SECP521R1, MessageDigest::sha512()),
        _ => return None,
    };
    let mut numbers = WireReader(signature);
    let (r, s) = (numbers.string()?, numbers.string()?);
    let is_negative = |number: &[u8]| number.first().is_some_and(|byte| byte & 0x80 != 0);
    if !numbers.0.is_empty() || is_negative(r) || is_negative(s) {
        return None;
    }
    let verify = || {
        let group = EcGroup::from_curve_name(curve)?;
        let point = EcPoint::from_bytes(&group, point, &mut *openssl::bn::BigNumContext::new()?)?;
        let key = PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)?;
        let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?.to_der()?;
        Verifier::new(digest, &key)?.verify_oneshot(&signature, data)
    };
    Some(verify())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::wire::{put_mpint, put_string};
    use openssl::pkey::Private;
    use openssl::sign::Signer;

    const NOW: u64 = 1_800_000_000;

    /// The fields of a certificate, except its key and its authority.
    struct Terms {
        kind: u32,
        id: &'static [u8],
        principals: Vec<&'static [u8]>,
        valid: (u64, u64),
        critical: Vec<&'static [u8]>,
        extensions: Vec<&'static [u8]>,
    }

    const fn terms() -> Terms {
        let valid = (NOW - 10, NOW + 10);
        Terms { kind: HOST, id: b"web1", principals: Vec::new(), valid, critical: Vec::new(), extensions: Vec::new() }
    }

    fn string(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        parts.iter().for_each(|part| put_string(&mut out, part));
        out
    }

    /// An authority: the blob of its key, and its signing function.
    type Authority = (Vec<u8>, Box<dyn Fn(&[u8]) -> Vec<u8>>);

    fn ed25519_point(key: &PKey<Private>) -> Vec<u8> {
        key.raw_public_key().expect("a public key")
    }

    fn sign_ecdsa(key: &PKey<Private>, digest: MessageDigest, data: &[u8]) -> Vec<u8> {
        let der = Signer::new(digest, key).and_then(|mut it| it.sign_oneshot_to_vec(data)).expect("a signature");
        let signature = EcdsaSig::from_der(&der).expect("a signature");
        let mut numbers = Vec::new();
        put_mpint(&mut numbers, &signature.r().to_vec());
        put_mpint(&mut numbers, &signature.s().to_vec());
        numbers
    }

    fn ecdsa_key(curve: Nid) -> (PKey<Private>, Vec<u8>) {
        let group = EcGroup::from_curve_name(curve).expect("a curve");
        let key = EcKey::generate(&group).expect("a key");
        let mut context = openssl::bn::BigNumContext::new().expect("memory");
        let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
        let point = key.public_key().to_bytes(&group, form, &mut context).expect("a point");
        (PKey::from_ec_key(key).expect("a key"), point)
    }

    fn sign_ed25519(key: &PKey<Private>, data: &[u8]) -> Vec<u8> {
        let signature = Signer::new_without_digest(key).and_then(|mut it| it.sign_oneshot_to_vec(data));
        signature.expect("a signature")
    }

    /// What a security key signs, and what it adds to its signature (PROTOCOL.u2f).
    fn by_device(data: &[u8]) -> (Vec<u8>, [u8; 5]) {
        let state = [1, 0, 0, 0, 7];
        ([&sha256(b"ssh:")[..], &state, &sha256(data)].concat(), state)
    }

    fn authorities() -> Vec<(&'static str, Authority)> {
        let ed = PKey::generate_ed25519().expect("a key");
        let ed_blob = string(&[b"ssh-ed25519", &ed25519_point(&ed)]);
        let sk = PKey::generate_ed25519().expect("a key");
        let sk_blob = string(&[b"sk-ssh-ed25519@openssh.com", &ed25519_point(&sk), b"ssh:"]);
        let (sk_p256, point) = ecdsa_key(Nid::X9_62_PRIME256V1);
        let sk_p256_blob = string(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", &point, b"ssh:"]);
        let (p384, point) = ecdsa_key(Nid::SECP384R1);
        let p384_blob = string(&[b"ecdsa-sha2-nistp384", b"nistp384", &point]);
        let rsa = Rsa::generate(2048).expect("a key");
        let mut rsa_blob = string(&[b"ssh-rsa"]);
        put_mpint(&mut rsa_blob, &rsa.e().to_vec());
        put_mpint(&mut rsa_blob, &rsa.n().to_vec());
        let rsa = PKey::from_rsa(rsa).expect("a key");
        vec![
            ("ssh-ed25519", (ed_blob, Box::new(move |data| string(&[b"ssh-ed25519", &sign_ed25519(&ed, data)])))),
            (
                "sk-ssh-ed25519@openssh.com",
                (
                    sk_blob,
                    Box::new(move |data| {
                        let (data, state) = by_device(data);
                        [&string(&[b"sk-ssh-ed25519@openssh.com", &sign_ed25519(&sk, &data)])[..], &state].concat()
                    }),
                ),
            ),
            (
                "sk-ecdsa-sha2-nistp256@openssh.com",
                (
                    sk_p256_blob,
                    Box::new(move |data| {
                        let (data, state) = by_device(data);
                        let signature = sign_ecdsa(&sk_p256, MessageDigest::sha256(), &data);
                        [&string(&[b"sk-ecdsa-sha2-nistp256@openssh.com", &signature])[..], &state].concat()
                    }),
                ),
            ),
            (
                "ecdsa-sha2-nistp384",
                (
                    p384_blob,
                    Box::new(move |data| {
                        string(&[b"ecdsa-sha2-nistp384", &sign_ecdsa(&p384, MessageDigest::sha384(), data)])
                    }),
                ),
            ),
            (
                "rsa-sha2-512",
                (
                    rsa_blob,
                    Box::new(move |data| {
                        let signer = Signer::new(MessageDigest::sha512(), &rsa);
                        let signature = signer.and_then(|mut it| it.sign_oneshot_to_vec(data)).expect("a signature");
                        string(&[b"rsa-sha2-512", &signature])
                    }),
                ),
            ),
        ]
    }

    /// A certificate of an Ed25519 key.
    fn certificate(terms: &Terms, (authority, sign): &Authority) -> Vec<u8> {
        let key = PKey::generate_ed25519().expect("a key");
        let options = |names: &[&[u8]]| names.iter().flat_map(|name| string(&[name, b"value"])).collect::<Vec<u8>>();
        let mut blob = string(&[b"ssh-ed25519-cert-v01@openssh.com", &[9; 32], &ed25519_point(&key)]);
        blob.extend(7_u64.to_be_bytes());
        blob.extend(terms.kind.to_be_bytes());
        blob.extend(string(&[terms.id, &string(&terms.principals)]));
        blob.extend(terms.valid.0.to_be_bytes());
        blob.extend(terms.valid.1.to_be_bytes());
        blob.extend(string(&[&options(&terms.critical), &options(&terms.extensions), b"", authority]));
        let signature = sign(&blob);
        put_string(&mut blob, &signature);
        blob
    }

    #[test]
    fn every_byte_of_a_certificate_is_signed() {
        for (name, authority) in authorities() {
            let principals = vec![&b"web1"[..]];
            let blob = certificate(&Terms { principals, extensions: vec![b"e@x"], ..terms() }, &authority);
            let parsed = Certificate::parse(&blob).expect(name);
            assert_eq!(parsed.signed_with, name);
            assert_eq!((parsed.serial, parsed.authority.blob.as_slice()), (7, authority.0.as_slice()));
            assert_eq!(parsed.check_at(NOW, "web1", &ALGORITHMS), Ok(()));
            for place in 0..blob.len() {
                let mut other = blob.clone();
                other[place] ^= 1;
                assert!(Certificate::parse(&other).is_err(), "{name}: byte {place} of {}", blob.len());
                assert!(Certificate::parse(&blob[..place]).is_err(), "{name}: {place} bytes of {}", blob.len());
            }
            assert!(Certificate::parse(&[&blob[..], &[0]].concat()).is_err(), "{name}: a byte more");
        }
    }

    #[test]
    fn what_a_certificate_may_not_be() {
        let (_, authority) = authorities().remove(0);
        let bad = |terms: &Terms, words: &str| {
            assert_eq!(Certificate::parse(&certificate(terms, &authority)).expect_err(words), words);
        };
        bad(&Terms { kind: 3, ..terms() }, "its type is neither user nor host");
        bad(&Terms { id: b"a\0b", ..terms() }, "one of its strings contains NUL");
        bad(&Terms { principals: vec![b"web1\0.evil"], ..terms() }, "one of its strings contains NUL");
        bad(&Terms { principals: vec![b"x"; 257], ..terms() }, "it has more than 256 principals");
        assert!(
            Certificate::parse(&certificate(&Terms { principals: vec![b"x"; 256], ..terms() }, &authority)).is_ok()
        );
        assert_eq!(Certificate::parse(&authority.0).expect_err("a key"), "it is a plain key");
        // An authority that is itself certified.
        let chained = (certificate(&terms(), &authority), Box::new(|_: &[u8]| Vec::new()) as Box<_>);
        let error = Certificate::parse(&certificate(&terms(), &chained)).expect_err("a chain");
        assert_eq!(error, "its CA key is a certificate");
    }

    #[test]
    fn the_dates_of_a_certificate_are_to_the_second() {
        let (_, authority) = authorities().remove(0);
        let at = |valid, now| {
            let parsed = Certificate::parse(&certificate(&Terms { valid, ..terms() }, &authority)).expect("good");
            parsed.check_at(now, "any", &ALGORITHMS)
        };
        assert_eq!(at((NOW, NOW + 1), NOW), Ok(()));
        assert_eq!(at((NOW, NOW + 1), NOW - 1), Err(Invalid::Early(Date(NOW))));
        assert_eq!(at((NOW, NOW + 1), NOW + 1), Err(Invalid::Expired(Date(NOW + 1))));
        assert_eq!(at((0, u64::MAX), NOW), Ok(()));
        assert_eq!(at((u64::MAX, u64::MAX), NOW), Err(Invalid::Early(Date(u64::MAX))));
        assert_eq!(Date(NOW).to_string(), "Jan 15 08:00:00 2027 GMT");
        assert_eq!(Date(u64::MAX).to_string(), "18446744073709551615 s after 1970");
    }
}
