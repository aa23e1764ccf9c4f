//! An SSH server that says whatever a test wants it to: its packets are real, and what is in them need not make sense. russh and
//! sshd are too polite for that.
//!
//! Keys are exchanged by curve25519-sha256, with ssh-ed25519, aes128-ctr and hmac-sha2-256, as often as the test wants; everybody is
//! logged in by any request, and what comes then is the test's. On loopback only; the threads of a connection end with it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use openssl::derive::Deriver;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::symm::{Cipher, Crypter, Mode};

/// How long a client may say nothing, or take nothing, before a test's server gives it up.
const PATIENCE: Duration = Duration::from_secs(60);
const VERSION: &str = "SSH-2.0-raw_1.0";

/// What a server does to its clients, at the moments at which it may.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// The keys of the connections, in their order; the last one is that of all others. None is a new one for all.
    pub(crate) keys: Vec<Arc<HostKey>>,
    /// Before the identification string.
    pub(crate) first: Option<fn(&mut TcpStream) -> io::Result<()>>,
    /// In place of the packets of the key exchange.
    pub(crate) instead_of_kex: Option<fn(&mut TcpStream) -> io::Result<()>>,
    /// Whether the server begins a second key exchange before the first one has ended, and says more behind that.
    pub(crate) begins_twice: bool,
    /// Whether the server asks for the strict key exchange of OpenSSH.
    pub(crate) strict: bool,
    /// Whether the code of what it sends is made of what is encrypted.
    pub(crate) encrypts_then_macs: bool,
    /// With encryption, before the login.
    pub(crate) before_login: Option<Act>,
    /// In answer to the first request to log in.
    pub(crate) at_login: Option<Act>,
    /// In answer to the request for a channel.
    pub(crate) at_open: Option<Act>,
    /// Whether what it sends after the login is compressed (`zlib@openssh.com`), for clients that want it.
    pub(crate) compresses: bool,
    /// In answer to the request for a command, after the server has agreed to it. The number is the client's of the channel.
    pub(crate) command: Option<fn(&mut Wire, u32) -> io::Result<()>>,
    /// Once a client has a channel to another host, with the connection to it.
    pub(crate) tunnel: Option<Tunnel>,
}

/// Something that a server does.
pub(crate) type Act = fn(&mut Wire) -> io::Result<()>;

/// The same, with a channel to another host and the connection to it.
pub(crate) type Tunnel = fn(&mut Wire, u32, TcpStream) -> io::Result<()>;

/// An Ed25519 host key.
pub(crate) struct HostKey(PKey<Private>);

impl HostKey {
    pub(crate) fn generate() -> Arc<HostKey> {
        Arc::new(HostKey(PKey::generate_ed25519().expect("a key")))
    }

    fn blob(&self) -> Vec<u8> {
        let public = self.0.raw_public_key().expect("a public key");
        [string(b"ssh-ed25519"), string(&public)].concat()
    }

    pub(crate) fn known_hosts_line(&self, address: SocketAddr) -> String {
        format!("[{}]:{} ssh-ed25519 {}\n", address.ip(), address.port(), BASE64_STANDARD.encode(self.blob()))
    }
}

/// A server that listens until the test ends.
pub(crate) struct Raw {
    pub(crate) address: SocketAddr,
    pub(crate) key: Arc<HostKey>,
    connections: Arc<AtomicUsize>,
    heard: Heard,
}

/// The kinds of the packets that clients have sent, in their order.
type Heard = Arc<Mutex<Vec<u8>>>;

impl Raw {
    pub(crate) fn start(mut script: Script) -> Raw {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        if script.keys.is_empty() {
            script.keys.push(HostKey::generate());
        }
        let key = Arc::clone(&script.keys[0]);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let heard = Heard::default();
        let noted = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (script, heard) = (script.clone(), Arc::clone(&noted));
                thread::spawn(move || {
                    let key = Arc::clone(&script.keys[number.min(script.keys.len() - 1)]);
                    // Every error is the client's end of it.
                    let _ = serve(stream, &script, Client { number, key, heard });
                });
            }
        });
        Raw { address, key, connections, heard }
    }

    pub(crate) fn known_hosts_line(&self) -> String {
        self.key.known_hosts_line(self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many packets of this kind have come.
    pub(crate) fn count(&self, kind: u8) -> usize {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|heard| **heard == kind).count()
    }
}

