//! The host key: which algorithms are requested, and whether the key is accepted.
//!
//! As `order_hostkeyalgs` in sshconnect2.c and `check_host_key` in sshconnect.c of OpenSSH 9.2: a certificate is valid
//! if an authority of the host (`@cert-authority` in known_hosts) has signed it; an invalid one counts as the plain key
//! in it. Unlike there, certificates are requested only if one can change the verdict: there is an authority for the
//! host, or something may revoke the certificate or its authority.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use rustix::net::getpeername;

use crate::events::event::{Notice, Outcome};
use crate::events::host_error::{HostError, HostKeyError, KNOWN_HOSTS_COMMAND};
use crate::events::remedy::Remedy;
use crate::hosts::options::HostKeyCheck;
use crate::ssh::algorithms::Algorithms;
use crate::ssh::destination::{DEFAULT_PORT, Destination};
use crate::ssh::host_keys::certificate::Certificate;
use crate::ssh::host_keys::known_hosts::{
    Entries, Key, KeyLine, KnownHosts, RememberError, Remembered, Verdict, fingerprint, key_type,
};
use crate::ssh::host_keys::known_hosts_command::{self, Failure};
use crate::ssh::keys::algorithms::CERTIFICATE;
use crate::ssh::watch::{Notes, Watch};
use crate::ssh::wire::WireReader;
use crate::ssh_config::LateTokens;

/// How far a host is trusted after the check of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It may get all secrets.
    Full,
    /// Its key has changed, and is accepted only since nothing is checked: it gets no password, as with ssh(1).
    NoSecrets,
}

/// The known keys of a host before it has shown one.
pub struct Known {
    /// The lines of the known_hosts files.
    files: Entries,
    /// These, and the lines of KnownHostsCommand, if there is one and pssh decides the order of the algorithms.
    for_order: Option<Entries>,
}

impl Known {
    /// Looks `host` up, also with its KnownHostsCommand.
    ///
    /// # Errors
    /// The outcome of the job: the command fails, or the job ends first.
    pub fn of(host: &Destination, watch: &mut Watch<'_>, note: &mut Notes<'_>) -> Result<Known, Outcome> {
        let (name, port) = (&host.key_name.0, host.key_name.1);
        let files = host.credentials.known_hosts.lookup(name, port);
        let mut for_order = None;
        if host.credentials.known_hosts_command.is_some() && !host.algorithms.orders_host_keys {
            let none = "NONE";
            // As in ssh, without the port and whatever HostKeyAlias says.
            let about =
                LateTokens { invocation: "ORDER", name: &host.name, key_type: none, fingerprint: none, key: none };
            let said = ask_command(host, &about, watch, note)?;
            for_order = Some(files.clone().and(said.lookup(name, port)).and(said.lookup(&host.name, DEFAULT_PORT)));
        }
        Ok(Known { files, for_order })
    }
}

/// Returns the algorithms to request from a host. They include certificates only if one may change the verdict.
pub fn preference(host: &Destination, known: &Known) -> Vec<&'static str> {
    let entries = known.for_order.as_ref().unwrap_or(&known.files);
    // KnownHostsCommand can be asked about a key only once there is one.
    let may_decide = entries.has_authorities()
        || entries.has_revocations()
        || host.credentials.revoked_host_keys.is_some()
        || host.credentials.known_hosts_command.is_some();
    ordered(&host.algorithms, entries, may_decide)
}

/// Runs KnownHostsCommand; returns its lines, or none without a command.
fn ask_command(
    host: &Destination,
    about: &LateTokens<'_>,
    watch: &mut Watch<'_>,
    note: &mut Notes<'_>,
) -> Result<KnownHosts, Outcome> {
    let source = PathBuf::from(format!("{KNOWN_HOSTS_COMMAND}{}", about.invocation));
    let Some(command) = &host.credentials.known_hosts_command else { return Ok(KnownHosts::of_text(&source, b"")) };
    let failed = |problem, has_started| {
        let name = known_hosts_name(&host.key_name.0, host.key_name.1);
        HostKeyError::Command { name, program: command.program().into(), problem, has_started }.into()
    };
    let text = known_hosts_command::run(command, about, watch, note).map_err(|failure| match failure {
        Failure::Job(outcome) => outcome,
        Failure::Start(problem) => failed(problem, false),
        Failure::Command(problem) => failed(problem, true),
    })?;
    let lines = KnownHosts::of_text(&source, &text);
    lines.notes().iter().for_each(|line| note(&|| line.to_string()));
    Ok(lines)
}

