//! Private key files: read once per run; every host's login signs with the same key.
//!
//! OpenSSH's own format is read and decrypted by the ssh-key crate, PEM and PKCS#8 by OpenSSL; all signing is OpenSSL's.
//! libssh2 would read the file again for each host, and pay an encrypted key's slow derivation twice each time.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer as OpenSslSigner;
use openssl::symm::{Cipher, Crypter, Mode};
use ssh_key::private::{EcdsaKeypair, KeypairData};
use zeroize::Zeroizing;

use super::algorithms::CERTIFICATE;
use super::public_key::Key;
use crate::ssh::wire::{put_mpint, put_string};
use crate::system::files::bounded;
use crate::system::files::unread::{BeforeStart, is_unread};
use crate::system::password_source::Secret;
use crate::text::message::reason;

/// A private key that can sign.
pub struct KeyFile {
    /// The public key blob (RFC 4253 section 6.6).
    pub public_key: Vec<u8>,
    key: PKey<Private>,
}

/// The contents of a private key file.
pub enum Loaded {
    /// A key that can sign.
    Key(Arc<KeyFile>),
    /// An encrypted key.
    Encrypted(Encrypted),
    /// Only the public half: an agent may hold the other one.
    Public(PublicHalf),
}

/// A public key whose private half is not in a usable file.
pub struct PublicHalf {
    /// Its blob.
    public_key: Vec<u8>,
    /// The certificate, if the file is one.
    pub certificate: Option<Certificate>,
    /// Why there is no private key.
    pub problem: KeyError,
}

impl Loaded {
    /// Returns the public key blob, if known.
    pub fn public_key(&self) -> Option<&Vec<u8>> {
        match self {
            Loaded::Key(key) => Some(&key.public_key),
            Loaded::Encrypted(key) => key.public_key.as_ref(),
            Loaded::Public(half) => Some(&half.public_key),
        }
    }
}

/// A private key that needs a passphrase.
pub struct Encrypted {
    /// The public key blob, if the file or its `.pub` neighbour has it, so that an agent that holds the key can be
    /// asked.
    public_key: Option<Vec<u8>>,
    form: Form,
}

enum Form {
    OpenSsh(Box<ssh_key::PrivateKey>),
    Pem(Vec<u8>),
}

impl Encrypted {
    /// Decrypts the key, which its derivation makes slow: usually a tenth of a second.
    ///
    /// # Errors
    /// [`KeyError::Passphrase`], or the key is unusable.
    pub fn decrypt(&self, passphrase: &Secret) -> Result<KeyFile, KeyError> {
        let key = match &self.form {
            Form::OpenSsh(key) => openssl_key(&decrypt_openssh(key, passphrase)?)?,
            Form::Pem(text) => PKey::private_key_from_pem_passphrase(text, passphrase.expose()).map_err(|error| {
                if is_unsupported(&error) { unsupported_cipher(text) } else { KeyError::Passphrase }
            })?,
        };
        Ok(KeyFile { public_key: public_blob(&key)?, key })
    }
}

/// Does what the ssh-key crate does, and 3des-cbc, which it lacks.
fn decrypt_openssh(key: &ssh_key::PrivateKey, passphrase: &Secret) -> Result<ssh_key::PrivateKey, KeyError> {
    /// PROTOCOL.key of OpenSSH.
    const MAGIC: &[u8] = b"openssh-key-v1\0";
    const KEY_LENGTH: usize = 24;
    const IV_LENGTH: usize = 8;
    let (KeypairData::Encrypted(sealed), ssh_key::Cipher::TdesCbc) = (key.key_data(), key.cipher()) else {
        return key.decrypt(passphrase.expose()).map_err(|_| KeyError::Passphrase);
    };
    let mut derived = Zeroizing::new([0; KEY_LENGTH + IV_LENGTH]);
    key.kdf().derive(passphrase.expose(), &mut *derived).map_err(|error| KeyError::Format(error.to_string()))?;
    let (secret, iv) = derived.split_at(KEY_LENGTH);
    let mut crypter = Crypter::new(Cipher::des_ede3_cbc(), Mode::Decrypt, secret, Some(iv))?;
    // The padding is OpenSSH's own.
    crypter.pad(false);
    let mut open = Zeroizing::new(vec![0; sealed.len() + IV_LENGTH]);
    let count = crypter.update(sealed, &mut open)?;
    let count = count + crypter.finalize(&mut open[count..])?;
    // As if it was never encrypted.
    let mut plain = Zeroizing::new(Vec::with_capacity(MAGIC.len() + 2 * sealed.len() + 1024));
    plain.extend_from_slice(MAGIC);
    [&b"none"[..], b"none", b""].iter().for_each(|word| put_string(&mut plain, word));
    plain.extend_from_slice(&1_u32.to_be_bytes());
    put_string(&mut plain, &key.public_key().to_bytes().map_err(|error| KeyError::Format(error.to_string()))?);
    put_string(&mut plain, &open[..count]);
    // If this is not a key, the passphrase was wrong: two numbers at its start differ.
    ssh_key::PrivateKey::from_bytes(&plain).map_err(|_| KeyError::Passphrase)
}

