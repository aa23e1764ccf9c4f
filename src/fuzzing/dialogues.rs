//! Whole copies with a peer that sends anything: the state machines between the parser and the local disk.

use std::path::Path;
use std::sync::Arc;

use super::Verdict;
use crate::copy::download_root::DownloadRoot;
use crate::copy::scp;
use crate::copy::sftp_download::Downloading;
use crate::copy::sftp_upload::Uploading;
use crate::copy::sources::Sources;
use crate::copy::{Download, Options, Upload};
use crate::events::event::Outcome;
use crate::ssh::channel::dialogue::{Dialogue, Say};

/// Most bytes that a copy of a few small files may send, whatever it receives: more is a loop.
const MOST_SAID: usize = 4 << 20;

/// Copy options from a byte.
fn options(byte: u8) -> Options {
    let bit = |place: u8| byte >> place & 1 == 1;
    Options { recursive: !bit(0), preserve: bit(1), checksum: bit(2), resume: bit(3), inplace: bit(4) }
}

/// Splits the packets of a server, with the invalid rest at the end.
fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let length = bytes.first_chunk::<4>().map_or(usize::MAX, |length| u32::from_be_bytes(*length) as usize);
        let (packet, rest) = bytes.split_at_checked(length.saturating_add(4)).unwrap_or((bytes, b""));
        packets.push(packet);
        bytes = rest;
    }
    packets
}

/// Feeds a dialogue this data, piece by piece, and then the end.
fn play(dialogue: &mut dyn Dialogue, pieces: &[&[u8]], aborts: bool) -> Outcome {
    let (mut said, mut out) = (0, Vec::new());
    let mut talk = |dialogue: &mut dyn Dialogue| loop {
        let last = dialogue.say(&mut out);
        said += out.len();
        assert!(said < MOST_SAID, "it says {said} bytes");
        assert_eq!(out.is_empty(), last != Say::Said, "it says something exactly where it says so");
        out.clear();
        if last != Say::Said {
            return last;
        }
    };
    for piece in pieces {
        if talk(dialogue) == Say::Over {
            break;
        }
        dialogue.hear(piece);
    }
    let _ = talk(dialogue);
    if aborts {
        dialogue.abort();
        let _ = talk(dialogue);
    }
    let _ = dialogue.progress();
    dialogue.conclude(Outcome::Exited(0))
}

/// Lists the names in a directory and in its subdirectories.
fn names(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(self::names(&entry.path()));
        }
    }
    names
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Exited(0) => Ok(()),
        outcome => Err(outcome.to_string()),
    }
}

/// Runs a download into a directory of its own; nothing next to it may change.
///
/// `bytes` is the host's data: it may name its own files like our temporary ones.
fn download(options: Options, bytes: &[u8], play: impl FnOnce(Arc<Download>, DownloadRoot) -> Outcome) -> Verdict {
    let field = tempfile::tempdir().expect("a directory");
    let outside = field.path().join("outside");
    std::fs::write(&outside, "kept").expect("a file");
    let host = field.path().join("host");
    std::fs::create_dir(&host).expect("a directory");
    std::os::unix::fs::symlink("../outside", host.join("link")).expect("a link");
    std::os::unix::fs::symlink("..", host.join("up")).expect("a link");
    let remotes = vec![b"tree".to_vec(), b"*/x".to_vec(), b"link".to_vec()];
    let outcome =
        play(Arc::new(Download { remotes, target: None, options }), DownloadRoot::open(&host).expect("a place"));
    assert_eq!(std::fs::read(&outside).expect("a file"), b"kept", "nothing is written through a link");
    assert_eq!(std::fs::read_dir(field.path()).expect("a directory").count(), 2, "nothing is written outside");
    let says = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    let is_left = names(&host).iter().any(|name| name.contains(".pssh-")) && !says(b"pssh-") && !says(b"\\^J");
    assert!(options.resume || !is_left, "nothing is left behind: {:?}", names(&host));
    verdict(&outcome)
}

/// A download over SFTP. The first byte sets the options, the others are the server's.
pub fn sftp_download(bytes: &[u8]) -> Verdict {
    let (first, bytes) = bytes.split_first().unwrap_or((&0, b""));
    download(options(*first), bytes, |download, place| {
        let mut downloading = Downloading::new(download, place);
        play(&mut downloading, &packets(bytes), first >> 5 & 1 == 1)
    })
}

/// A download by scp. The first byte sets the options, the second how much is received at once.
pub fn scp_download(bytes: &[u8]) -> Verdict {
    let [first, size, bytes @ ..] = bytes else { return Ok(()) };
    download(options(*first), bytes, |download, place| {
        let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*size).max(1)).collect();
        play(&mut scp::download::Receiving::new(download, place), &pieces, first >> 5 & 1 == 1)
    })
}

/// Uploads, by SFTP or by scp. The first byte sets the options.
pub fn uploads(bytes: &[u8]) -> Verdict {
    let (first, bytes) = bytes.split_first().unwrap_or((&0, b""));
    let options = options(*first & !1);
    let field = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(field.path().join("tree/d")).expect("a directory");
    std::fs::write(field.path().join("tree/a"), "a").expect("a file");
    std::fs::write(field.path().join("tree/d/b"), vec![b'b'; 40_000]).expect("a file");
    let sources = Sources::find(&[field.path().join("tree")], true, None).map_err(|error| error.to_string())?;
    let upload = Arc::new(Upload { sources: Arc::new(sources), target: b"to".to_vec(), options });
    let aborts = first >> 5 & 1 == 1;
    let outcome = if first >> 6 & 1 == 1 {
        let pieces: Vec<&[u8]> = bytes.split_inclusive(|byte| matches!(byte, 0 | b'\n')).collect();
        play(&mut scp::upload::Sending::new(upload), &pieces, aborts)
    } else {
        play(&mut Uploading::new(upload), &packets(bytes), aborts)
    };
    assert_eq!(names(field.path()).len(), 4, "the sources stay as they are");
    verdict(&outcome)
}