/// Returns the algorithms to request from a host. First those of known keys, unless HostKeyAlgorithms fixes the order:
/// a server with several keys would otherwise show an unknown one. `with_certificates`: request certificates too.
fn ordered(algorithms: &Algorithms, known: &Entries, with_certificates: bool) -> Vec<&'static str> {
    let allowed = algorithms.host_keys.to_vec();
    let is_certificate = |algorithm: &&str| algorithm.ends_with(CERTIFICATE);
    let plain: Vec<&str> = allowed.iter().copied().filter(|algorithm| !is_certificate(algorithm)).collect();
    let asked = if with_certificates || plain.is_empty() { allowed } else { plain };
    if algorithms.orders_host_keys {
        return asked;
    }
    let (types, certified) = (known.key_types(), known.has_authorities());
    let is_known = |algorithm: &&&str| {
        let kind = algorithm.strip_suffix(CERTIFICATE).unwrap_or(algorithm);
        let kind = if kind.starts_with("rsa-") { "ssh-rsa" } else { kind };
        certified && is_certificate(algorithm) || types.contains(&kind)
    };
    let (first, rest): (Vec<&str>, Vec<&str>) = asked.iter().partition(is_known);
    [first, rest].concat()
}

/// Decides on the key that a host showed on `socket`. The key exchange proved that the host holds it; for a
/// certificate, that it holds the certified key.
///
/// # Errors
/// The outcome of the job: the key is not accepted.
pub fn check(
    host: &Destination,
    known: Known,
    blob: &[u8],
    socket: BorrowedFd<'_>,
    watch: &mut Watch<'_>,
    note: &mut Notes<'_>,
) -> Result<Trust, Outcome> {
    let name = known_hosts_name(&host.key_name.0, host.key_name.1);
    let (key, certificate) = parse(blob, &name)?;
    let offer = Offer { host, name, key: &key };
    offer.check_size()?;
    offer.check_lists(certificate.as_ref())?;
    // This check comes before known_hosts and after RevokedHostKeys, as in ssh.
    if host.trusts_loopback && is_loopback(socket) {
        note(&|| {
            format!("host key {offer} is NOT checked: the host is this machine (NoHostAuthenticationForLocalhost)")
        });
        return Ok(Trust::Full);
    }
    let known = offer.known(known.files, blob, watch, note)?;
    let mut invalid = None;
    if let Some(certificate) = certificate {
        match judge_certificate(&offer, &known, &certificate) {
            Ok(place) => {
                note(&|| format!("host key {certificate} is signed by a CA known from {place}"));
                return Ok(Trust::Full);
            }
            Err(Doubt::Refused(error)) => return Err(error.into()),
            Err(Doubt::Invalid(problem)) => {
                note(&|| format!("host key {certificate} is ignored: {problem}"));
                offer.check_plain_type(&problem)?;
                invalid = Some(problem);
            }
        }
    }
    offer.decide(known.check(&key.blob), watch, note)?.map_err(|verdict| {
        let plain = offer.refused(verdict);
        match invalid {
            None => plain.into(),
            Some(problem) => HostKeyError::Certificate { plain: Box::new(plain), problem }.into(),
        }
    })
}

/// Parses the key that the host `name` showed, and the certificate around it. A malformed certificate is refused, as by
/// ssh, whatever known_hosts says about the key in it.
fn parse(blob: &[u8], name: &str) -> Result<(Key, Option<Certificate>), HostKeyError> {
    let malformed = |problem: &str| {
        let kind = key_type(blob).unwrap_or("of unknown type").to_owned();
        HostKeyError::Malformed { name: name.to_owned(), kind, problem: problem.to_owned() }
    };
    let key = Key::parse(blob).map_err(malformed)?;
    let certificate = key.is_certified().then(|| Certificate::parse(blob)).transpose();
    Ok((key, certificate.map_err(malformed)?))
}