/// Whether OpenSSL lacks the cipher, as opposed to a wrong passphrase.
fn is_unsupported(error: &ErrorStack) -> bool {
    let has = |words: &str| error.errors().iter().any(|error| error.reason().is_some_and(|why| why.contains(words)));
    (has("unsupported") || has("unknown")) && !has("bad decrypt")
}

/// Returns the error for a PEM file with an unsupported cipher, named if the file has its name in the clear (RFC 1421
/// section 4.6.1.3).
fn unsupported_cipher(text: &[u8]) -> KeyError {
    let text = String::from_utf8_lossy(text);
    let name = text.lines().find_map(|line| line.strip_prefix("DEK-Info:")?.split(',').next().map(str::trim));
    KeyError::Cipher(name.unwrap_or("an old cipher").to_owned())
}

/// Why a private key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the private key: {}", reason(.0))]
    Read(#[from] io::Error),
    /// Other users can read it; ssh(1) refuses such a key too.
    #[error("permissions {0:04o} are too open; only its owner may read a private key (chmod 600)")]
    TooOpen(u32),
    /// Something other than a private key, which the text names.
    #[error("{0}")]
    Other(&'static str),
    /// It contains only the public half.
    #[error(
        "this is a public key, and no agent holds the private one: load it (ssh-add), or name its file, usually the same without .pub"
    )]
    Public,
    /// A type of key that cannot sign here.
    #[error("{0} keys cannot be used from a file; load the key into an agent (ssh-add)")]
    Unsupported(String),
    /// It is encrypted by a cipher that is not supported.
    #[error(
        "its cipher, {0}, is not supported; openssl pkey -provider legacy -provider default -in FILE -aes256 -out NEWFILE encrypts it again"
    )]
    Cipher(String),
    /// It cannot be decrypted.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// The contents are not a private key.
    #[error("not a readable private key: {0}")]
    Format(String),
}

impl BeforeStart for KeyError {
    fn is_unread(&self) -> bool {
        matches!(self, KeyError::Read(error) if is_unread(error))
    }
}

impl From<ErrorStack> for KeyError {
    fn from(error: ErrorStack) -> Self {
        KeyError::Format(error.to_string())
    }
}

/// Reads the private key in `path`; if none is usable, the public one in it or next to it, as `load_public` in
/// OpenSSH's authfile.c.
///
/// # Errors
/// See [`KeyError`], if there is no public key either. A missing file is [`KeyError::Read`] with
/// [`io::ErrorKind::NotFound`].
pub fn load(path: &Path) -> Result<Loaded, KeyError> {
    let read = read(path);
    let text = read.as_ref().map_or(&[][..], |(text, _)| text);
    let loaded = match &read {
        Ok((text, mode)) => judge(path, text, *mode),
        Err(error) => Err(io::Error::new(error.kind(), reason(error)).into()),
    };
    loaded.or_else(|problem| match public_half(text).or_else(|| halves_beside(path)) {
        Some((public_key, certificate)) => Ok(Loaded::Public(PublicHalf { public_key, certificate, problem })),
        None => Err(problem),
    })
}

