//! An agent that answers bindings as a test wants, and records its requests. It has one key, and signs with it.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::{Signer, Verifier};

use crate::raw::string;

/// What it does when it is asked to bind a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// As an agent that knows how.
    Agrees,
    /// As one that does not.
    Refuses,
    /// It closes the connection.
    HangsUp,
    /// It announces an answer of 4 GiB.
    Babbles,
    /// It agrees so many times, and then says nothing more.
    FallsSilentAfter(usize),
}

/// A message to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    List,
    /// The data to be signed.
    Sign(Vec<u8>),
    Bind(Bind),
    Other(u8),
}

/// A `session-bind@openssh.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) host_key: Vec<u8>,
    pub(crate) session: Vec<u8>,
    pub(crate) is_forwarding: bool,
    /// Whether the host key has signed the session, as an agent checks.
    pub(crate) is_signed: bool,
}

pub(crate) struct FakeAgent {
    pub(crate) socket: PathBuf,
    /// The line of its key for authorized_keys.
    pub(crate) public: String,
    heard: Arc<Mutex<Vec<Vec<Message>>>>,
}

impl FakeAgent {
    pub(crate) fn start(socket: &Path, binding: Binding) -> FakeAgent {
        let listener = UnixListener::bind(socket).expect("a socket");
        let key = PKey::generate_ed25519().expect("a key");
        let blob = [string(b"ssh-ed25519"), string(&key.raw_public_key().expect("the public half"))].concat();
        let public = format!("ssh-ed25519 {}", STANDARD.encode(&blob));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (noted, bound) = (Arc::clone(&heard), Arc::new(AtomicUsize::new(0)));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (key, blob, bound, heard) = (key.clone(), blob.clone(), Arc::clone(&bound), Arc::clone(&noted));
                let number = {
                    let mut heard = lock(&heard);
                    heard.push(Vec::new());
                    heard.len() - 1
                };
                thread::spawn(move || {
                    let note = |message| lock(&heard)[number].push(message);
                    // Every error is the client's end of it.
                    let _ = serve(stream, &key, &blob, binding, &bound, &note);
                });
            }
        });
        FakeAgent { socket: socket.to_owned(), public, heard }
    }

    /// What it was told, for each connection on which it was told anything.
    pub(crate) fn heard(&self) -> Vec<Vec<Message>> {
        lock(&self.heard).iter().filter(|messages| !messages.is_empty()).cloned().collect()
    }
}

/// A poisoned lock only means that a test has failed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    mut stream: UnixStream,
    key: &PKey<Private>,
    blob: &[u8],
    binding: Binding,
    bound: &AtomicUsize,
    note: &dyn Fn(Message),
) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut message)?;
        let answer = match message[0] {
            11 => {
                note(Message::List);
                [&[12, 0, 0, 0, 1][..], &string(blob), &string(b"fake")].concat()
            }
            13 => {
                let strings = strings(&message[1..], 2);
                note(Message::Sign(strings[1].clone()));
                let signature = Signer::new_without_digest(key).and_then(|mut it| it.sign_oneshot_to_vec(&strings[1]));
                let signature = [string(b"ssh-ed25519"), string(&signature.expect("a signature"))].concat();
                [&[14][..], &string(&signature)].concat()
            }
            27 => {
                note(Message::Bind(parse(&message[1..])));
                let count = bound.fetch_add(1, Ordering::SeqCst);
                match binding {
                    Binding::Agrees => vec![6],
                    Binding::Refuses => vec![5],
                    Binding::HangsUp => return Ok(()),
                    Binding::Babbles => {
                        stream.write_all(&[0xff; 8])?;
                        continue;
                    }
                    Binding::FallsSilentAfter(most) if count < most => vec![6],
                    Binding::FallsSilentAfter(_) => {
                        // Until the client has gone.
                        let _ = stream.read(&mut [0]);
                        return Ok(());
                    }
                }
            }
            other => {
                note(Message::Other(other));
                vec![5]
            }
        };
        // The reader may get it in pieces.
        for byte in string(&answer) {
            stream.write_all(&[byte])?;
        }
    }
}

/// The first `count` strings.
fn strings(mut bytes: &[u8], count: usize) -> Vec<Vec<u8>> {
    let mut next = || {
        let (length, rest) = bytes.split_first_chunk::<4>().expect("a length");
        let (string, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        bytes = rest;
        string.to_vec()
    };
    (0..count).map(|_| next()).collect()
}

fn parse(message: &[u8]) -> Bind {
    let parts = strings(message, 4);
    let [name, host_key, session, signature] = parts.try_into().expect("four strings");
    assert_eq!(name, b"session-bind@openssh.com");
    let is_signed = || -> Option<bool> {
        let (key, signature) = (strings(&host_key, 2), strings(&signature, 2));
        let key = PKey::public_key_from_raw_bytes(&key[1], Id::ED25519).ok()?;
        Verifier::new_without_digest(&key).ok()?.verify_oneshot(&signature[1], &session).ok()
    };
    let is_signed = host_key.starts_with(&string(b"ssh-ed25519")) && is_signed() == Some(true);
    Bind { is_signed, is_forwarding: message.last() == Some(&1), host_key, session }
}

impl Message {
    /// The binding that it is.
    #[track_caller]
    pub(crate) fn bind(&self) -> &Bind {
        match self {
            Message::Bind(bind) => bind,
            other => panic!("{other:?} instead of a binding"),
        }
    }
}