/// Returns the error for a host that showed `key` in a key re-exchange, which differs from the checked one.
pub fn replaced(host: &Destination, key: Option<&[u8]>) -> HostKeyError {
    let name = known_hosts_name(&host.key_name.0, host.key_name.1);
    let offered = key.and_then(|blob| Key::parse(blob).ok());
    let offered = offered.map_or_else(
        || "an unreadable key".to_owned(),
        |key| format!("{} {}", key.plain_type(), fingerprint(&key.blob)),
    );
    HostKeyError::Replaced { name, offered }
}

/// Why a certificate does not make its host known.
enum Doubt {
    /// The host is refused.
    Refused(HostKeyError),
    /// The reason in words; the plain key may still be known.
    Invalid(String),
}

/// Returns the line of the authority that makes a certificate's host known.
fn judge_certificate(offer: &Offer<'_>, known: &Entries, certificate: &Certificate) -> Result<KeyLine, Doubt> {
    let authority = &certificate.authority;
    match known.check_authority(&authority.blob, &offer.key.blob) {
        Verdict::Known(place) => {
            // The name has no port there.
            let name = offer.host.key_name.0.to_ascii_lowercase();
            match certificate.check(&name, &offer.host.algorithms.authorities) {
                Ok(()) => Ok(place),
                Err(invalid) => Err(Doubt::Invalid(format!("{invalid} (its CA is in {place})"))),
            }
        }
        Verdict::Revoked(place) => Err(Doubt::Refused(offer.refused(Verdict::Revoked(place)))),
        Verdict::Unknown => Err(Doubt::Invalid(format!(
            "it is signed by {}, which is not a @cert-authority for this host",
            certificate.authority_name()
        ))),
        Verdict::Changed(places) => {
            let places: Vec<String> = places.iter().map(KeyLine::to_string).collect();
            let (signer, places) = (certificate.authority_name(), places.join(", "));
            Err(Doubt::Invalid(format!("it is signed by {signer}, which is not the authority of {places}")))
        }
    }
}

/// A host key that a server presented.
struct Offer<'a> {
    host: &'a Destination,
    /// Its name for lookups.
    name: String,
    key: &'a Key,
}

impl fmt::Display for Offer<'_> {
    /// Formats type and fingerprint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key.plain_type(), fingerprint(&self.key.blob))
    }
}