/// Reads a file; returns its text, and its permissions if they are too open.
fn read(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Option<u32>)> {
    let file = bounded::open(path)?;
    let metadata = file.metadata()?;
    // As in ssh(1): only files of our user are judged.
    let is_open = metadata.uid() == rustix::process::getuid().as_raw() && metadata.mode() & 0o077 != 0;
    Ok((Zeroizing::new(bounded::read_open(file, bounded::KEY)?), is_open.then(|| metadata.mode() & 0o7777)))
}

fn judge(path: &Path, text: &[u8], open_mode: Option<u32>) -> Result<Loaded, KeyError> {
    match open_mode {
        // Open permissions are not the problem if the file is not a private key.
        Some(mode) if has(text, PRIVATE) => Err(KeyError::TooOpen(mode)),
        _ => parse(text, || Some(halves_beside(path)?.0)),
    }
}

/// Returns the public key in a text, and the certificate if it is one. A private key of OpenSSH contains its public one
/// in the clear.
fn public_half(text: &[u8]) -> Option<(Vec<u8>, Option<Certificate>)> {
    let Some(blob) = public_line(text) else {
        return Some((ssh_key::PrivateKey::from_openssh(text).ok()?.public_key().to_bytes().ok()?, None));
    };
    let key = Key::parse(&blob).ok()?;
    if key.is_certified() {
        let certificate = certificate_in(blob).ok()?;
        return Some((certificate.certified.clone(), Some(certificate)));
    }
    Some((key.blob, None))
}

/// Returns the blob of the first public key line in a text, as `sshkey_try_load_public` in OpenSSH's authfile.c finds
/// it: other lines are skipped, up to a private key. The comment may have any encoding.
fn public_line(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"-----BEGIN"));
    lines.filter(|line| !line.starts_with(b"#")).find_map(|line| {
        Key::from_line(line.trim_ascii_end()).ok()?;
        // The bytes as they are: a certificate's signature covers them.
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        STANDARD.decode(words.nth(1)?).ok()
    })
}

/// Reads the public key in `path.pub`, where ssh-keygen(1) puts it, or of the certificate next to it.
fn halves_beside(path: &Path) -> Option<(Vec<u8>, Option<Certificate>)> {
    let beside = |suffix| {
        // Only a guess: do not wait for a FIFO.
        let text = bounded::read_regular(&beside(path, suffix), bounded::KEY).ok()?;
        public_half(&text).map(|(public_key, _)| (public_key, None))
    };
    beside(".pub").or_else(|| beside("-cert.pub"))
}

/// Parses the text of a file; `neighbour` returns the public key next to it.
pub(crate) fn parse(text: &[u8], neighbour: impl FnOnce() -> Option<Vec<u8>>) -> Result<Loaded, KeyError> {
    let has = |words| has(text, words);
    if let Some(problem) = OTHERS.iter().find_map(|(start, problem)| text.starts_with(start).then_some(*problem)) {
        Err(KeyError::Other(problem))
    } else if has("BEGIN OPENSSH PRIVATE KEY") {
        parse_openssh(text)
    } else if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        Ok(Loaded::Encrypted(Encrypted { public_key: neighbour(), form: Form::Pem(text.to_vec()) }))
    } else if has(PRIVATE) {
        let key = PKey::private_key_from_pem(text)?;
        Ok(Loaded::Key(Arc::new(KeyFile { public_key: public_blob(&key)?, key })))
    } else if public_line(text).is_some() {
        Err(KeyError::Public)
    } else if text.trim_ascii().is_empty() {
        Err(KeyError::Other("the file is empty"))
    } else {
        Err(KeyError::Format("no PRIVATE KEY block and no public key in it".to_owned()))
    }
}

/// All supported private keys contain this in their first line.
const PRIVATE: &str = "PRIVATE KEY-----";

/// The start of files that neither ssh nor pssh can read.
const OTHERS: [(&[u8], &str); 5] = [
    (b"\xef\xbb\xbf", "it starts with a byte order mark: save it without one"),
    (b"\xff\xfe", "it is UTF-16 text: save it as plain text"),
    (b"---- BEGIN SSH2 PUBLIC KEY", "a public key in the format of RFC 4716: ssh-keygen -i -f FILE converts it"),
    (b"PuTTY-User-Key-File", "a PuTTY key: puttygen FILE -O private-openssh -o NEWFILE converts it"),
    (b"SSH PRIVATE KEY FILE FORMAT 1.1", "an SSH protocol 1 key, which servers no longer accept"),
];