/// Whom a connection is with.
struct Client {
    number: usize,
    key: Arc<HostKey>,
    heard: Heard,
}

fn serve(mut stream: TcpStream, script: &Script, client: Client) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if let Some(first) = script.first {
        first(&mut stream)?;
    }
    stream.write_all(format!("{VERSION}\r\n").as_bytes())?;
    let client_version = read_version(&mut stream)?;
    if let Some(instead) = script.instead_of_kex {
        instead(&mut stream)?;
        return wait_for_end(&mut stream);
    }
    let mut wire = Wire::exchange_keys(stream, client_version, client, script)?;
    wire.expect(SERVICE_REQUEST)?;
    if let Some(act) = script.before_login {
        act(&mut wire)?;
    }
    wire.send(&[&[SERVICE_ACCEPT][..], &string(b"ssh-userauth")].concat())?;
    wire.expect(USERAUTH_REQUEST)?;
    if let Some(act) = script.at_login {
        act(&mut wire)?;
    }
    wire.send(&[USERAUTH_SUCCESS])?;
    wire.deflates = script.compresses.then_some(false);
    let open = wire.expect(CHANNEL_OPEN)?;
    if let Some(act) = script.at_open {
        act(&mut wire)?;
    }
    let channel = after_string(&open, 1).and_then(|at| number(&open, at)).ok_or(io::ErrorKind::InvalidData)?;
    if let Some(tunnel) = script.tunnel {
        let target = target(&open).ok_or(io::ErrorKind::InvalidData)?;
        wire.open_channel(channel, 1 << 20)?;
        tunnel(&mut wire, channel, TcpStream::connect(target)?)?;
        return wait_for_end(&mut wire.stream);
    }
    wire.open_channel(channel, 1 << 20)?;
    wire.expect(CHANNEL_REQUEST)?;
    wire.send(&[&[CHANNEL_SUCCESS][..], &channel.to_be_bytes()].concat())?;
    if let Some(command) = script.command {
        command(&mut wire, channel)?;
    }
    wait_for_end(&mut wire.stream)
}

/// Reads until the client has gone, or says nothing any more.
fn wait_for_end(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn read_version(stream: &mut TcpStream) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" && line.len() < 255 {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

// Numbers of RFC 4250.
const DISCONNECT: u8 = 1;
pub(crate) const IGNORE: u8 = 2;
pub(crate) const DEBUG: u8 = 4;
const SERVICE_REQUEST: u8 = 5;
const SERVICE_ACCEPT: u8 = 6;
pub(crate) const KEXINIT: u8 = 20;
pub(crate) const NEWKEYS: u8 = 21;
pub(crate) const KEX_INIT: u8 = 30;
pub(crate) const KEX_REPLY: u8 = 31;
pub(crate) const USERAUTH_REQUEST: u8 = 50;
pub(crate) const USERAUTH_FAILURE: u8 = 51;
const USERAUTH_SUCCESS: u8 = 52;
pub(crate) const USERAUTH_BANNER: u8 = 53;
pub(crate) const USERAUTH_INFO_REQUEST: u8 = 60;
pub(crate) const USERAUTH_INFO_RESPONSE: u8 = 61;
pub(crate) const GLOBAL_REQUEST: u8 = 80;
pub(crate) const CHANNEL_OPEN: u8 = 90;
const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
pub(crate) const CHANNEL_WINDOW_ADJUST: u8 = 93;
pub(crate) const CHANNEL_DATA: u8 = 94;
pub(crate) const CHANNEL_EXTENDED_DATA: u8 = 95;
pub(crate) const CHANNEL_EOF: u8 = 96;
pub(crate) const CHANNEL_CLOSE: u8 = 97;
pub(crate) const CHANNEL_REQUEST: u8 = 98;
pub(crate) const CHANNEL_SUCCESS: u8 = 99;
pub(crate) const CHANNEL_FAILURE: u8 = 100;

/// `string` of RFC 4251.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// `mpint` of a positive number.
fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    let sign: &[u8] = if bytes.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
    string(&[sign, bytes].concat())
}