impl Offer<'_> {
    /// Refuses an RSA key that is too short.
    fn check_size(&self) -> Result<(), HostError> {
        let least = self.host.rsa_bits;
        let Some(bits) = rsa_bits(&self.key.blob).filter(|bits| *bits < least) else { return Ok(()) };
        let detail = format!("the host's RSA key has {bits} bits; at least {least} are required");
        let hint = Some(Remedy::LongerHostKey);
        Err(HostError::Ssh { doing: "host key", detail, hint })
    }

    /// Refuses a key in RevokedHostKeys.
    fn check_lists(&self, certificate: Option<&Certificate>) -> Result<(), HostKeyError> {
        let lists = self.host.credentials.revoked_host_keys.as_deref();
        let Some(by) = lists.and_then(|keys| keys.revoking(self.key, certificate)) else { return Ok(()) };
        let offered = certificate.map_or_else(|| self.to_string(), Certificate::to_string);
        Err(HostKeyError::Listed { name: self.name.clone(), offered, by })
    }

    /// Refuses the plain key of a certificate that is invalid for this `problem`, unless its own type is allowed.
    fn check_plain_type(&self, problem: &str) -> Result<(), HostError> {
        let kind = self.key.plain_type();
        let is_allowed = |algorithm: &&str| *algorithm == kind || kind == "ssh-rsa" && algorithm.starts_with("rsa-");
        if self.host.algorithms.host_keys.iter().any(|name| !name.ends_with(CERTIFICATE) && is_allowed(name)) {
            return Ok(());
        }
        let detail = format!("{self} is not allowed by HostKeyAlgorithms; its certificate: {problem}");
        Err(HostError::Ssh { doing: "host key", detail, hint: None })
    }

    /// Returns the lines of the files, and of KnownHostsCommand about this key.
    fn known(
        &self,
        files: Entries,
        blob: &[u8],
        watch: &mut Watch<'_>,
        note: &mut Notes<'_>,
    ) -> Result<Entries, Outcome> {
        if self.host.credentials.known_hosts_command.is_none() {
            return Ok(files);
        }
        let about = LateTokens {
            invocation: "HOSTNAME",
            name: &self.name,
            key_type: key_type(blob).unwrap_or_default(),
            fingerprint: &fingerprint(&self.key.blob),
            key: &BASE64_STANDARD.encode(blob),
        };
        let said = ask_command(self.host, &about, watch, note)?;
        Ok(files.and(said.lookup(&self.host.key_name.0, self.host.key_name.1)))
    }

    /// Applies this host's checking mode to the verdict on the plain key; returns a verdict that refuses it.
    fn decide(
        &self,
        verdict: Verdict,
        watch: &mut Watch<'_>,
        note: &mut Notes<'_>,
    ) -> Result<Result<Trust, Verdict>, HostError> {
        let mode = self.host.credentials.host_key_check;
        let verdict = match (verdict, mode) {
            (Verdict::Known(place), _) => {
                note(&|| format!("host key {self} is known from {place}"));
                return Ok(Ok(Trust::Full));
            }
            (Verdict::Unknown, HostKeyCheck::AcceptNew | HostKeyCheck::Off) => match remember_new(self, watch, note)? {
                None => return Ok(Ok(Trust::Full)),
                Some(verdict) => verdict,
            },
            (verdict, _) => verdict,
        };
        Ok(match (verdict, mode) {
            (Verdict::Changed(_), HostKeyCheck::Off) => Ok(unchecked_change(self, watch, note)),
            // There is no file to add it to. ssh then refuses the host.
            (Verdict::Unknown, HostKeyCheck::Off) => {
                note(&|| format!("host key {self} is NOT checked"));
                Ok(Trust::Full)
            }
            // Never continue with a key that was deliberately revoked.
            (verdict, _) => Err(verdict),
        })
    }

    /// Returns why the key is not accepted.
    fn refused(&self, verdict: Verdict) -> HostKeyError {
        let (name, offered) = (self.name.clone(), self.to_string());
        let position = |place: &KeyLine| -> (PathBuf, u64) { (place.file.to_path_buf(), place.line) };
        match verdict {
            Verdict::Revoked(place) => {
                let (file, line) = position(&place);
                HostKeyError::Revoked { name, offered, file, line }
            }
            Verdict::Changed(places) => {
                // OpenSSH names the last. One of the same type says more.
                let is_same = |place: &&KeyLine| place.key_type == self.key.plain_type();
                let same = places.iter().rfind(is_same);
                let (file, line) = same.or(places.last()).map(position).unwrap_or_default();
                let known = match (same, places.last()) {
                    (None, Some(place)) => format!("a key of another type, {}", place.key_type),
                    _ => "another key".to_owned(),
                };
                HostKeyError::Changed { name, offered, file, line, known }
            }
            Verdict::Unknown | Verdict::Known(_) => {
                let Destination { name: address, port, key_name, proxy, credentials, .. } = self.host;
                let is_own_name = key_name.0.eq_ignore_ascii_case(address) && key_name.1 == *port;
                let scan = (proxy.is_none() && is_own_name).then(|| (address.clone(), *port));
                let file = credentials.known_hosts.user_file().map(Path::to_owned);
                HostKeyError::Unknown { name, scan, file, offered }
            }
        }
    }
}