fn has(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|window| window == words.as_bytes())
}

fn parse_openssh(text: &[u8]) -> Result<Loaded, KeyError> {
    let key = ssh_key::PrivateKey::from_openssh(text).map_err(|error| KeyError::Format(error.to_string()))?;
    let public_key = key.public_key().to_bytes().map_err(|error| KeyError::Format(error.to_string()))?;
    if key.is_encrypted() {
        let form = Form::OpenSsh(Box::new(key));
        return Ok(Loaded::Encrypted(Encrypted { public_key: Some(public_key), form }));
    }
    let key = openssl_key(&key)?;
    Ok(Loaded::Key(Arc::new(KeyFile { public_key, key })))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A user certificate.
pub struct Certificate {
    /// Its blob, offered instead of the public key's.
    pub blob: Vec<u8>,
    /// The public key blob of the certified key.
    pub certified: Vec<u8>,
}

/// Returns where ssh-keygen(1) puts the certificate of the key in `path`.
pub fn certificate_path(path: &Path) -> PathBuf {
    beside(path, "-cert.pub")
}

/// Reads the certificate in `path`, if the file exists. The server decides whether it is valid today, by its clock.
///
/// # Errors
/// It is not a user certificate.
pub fn certificate(path: &Path) -> Result<Option<Certificate>, String> {
    let text = match bounded::read(path, bounded::KEY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| reason(&error))?,
    };
    certificate_of(&text).map(Some)
}

/// Reads the certificate in `path.pub`, if it is one. ssh(1) uses that file as the identity.
pub fn certificate_in_public_half(path: &Path) -> Option<Certificate> {
    // Only a guess: do not wait for a FIFO.
    let text = bounded::read_regular(&public_path(path), bounded::KEY).ok()?;
    certificate_of(&text).ok()
}

/// Returns where ssh-keygen(1) puts the public half of the key in `path`.
pub fn public_path(path: &Path) -> PathBuf {
    beside(path, ".pub")
}

/// Parses the certificate in the text of a file.
pub(crate) fn certificate_of(text: &[u8]) -> Result<Certificate, String> {
    certificate_in(public_line(text).ok_or("not a certificate")?)
}

fn certificate_in(blob: Vec<u8>) -> Result<Certificate, String> {
    let unreadable = |error: ssh_key::Error| format!("not a readable certificate: {error}");
    let parsed = ssh_key::Certificate::from_bytes(&blob).map_err(unreadable)?;
    if parsed.cert_type() != ssh_key::certificate::CertType::User {
        return Err("a host certificate, not a user certificate".to_owned());
    }
    let certified = ssh_key::PublicKey::from(parsed.public_key().clone()).to_bytes().map_err(unreadable)?;
    Ok(Certificate { blob, certified })
}

fn openssl_key(key: &ssh_key::PrivateKey) -> Result<PKey<Private>, KeyError> {
    let unsupported = || KeyError::Unsupported(key.algorithm().to_string());
    Ok(match key.key_data() {
        KeypairData::Ed25519(pair) => {
            let seed = Zeroizing::new(pair.private.to_bytes());
            PKey::private_key_from_raw_bytes(&*seed, Id::ED25519)?
        }
        KeypairData::Ecdsa(pair) => {
            let group = EcGroup::from_curve_name(match pair {
                EcdsaKeypair::NistP256 { .. } => Nid::X9_62_PRIME256V1,
                EcdsaKeypair::NistP384 { .. } => Nid::SECP384R1,
                EcdsaKeypair::NistP521 { .. } => Nid::SECP521R1,
            })?;
            let mut context = openssl::bn::BigNumContext::new()?;
            let point = EcPoint::from_bytes(&group, pair.public_key_bytes(), &mut context)?;
            let number = BigNum::from_slice(pair.private_key_bytes())?;
            PKey::from_ec_key(EcKey::from_private_components(&group, &number, &point)?)?
        }
        KeypairData::Rsa(pair) => {
            let number = |mpint: &ssh_key::Mpint| BigNum::from_slice(mpint.as_positive_bytes().unwrap_or_default());
            let (public, private) = (pair.public(), pair.private());
            let (d, p, q) = (number(private.d())?, number(private.p())?, number(private.q())?);
            let exponent = |prime: &BigNum| -> Result<BigNum, ErrorStack> {
                let mut context = openssl::bn::BigNumContext::new()?;
                let (mut less_one, mut remainder) = (BigNum::new()?, BigNum::new()?);
                less_one.checked_sub(prime, &*BigNum::from_u32(1)?)?;
                remainder.checked_rem(&d, &less_one, &mut context)?;
                Ok(remainder)
            };
            let (dp, dq) = (exponent(&p)?, exponent(&q)?);
            let (n, e, iqmp) = (number(public.n())?, number(public.e())?, number(private.iqmp())?);
            PKey::from_rsa(Rsa::from_private_components(n, e, d, p, q, dp, dq, iqmp)?)?
        }
        _ => return Err(unsupported()),
    })
}