fn number(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// Where the string at `at` ends.
pub(crate) fn after_string(packet: &[u8], at: usize) -> Option<usize> {
    Some(at + 4 + number(packet, at)? as usize)
}

/// Where a `direct-tcpip` channel is to lead to (RFC 4254 section 7.2).
fn target(open: &[u8]) -> Option<SocketAddr> {
    let name = after_string(open, 1)? + 12;
    let end = after_string(open, name)?;
    let address = std::str::from_utf8(open.get(name + 4..end)?).ok()?.parse().ok()?;
    Some(SocketAddr::new(address, u16::try_from(number(open, end)?).ok()?))
}

/// A connection whose keys are exchanged.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    /// Which connection to the server this is, from 0.
    pub(crate) number: usize,
    pub(crate) key: Arc<HostKey>,
    client_version: String,
    heard: Heard,
    /// The hash of the first key exchange.
    session: [u8; 32],
    /// The client's SSH_MSG_KEXINIT.
    pub(crate) proposal: Vec<u8>,
    sealer: Crypter,
    opener: Crypter,
    seal_key: PKey<Private>,
    encrypts_then_macs: bool,
    sent: u32,
    received: u32,
    /// Whether what is sent is compressed, and then whether the stream has begun.
    deflates: Option<bool>,
    /// What came before the client's part of a key exchange and is still to be looked at.
    waiting: Vec<Vec<u8>>,
}

/// What a key exchange has come to.
struct Secrets {
    shared: Vec<u8>,
    hash: [u8; 32],
    session: [u8; 32],
}

impl Secrets {
    fn derive(&self, letter: u8) -> [u8; 32] {
        sha256(&[&self.shared[..], &self.hash, &[letter], &self.session].concat())
    }

    fn crypter(&self, mode: Mode, key: u8, iv: u8) -> io::Result<Crypter> {
        Ok(Crypter::new(Cipher::aes_128_ctr(), mode, &self.derive(key)[..16], Some(&self.derive(iv)[..16]))?)
    }

    fn sealer(&self) -> io::Result<(Crypter, PKey<Private>)> {
        Ok((self.crypter(Mode::Encrypt, b'D', b'B')?, PKey::hmac(&self.derive(b'F'))?))
    }
}

/// The only cipher of the server.
pub(crate) const CIPHER: &str = "aes128-ctr";
/// Its only message authentication code.
pub(crate) const CODE: &str = "hmac-sha2-256";

/// A packet with the server's algorithms.
fn kexinit(key_exchange: &str) -> Vec<u8> {
    kexinit_of(key_exchange, &[CIPHER, CIPHER, CODE, CODE, "none", "none"])
}

/// The same with ciphers, codes and compressions, each from the client and then from the server.
fn kexinit_of(key_exchange: &str, methods: &[&str; 6]) -> Vec<u8> {
    let lists = [key_exchange, "ssh-ed25519"].into_iter().chain(*methods).chain(["", ""]);
    let lists = lists.flat_map(|list| string(list.as_bytes()));
    [KEXINIT].into_iter().chain([7; 16]).chain(lists).chain([0; 5]).collect()
}

