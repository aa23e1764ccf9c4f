//! The state of a download.

use std::collections::HashSet;

use crate::copy::download_root::Below;
use crate::copy::downloaded_file::DownloadedFile;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DownloadState {
    /// No message of scp or the script yet; whether the script runs.
    Calling { by_script: bool },
    /// Records.
    Receiving,
    /// The dialogue is over.
    Over,
}

/// The target of what is at the top of the host's list.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// Into this directory, under its own name.
    Into(Below),
    /// The single source gets this name.
    New(Below),
}

/// An open directory of the peer.
pub(super) struct Directory {
    /// `None` if its contents are discarded.
    pub(super) path: Option<Below>,
    pub(super) is_new: bool,
    pub(super) mode: u32,
    pub(super) times: Option<(u32, u32)>,
    pub(super) names: HashSet<u64>,
}

/// A file that is being received.
pub(super) struct Incoming {
    pub(super) path: Vec<u8>,
    /// `None` if its data is discarded.
    pub(super) temporary: Option<DownloadedFile>,
    pub(super) size: u64,
    pub(super) offset: u64,
    pub(super) mode: u32,
    pub(super) times: Option<(u32, u32)>,
}

/// What to do with an announced file or directory.
pub(super) enum Verdict {
    Take(Below),
    /// Ignore it; this is not a failure.
    Pass,
    /// Report it as failed.
    Fail(String),
    /// End the copy: only a hostile host sends this.
    Hostile(String),
}