/// Returns the curve's name in SSH (RFC 5656 section 6.1) and its hash (section 6.2.1).
fn curve(key: &PKey<Private>) -> Result<(&'static str, MessageDigest), KeyError> {
    match key.ec_key()?.group().curve_name() {
        Some(Nid::X9_62_PRIME256V1) => Ok(("nistp256", MessageDigest::sha256())),
        Some(Nid::SECP384R1) => Ok(("nistp384", MessageDigest::sha384())),
        Some(Nid::SECP521R1) => Ok(("nistp521", MessageDigest::sha512())),
        other => {
            let curve = other.and_then(|nid| nid.long_name().ok()).unwrap_or("unnamed");
            Err(KeyError::Unsupported(format!("ECDSA ({curve} curve)")))
        }
    }
}

fn public_blob(key: &PKey<Private>) -> Result<Vec<u8>, KeyError> {
    let mut blob = Vec::new();
    match key.id() {
        Id::ED25519 => {
            put_string(&mut blob, b"ssh-ed25519");
            put_string(&mut blob, &key.raw_public_key()?);
        }
        Id::RSA => {
            let rsa = key.rsa()?;
            put_string(&mut blob, b"ssh-rsa");
            put_mpint(&mut blob, &rsa.e().to_vec());
            put_mpint(&mut blob, &rsa.n().to_vec());
        }
        Id::EC => {
            let (name, _) = curve(key)?;
            let ec = key.ec_key()?;
            let mut context = openssl::bn::BigNumContext::new()?;
            let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
            put_string(&mut blob, format!("ecdsa-sha2-{name}").as_bytes());
            put_string(&mut blob, name.as_bytes());
            put_string(&mut blob, &ec.public_key().to_bytes(ec.group(), form, &mut context)?);
        }
        Id::DSA => return Err(KeyError::Unsupported("DSA".to_owned())),
        other => {
            let name = Nid::from_raw(other.as_raw()).long_name().unwrap_or("such");
            return Err(KeyError::Unsupported(name.to_owned()));
        }
    }
    Ok(blob)
}

