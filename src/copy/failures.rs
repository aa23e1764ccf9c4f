//! The files that a copy failed to copy: the reason of the first, and how many more.

use crate::copy::download_root::{PlaceError, Trouble};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;

/// The failures of a copy.
#[derive(Debug, Default)]
pub struct CopyFailures {
    first: Option<HostError>,
    /// The first failure of the local system, which says more about the run than one of a file.
    local: Option<HostError>,
    count: usize,
}

impl CopyFailures {
    /// Counts a failure of `path` for `reason`.
    pub fn add(&mut self, path: &[u8], reason: impl Into<String>, hint: Option<Remedy>) {
        self.count += 1;
        self.first.get_or_insert_with(|| copy_error(path, reason, hint));
    }

    /// The same for a ready error.
    pub fn add_error(&mut self, error: HostError) {
        self.count += 1;
        self.first.get_or_insert(error);
    }

    /// Counts a failure that matters more than all others.
    pub fn put_first(&mut self, error: HostError) {
        self.count += 1;
        self.first = Some(error);
    }

    /// Counts a failure to write locally; returns whether trying more is useful.
    pub fn add_local(&mut self, error: PlaceError) -> bool {
        self.count += 1;
        let trouble = error.trouble;
        let first = if trouble == Trouble::Refused { &mut self.first } else { &mut self.local };
        // With no room left, this is what the user must learn.
        if first.is_none() || trouble == Trouble::Full {
            *first = Some(error.into());
        }
        trouble != Trouble::Full
    }

    /// Counts failures that share the reported cause of another.
    pub fn skip(&mut self, count: usize) {
        self.count += count;
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns why the copy as a whole failed, if it did.
    pub fn take(&mut self) -> Option<HostError> {
        let more = self.count.saturating_sub(1);
        if let Some(HostError::Local { doing, mut detail, hint }) = self.local.take() {
            match more {
                0 => {}
                1 => detail.push_str(" (and another failure)"),
                _ => detail.push_str(&format!(" (and {more} other failures)")),
            }
            return Some(HostError::Local { doing, detail, hint });
        }
        let mut error = self.first.take()?;
        if let HostError::Copy { others, .. } = &mut error {
            *others = more;
        }
        Some(error)
    }
}

/// Returns the error for a `path` that was not copied.
pub fn copy_error(path: &[u8], reason: impl Into<String>, hint: Option<Remedy>) -> HostError {
    let path = String::from_utf8_lossy(path).into_owned();
    HostError::Copy { path, reason: reason.into(), others: 0, hint }
}
