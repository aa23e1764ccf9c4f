//! What a download knows of where it is.

use std::collections::HashSet;

use crate::copy::download_root::{Below, Temporary};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DownloadState {
    /// Nothing was heard that scp or the script says; whether the script is there.
    Calling { by_script: bool },
    /// Records.
    Receiving,
    /// Nothing is said, or heard, any more.
    Over,
}

/// Where what is at the top of the host's list goes.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// Into this directory, under its own name.
    Into(Below),
    /// There is only one, and this is its name.
    New(Below),
}

/// A directory that the peer is in.
pub(super) struct Directory {
    /// Nothing, if what is in it is thrown away.
    pub(super) path: Option<Below>,
    pub(super) is_new: bool,
    pub(super) mode: u32,
    pub(super) times: Option<(u32, u32)>,
    pub(super) names: HashSet<u64>,
}

/// A file whose bytes are coming.
pub(super) struct Incoming {
    pub(super) path: Vec<u8>,
    /// Nothing, if they are thrown away.
    pub(super) temporary: Option<Temporary>,
    pub(super) size: u64,
    pub(super) offset: u64,
    pub(super) mode: u32,
    pub(super) times: Option<(u32, u32)>,
}

/// What to do with something that is announced.
pub(super) enum Verdict {
    Take(Below),
    /// It is none of ours, which is no failure.
    Pass,
    /// This one fails.
    Fail(String),
    /// No host would send this that means well.
    Hostile(String),
}