impl KeyFile {
    /// Signs `data`; returns the inner blob of the signature: RFC 8709 section 6, RFC 5656 section 3.1.2, RFC 8332
    /// section 3.
    ///
    /// # Errors
    /// The reason in words.
    pub fn sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        self.try_sign(algorithm, data).map_err(|error| error.to_string())
    }

    fn try_sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self.key.id() {
            Id::ED25519 => Ok(OpenSslSigner::new_without_digest(&self.key)?.sign_oneshot_to_vec(data)?),
            Id::RSA => {
                let digest = match algorithm.strip_suffix(CERTIFICATE).unwrap_or(algorithm) {
                    "rsa-sha2-512" => MessageDigest::sha512(),
                    "rsa-sha2-256" => MessageDigest::sha256(),
                    other => return Err(KeyError::Unsupported(format!("{other} (RSA with SHA-1)"))),
                };
                Ok(OpenSslSigner::new(digest, &self.key)?.sign_oneshot_to_vec(data)?)
            }
            _ => {
                let (_, digest) = curve(&self.key)?;
                let der = OpenSslSigner::new(digest, &self.key)?.sign_oneshot_to_vec(data)?;
                let signature = EcdsaSig::from_der(&der)?;
                let mut blob = Vec::new();
                put_mpint(&mut blob, &signature.r().to_vec());
                put_mpint(&mut blob, &signature.s().to_vec());
                Ok(blob)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ssh_key::private::SkEd25519;

    use super::*;

    fn decrypted(text: &[u8], passphrase: &str) -> Result<KeyFile, String> {
        match parse(text, || None).unwrap_or_else(|error| panic!("{error}")) {
            Loaded::Encrypted(key) => {
                key.decrypt(&Secret::new(passphrase.as_bytes())).map_err(|error| error.to_string())
            }
            _ => panic!("it is not encrypted"),
        }
    }

    #[test]
    fn old_ciphers_are_read_or_named() {
        let rsa = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
        let pem = rsa.rsa().expect("a key").private_key_to_pem_passphrase(Cipher::des_ede3_cbc(), b"opens it");
        let pem = String::from_utf8(pem.expect("a file")).expect("text");
        assert!(pem.contains("DEK-Info: DES-EDE3-CBC,"), "{pem}");
        assert_eq!(
            decrypted(pem.as_bytes(), "opens it").map(|key| key.public_key),
            Ok(public_blob(&rsa).expect("a key"))
        );
        assert_eq!(decrypted(pem.as_bytes(), "does not").err().as_deref(), Some("the passphrase is wrong"));
        let unknown = pem.replace("DES-EDE3-CBC", "IDEA-OFB17");
        let problem = decrypted(unknown.as_bytes(), "opens it").err().expect("no such cipher");
        assert!(problem.starts_with("its cipher, IDEA-OFB17, is not supported; "), "{problem}");
        // ssh-keygen lacks the old ciphers, too.
        assert!(problem.contains("openssl pkey -provider legacy"), "{problem}");
    }

    #[test]
    fn kinds_of_keys_that_cannot_sign_have_their_names() {
        let dsa = PKey::from_dsa(openssl::dsa::Dsa::generate(1024).expect("a key")).expect("a key");
        let group = EcGroup::from_curve_name(Nid::SECP256K1).expect("a curve");
        let curve = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
        for (key, name) in [(dsa, "DSA keys"), (curve, "ECDSA (secp256k1 curve) keys")] {
            let problem = parse(&key.private_key_to_pem_pkcs8().expect("a file"), || None).err().expect("of no use");
            assert!(problem.to_string().starts_with(&format!("{name} cannot be used from a file")), "{problem}");
        }
    }

    #[test]
    fn keys_by_3des_cbc_of_ssh_keygen_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        for kind in ["ed25519", "rsa", "ecdsa"] {
            let path = directory.path().join(kind);
            let args = ["-q", "-t", kind, "-Z", "3des-cbc", "-N", "opens it", "-f"];
            let status = std::process::Command::new("ssh-keygen").args(args).arg(&path).status();
            assert!(status.expect("ssh-keygen of OpenSSH is needed for this test").success());
            let text = std::fs::read(&path).expect("a key");
            let public = halves_beside(&path).expect("a public key").0;
            assert_eq!(decrypted(&text, "opens it").map(|key| key.public_key), Ok(public), "{kind}");
            assert_eq!(decrypted(&text, "does not").err().as_deref(), Some("the passphrase is wrong"), "{kind}");
        }
    }

    /// Signing needs the device, and an agent that has it.
    #[test]
    fn of_a_fido_key_the_public_half_is_read() {
        let public = ssh_key::public::SkEd25519::new(ssh_key::public::Ed25519PublicKey([7; 32]), "ssh:");
        let pair = SkEd25519::new(public, 1, vec![1, 2, 3]).expect("a key");
        let key = ssh_key::PrivateKey::new(KeypairData::SkEd25519(pair), "comment").expect("a key");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("id_ed25519_sk");
        key.write_openssh_file(&path, ssh_key::LineEnding::LF).expect("a file");
        let loaded = load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.public_key(), key.public_key().to_bytes().ok().as_ref());
        let Loaded::Public(half) = loaded else { panic!("it cannot sign") };
        assert!(half.problem.to_string().contains("load the key into an agent"), "{}", half.problem);
    }
}