/// The server's part of a key exchange: the packet that proves its key, and what both sides know then. `ours` and `theirs` are the
/// packets with the algorithms, `init` is the client's point.
fn reply(
    client_version: &str,
    (theirs, ours): (&[u8], &[u8]),
    init: &[u8],
    key: &HostKey,
) -> io::Result<(Vec<u8>, Vec<u8>, [u8; 32])> {
    let client_point = init.get(5..37).ok_or(io::ErrorKind::InvalidData)?;
    let secret = PKey::generate_x25519()?;
    let point = secret.raw_public_key()?;
    let client_key = PKey::public_key_from_raw_bytes(client_point, Id::X25519)?;
    let mut deriver = Deriver::new(&secret)?;
    deriver.set_peer(&client_key)?;
    let shared = mpint(&deriver.derive_to_vec()?);
    let blob = key.blob();
    let parts = [client_version.as_bytes(), VERSION.as_bytes(), theirs, ours, &blob, client_point, &point].map(string);
    let hash = sha256(&[parts.concat(), shared.clone()].concat());
    let signature = Signer::new_without_digest(&key.0)?.sign_oneshot_to_vec(&hash)?;
    let signature = string(&[string(b"ssh-ed25519"), string(&signature)].concat());
    Ok(([vec![KEX_REPLY], string(&blob), string(&point), signature].concat(), shared, hash))
}

impl Wire {
    fn exchange_keys(
        mut stream: TcpStream,
        client_version: String,
        client: Client,
        script: &Script,
    ) -> io::Result<Wire> {
        let Client { number, key, heard } = client;
        let strict = if script.strict { ",kex-strict-s-v00@openssh.com" } else { "" };
        let compression = if script.compresses { "zlib@openssh.com" } else { "none" };
        let code = if script.encrypts_then_macs { "hmac-sha2-256-etm@openssh.com" } else { CODE };
        let methods = [CIPHER, CIPHER, CODE, code, "none", compression];
        let ours = kexinit_of(&format!("curve25519-sha256{strict}"), &methods);
        send_plain(&mut stream, &ours)?;
        if script.begins_twice {
            send_plain(&mut stream, &ours)?;
            send_plain(&mut stream, &[vec![IGNORE], string(b"x")].concat())?;
        }
        let theirs = read_plain(&mut stream)?;
        let init = loop {
            let packet = read_plain(&mut stream)?;
            if packet.first() == Some(&KEX_INIT) {
                break packet;
            }
        };
        let (answer, shared, hash) = reply(&client_version, (&theirs, &ours), &init, &key)?;
        send_plain(&mut stream, &answer)?;
        send_plain(&mut stream, &[NEWKEYS])?;
        let newkeys = read_plain(&mut stream)?;
        if newkeys.first() != Some(&NEWKEYS) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let secrets = Secrets { shared, hash, session: hash };
        let (sealer, seal_key) = secrets.sealer()?;
        let sent = 3 + if script.begins_twice { 2 } else { 0 };
        Ok(Wire {
            stream,
            proposal: theirs,
            number,
            key,
            client_version,
            heard,
            session: hash,
            sealer,
            opener: secrets.crypter(Mode::Decrypt, b'C', b'A')?,
            seal_key,
            encrypts_then_macs: script.encrypts_then_macs,
            sent,
            received: 3,
            deflates: None,
            waiting: Vec::new(),
        })
    }

    /// Exchanges keys again, and proves `key`. The first `cut` bytes of a packet that means nothing are sent along with the packet that
    /// begins it, and the others once the client has answered.
    pub(crate) fn exchange_again(&mut self, key: &HostKey, cut: usize) -> io::Result<()> {
        let (secrets, sealer) = self.offer_keys(key, cut)?;
        self.expect(NEWKEYS)?;
        (self.sealer, self.seal_key) = sealer;
        self.opener = secrets.crypter(Mode::Decrypt, b'C', b'A')?;
        Ok(())
    }

    /// The same without waiting for the client to use the new keys: what is sent from now on is sealed with them.
    pub(crate) fn impose_keys(&mut self, key: &HostKey) -> io::Result<()> {
        let (_, sealer) = self.offer_keys(key, 0)?;
        (self.sealer, self.seal_key) = sealer;
        Ok(())
    }