/// Returns the trust in a host whose key has changed and is not checked. The known key stays, as with ssh.
fn unchecked_change(offer: &Offer<'_>, watch: &mut Watch<'_>, note: &mut Notes<'_>) -> Trust {
    note(&|| format!("host key {offer} has CHANGED and is NOT checked: no password will be sent"));
    watch.warn(
        "the host key has CHANGED and is not checked: this may be a man-in-the-middle attack; no password is sent"
            .to_owned(),
    );
    Trust::NoSecrets
}

/// Adds the key of an unknown host (accept-new and, as in ssh, off; the end of the run reports it). A key that another
/// job added meanwhile decides: returns that verdict if it is against the key, `Unknown` without a file.
fn remember_new(offer: &Offer<'_>, watch: &mut Watch<'_>, note: &mut Notes<'_>) -> Result<Option<Verdict>, HostError> {
    let credentials = &offer.host.credentials;
    let is_off = credentials.host_key_check == HostKeyCheck::Off;
    match credentials.known_hosts.remember(&offer.host.key_name.0, offer.host.key_name.1, &offer.key.blob) {
        Ok(Remembered::Added(place)) => {
            note(&|| format!("host key {offer} is new, added to {place}"));
            // Nothing was added to /dev/null, which users often name to add nothing.
            if place.file.is_file() {
                watch.tell(Notice::KeyAdded { file: place.file.to_path_buf(), is_checked: !is_off, jump_host: None });
            }
        }
        Ok(Remembered::Already(Verdict::Known(place))) => note(&|| format!("host key {offer} is known from {place}")),
        Ok(Remembered::Already(verdict)) => return Ok(Some(verdict)),
        // As in ssh: connect even if the file is not writable.
        Err(error @ RememberError::Write { .. }) => {
            watch.warn(format!("{error}; the next run does not know it"));
            note(&|| format!("host key {offer} is new; {error}"));
        }
        // The key cannot be stored; ssh does not accept it either.
        Err(RememberError::NoFile) => return Ok(Some(Verdict::Unknown)),
        Err(RememberError::Name(_)) if is_off => return Ok(Some(Verdict::Unknown)),
        Err(error) => {
            let detail = error.to_string();
            return Err(HostError::Local { doing: "adding the host key", detail, hint: None });
        }
    }
    Ok(None)
}

/// Whether the peer has an address of this machine (`sockaddr_is_local` in sshconnect.c). Behind a proxy its address is
/// unknown.
fn is_loopback(socket: BorrowedFd<'_>) -> bool {
    let peer = getpeername(socket).ok().flatten().and_then(|address| SocketAddr::try_from(address).ok());
    peer.is_some_and(|peer| peer.ip().is_loopback())
}

/// Returns the size of a plain RSA key (RFC 4253 section 6.6); `None` for other keys.
fn rsa_bits(key: &[u8]) -> Option<u32> {
    let mut reader = WireReader(key);
    if reader.string()? != b"ssh-rsa" {
        return None;
    }
    let _exponent = reader.string()?;
    let modulus = reader.string()?;
    let start = modulus.iter().position(|byte| *byte != 0)?;
    let bytes = &modulus[start..];
    Some(8 * bytes.len() as u32 - bytes[0].leading_zeros())
}

/// Returns the name under which ssh(1) looks up a host: with brackets and port if the port is not 22.
fn known_hosts_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_keys_are_measured() {
        let key = |kind: &[u8], modulus: &[u8]| {
            let mut blob = Vec::new();
            crate::ssh::wire::put_string(&mut blob, kind);
            crate::ssh::wire::put_mpint(&mut blob, &[1, 0, 1]);
            crate::ssh::wire::put_mpint(&mut blob, modulus);
            blob
        };
        assert_eq!(rsa_bits(&key(b"ssh-rsa", &[0xc0; 256])), Some(2048));
        assert_eq!(rsa_bits(&key(b"ssh-rsa", &[0x01; 128])), Some(1017));
        assert_eq!(rsa_bits(&key(b"ssh-ed25519", &[0xc0; 256])), None);
        assert_eq!(rsa_bits(b"\0\0\0\x07ssh-rsa"), None);
    }
}
