//! Keys of hosts and users, made anew in every run.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::rand_core::{TryCryptoRng, TryRng};
use russh::keys::ssh_key::{Algorithm, EcdsaCurve, LineEnding, PrivateKey};

/// Types that russh supports without its feature `rsa`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyKind {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
}

/// A key pair of a host or a user.
#[derive(Clone)]
pub(crate) struct Key(PrivateKey);

impl Key {
    pub(crate) fn generate(kind: KeyKind) -> Self {
        let algorithm = match kind {
            KeyKind::Ed25519 => Algorithm::Ed25519,
            KeyKind::EcdsaP256 => ecdsa(EcdsaCurve::NistP256),
            KeyKind::EcdsaP384 => ecdsa(EcdsaCurve::NistP384),
            KeyKind::EcdsaP521 => ecdsa(EcdsaCurve::NistP521),
        };
        Self(PrivateKey::random(&mut SystemRandom, algorithm).expect("these algorithms are always compiled in"))
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.0
    }

    /// `ssh-ed25519 AAAA...`: fits authorized_keys files, and known_hosts files after a host name.
    pub(crate) fn public_line(&self) -> String {
        self.0.public_key().to_openssh().expect("a generated key can be encoded")
    }

    /// The form of a known_hosts file: a port other than 22 puts the name into brackets.
    pub(crate) fn known_hosts_line(&self, host: &str, port: u16) -> String {
        let key = self.public_line();
        match port {
            22 => format!("{host} {key}"),
            _ => format!("[{host}]:{port} {key}"),
        }
    }

    /// Writes the OpenSSH private key file `name`, which only its owner may read, and `name.pub` beside it.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> PathBuf {
        write_files(&self.0, directory, name)
    }

    /// As [`Key::write`], encrypted as ssh-keygen does it by default.
    pub(crate) fn write_encrypted(&self, directory: &Path, name: &str, passphrase: &str) -> PathBuf {
        let encrypted = self.0.encrypt(&mut SystemRandom, passphrase);
        write_files(&encrypted.expect("a generated key can be encrypted"), directory, name)
    }
}

fn ecdsa(curve: EcdsaCurve) -> Algorithm {
    Algorithm::Ecdsa { curve }
}

fn write_files(key: &PrivateKey, directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    let pem = key.to_openssh(LineEnding::LF).expect("a generated key can be encoded");
    // The mode belongs to the creation: ssh and pssh refuse a key that others could have read for a moment.
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| io_write(&mut file, pem.as_bytes()));
    let public = key.public_key().to_openssh().expect("a generated key can be encoded");
    let written = written.and_then(|()| fs::write(directory.join(format!("{name}.pub")), public + "\n"));
    match written {
        Ok(()) => path,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn io_write(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    file.write_all(bytes)
}

/// The kernel's generator, read directly because the crate `rand` is no dependency.
struct SystemRandom;

impl TryRng for SystemRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(bytes));
        read.expect("/dev/urandom gives random bytes");
        Ok(())
    }
}

impl TryCryptoRng for SystemRandom {}