    fn offer_keys(&mut self, key: &HostKey, cut: usize) -> io::Result<(Secrets, (Crypter, PKey<Private>))> {
        // Of different lengths, so that the client finds the end of it at every place in what it reads at once.
        let filler = "x".repeat(1 + self.number % 3 * 16);
        let ours = kexinit(&format!("curve25519-sha256,{filler}"));
        let begin = self.seal(&padded(&ours, 16))?;
        let nothing = self.seal_nothing()?;
        let (first, rest) = nothing.split_at(cut.min(nothing.len()));
        self.stream.write_all(&[&begin, first].concat())?;
        let theirs = self.await_exchange(KEXINIT)?;
        let init = self.await_exchange(KEX_INIT)?;
        self.stream.write_all(rest)?;
        let (answer, shared, hash) = reply(&self.client_version, (&theirs, &ours), &init, key)?;
        let secrets = Secrets { shared, hash, session: self.session };
        let sealer = secrets.sealer()?;
        self.send(&answer)?;
        self.send(&[NEWKEYS])?;
        Ok((secrets, sealer))
    }

    /// Begins an exchange by this method, and does nothing more for it. The first `cut` bytes of another packet come along.
    pub(crate) fn begin_exchange(&mut self, key_exchange: &str, cut: usize) -> io::Result<()> {
        let begin = self.seal(&padded(&kexinit(key_exchange), 16))?;
        // A packet that is sealed has to be sent, or nothing can follow.
        let nothing = if cut == 0 { Vec::new() } else { self.seal_nothing()? };
        self.stream.write_all(&[&begin[..], &nothing[..cut]].concat())
    }

    /// The same with other ciphers, codes and compressions than the first time, each from the client and then from the server.
    pub(crate) fn begin_exchange_of(&mut self, methods: &[&str; 6]) -> io::Result<()> {
        let begin = self.seal(&padded(&kexinit_of("curve25519-sha256", methods), 16))?;
        self.stream.write_all(&begin)
    }

    /// A packet that means nothing.
    fn seal_nothing(&mut self) -> io::Result<Vec<u8>> {
        self.seal(&padded(&[vec![IGNORE], string(&[b'x'; 200])].concat(), 16))
    }

    /// Reads up to a packet of the key exchange. What came before is for later, but for input.
    fn await_exchange(&mut self, kind: u8) -> io::Result<Vec<u8>> {
        loop {
            let packet = self.receive()?;
            match packet.first() {
                Some(first) if *first == kind => return Ok(packet),
                Some(&CHANNEL_DATA) => {}
                _ => self.waiting.push(packet),
            }
        }
    }

    /// A list of names of the client's SSH_MSG_KEXINIT, counted from 0 (RFC 4253 section 7.1).
    pub(crate) fn proposed(&self, place: usize) -> Option<&[u8]> {
        let at = (0..place).try_fold(17, |at, _| after_string(&self.proposal, at))?;
        self.proposal.get(at + 4..after_string(&self.proposal, at)?)
    }

    /// Sends a packet with this payload.
    pub(crate) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let payload = match self.zlib_head() {
            Some(head) => [head, stored(payload)].concat(),
            None => payload.to_vec(),
        };
        let packet = if self.encrypts_then_macs { padded_behind_length(&payload, 16) } else { padded(&payload, 16) };
        self.send_packet(&packet)
    }

    /// Sends a packet whose payload is this byte many times over, in few bytes. Only with compression.
    pub(crate) fn send_repeated(&mut self, byte: u8, count: usize) -> io::Result<()> {
        let head = self.zlib_head().expect("compression");
        self.send_packet(&padded(&[head, repeated(byte, count)].concat(), 16))
    }

    /// What comes before the first compressed byte (RFC 1950), and before no other. None without compression.
    fn zlib_head(&mut self) -> Option<Vec<u8>> {
        let has_begun = self.deflates?;
        self.deflates = Some(true);
        Some(if has_begun { Vec::new() } else { vec![0x78, 0x01] })
    }

    /// Sends what should be a packet: length, padding and all, as the test has it.
    pub(crate) fn send_packet(&mut self, packet: &[u8]) -> io::Result<()> {
        let sealed = self.seal(packet)?;
        self.stream.write_all(&sealed)
    }

    fn seal(&mut self, packet: &[u8]) -> io::Result<Vec<u8>> {
        // The length stays in the clear where the code is made of what is encrypted.
        let (clear, secret) = packet.split_at(if self.encrypts_then_macs { 4 } else { 0 });
        let mut sealed = vec![0; secret.len() + 16];
        let length = self.sealer.update(secret, &mut sealed)?;
        sealed.truncate(length);
        sealed.splice(0..0, clear.iter().copied());
        let mut signer = Signer::new(MessageDigest::sha256(), &self.seal_key)?;
        signer.update(&self.sent.to_be_bytes())?;
        signer.update(if self.encrypts_then_macs { &sealed } else { packet })?;
        let code = signer.sign_to_vec()?;
        sealed.extend(code);
        self.sent = self.sent.wrapping_add(1);
        Ok(sealed)
    }

    pub(crate) fn receive(&mut self) -> io::Result<Vec<u8>> {
        let first = self.open(16)?;
        let length = number(&first, 0).ok_or(io::ErrorKind::InvalidData)? as usize;
        let rest = self.open((length + 4).checked_sub(16).ok_or(io::ErrorKind::InvalidData)?)?;
        self.stream.read_exact(&mut [0; 32])?;
        self.received = self.received.wrapping_add(1);
        let packet = [first, rest].concat();
        let padding = usize::from(packet[4]);
        let payload = packet.get(5..4 + length - padding).ok_or(io::ErrorKind::InvalidData)?;
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend(payload.first());
        Ok(payload.to_vec())
    }

    fn open(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let (mut sealed, mut plain) = (vec![0; count], vec![0; count + 16]);
        self.stream.read_exact(&mut sealed)?;
        let length = self.opener.update(&sealed, &mut plain)?;
        plain.truncate(length);
        Ok(plain)
    }

    /// Reads packets up to one of this kind.
    pub(crate) fn expect(&mut self, kind: u8) -> io::Result<Vec<u8>> {
        loop {
            let packet = if self.waiting.is_empty() { self.receive()? } else { self.waiting.remove(0) };
            if packet.first() == Some(&kind) {
                return Ok(packet);
            }
        }
    }

    fn open_channel(&mut self, channel: u32, window: u32) -> io::Result<()> {
        let numbers = [channel, 0, window, 32768].map(u32::to_be_bytes).concat();
        self.send(&[&[CHANNEL_OPEN_CONFIRMATION][..], &numbers].concat())
    }

    /// Says goodbye (RFC 4253 section 11.1).
    pub(crate) fn disconnect(&mut self, reason: u32, text: &[u8]) -> io::Result<()> {
        self.send(&goodbye(reason, text))
    }

    /// Sends a banner (RFC 4252 section 5.4).
    pub(crate) fn banner(&mut self, text: &[u8]) -> io::Result<()> {
        self.send(&[&[USERAUTH_BANNER][..], &string(text), &string(b"")].concat())
    }

    /// Sends output of a command, whatever the window is.
    pub(crate) fn data(&mut self, channel: u32, bytes: &[u8]) -> io::Result<()> {
        self.send(&[&[CHANNEL_DATA][..], &channel.to_be_bytes(), &string(bytes)].concat())
    }

    /// Sends a message of a channel that has nothing but its number.
    pub(crate) fn about(&mut self, kind: u8, channel: u32) -> io::Result<()> {
        self.send(&[&[kind][..], &channel.to_be_bytes()].concat())
    }

    /// Says how the command has ended.
    pub(crate) fn exit_status(&mut self, channel: u32, status: u32) -> io::Result<()> {
        let request = [string(b"exit-status"), vec![0], status.to_be_bytes().to_vec()].concat();
        self.send(&[&[CHANNEL_REQUEST][..], &channel.to_be_bytes(), &request].concat())
    }

    /// Passes the input that comes within this time on.
    pub(crate) fn pass_input(&mut self, to: &mut TcpStream, within: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(within))?;
        let is_there = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE))?;
        match is_there {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            is_there => is_there?,
        };
        let packet = self.receive()?;
        match packet.first() {
            Some(&CHANNEL_DATA) => to.write_all(packet.get(9..).unwrap_or_default()),
            _ => Ok(()),
        }
    }

    /// Says how the command has ended, and that no more output comes.
    pub(crate) fn status(&mut self, channel: u32, status: u32) -> io::Result<()> {
        self.exit_status(channel, status)?;
        self.about(CHANNEL_EOF, channel)
    }

    /// Ends the command in good order.
    pub(crate) fn end(&mut self, channel: u32, status: u32) -> io::Result<()> {
        self.status(channel, status)?;
        self.about(CHANNEL_CLOSE, channel)
    }
}

/// Bytes as a block of DEFLATE that is not compressed (RFC 1951 section 3.2.4).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), bytes].concat()
}

/// A byte below 144 many times over, as a block of DEFLATE with fixed codes (RFC 1951 section 3.2.6), and an empty block that ends at a
/// whole byte.
fn repeated(byte: u8, count: usize) -> Vec<u8> {
    /// Bytes of the longest repetition.
    const LONGEST: usize = 258;
    let mut bits: Vec<bool> = Vec::new();
    let mut put = |value: u32, count: u32| bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    // Not the last block; fixed codes (01, the lowest bit first).
    put(0b010, 3);
    put(0x30 + u32::from(byte), 8);
    for _ in 0..(count - 1) / LONGEST {
        // The length 258, and the distance 1.
        put(0b1100_0101, 8);
        put(0, 5);
    }
    for _ in 0..(count - 1) % LONGEST {
        put(0x30 + u32::from(byte), 8);
    }
    put(0, 7);
    // An empty block that is not compressed begins at the next whole byte after its three bits.
    put(0, 3);
    let mut bytes: Vec<u8> = bits
        .chunks(8)
        .map(|bits| bits.iter().enumerate().fold(0, |byte, (place, bit)| byte | u8::from(*bit) << place))
        .collect();
    bytes.extend([0, 0, 0xff, 0xff]);
    bytes
}

/// The message that ends a connection in words (RFC 4253 section 11.1).
pub(crate) fn goodbye(reason: u32, text: &[u8]) -> Vec<u8> {
    [&[DISCONNECT][..], &reason.to_be_bytes(), &string(text), &string(b"")].concat()
}

/// What the length of a packet in plain text is a multiple of (RFC 4253 section 6).
pub(crate) const PLAIN_BLOCK: usize = 8;

/// A packet without its code (RFC 4253 section 6).
pub(crate) fn padded(payload: &[u8], block: usize) -> Vec<u8> {
    let padding = block - (payload.len() + 5) % block;
    let padding = if padding < 4 { padding + block } else { padding };
    let length = (payload.len() + padding + 1) as u32;
    [&length.to_be_bytes()[..], &[padding as u8], payload, &vec![0; padding]].concat()
}

/// The same where the blocks begin behind the length.
fn padded_behind_length(payload: &[u8], block: usize) -> Vec<u8> {
    let padding = 4 + (block - (1 + payload.len() + 4) % block) % block;
    let length = (1 + payload.len() + padding) as u32;
    [&length.to_be_bytes()[..], &[padding as u8], payload, &vec![0; padding]].concat()
}

pub(crate) fn send_plain(stream: &mut TcpStream, payload: &[u8]) -> io::Result<()> {
    stream.write_all(&padded(payload, PLAIN_BLOCK))
}

fn read_plain(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = number(&head, 0).filter(|length| (2..35_000).contains(length)).ok_or(io::ErrorKind::InvalidData)?;
    let mut rest = vec![0; length as usize - 1];
    stream.read_exact(&mut rest)?;
    rest.truncate(rest.len().saturating_sub(usize::from(head[4])));
    Ok(rest)
}
