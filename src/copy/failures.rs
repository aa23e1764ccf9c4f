//! What was not copied: why the first of it was not, and how much more there was.

use crate::copy::download_root::{PlaceError, Trouble};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;

/// What of a copy has failed.
#[derive(Debug, Default)]
pub struct CopyFailures {
    first: Option<HostError>,
    /// The first of our own system, which says more about the run than one of a file.
    local: Option<HostError>,
    count: usize,
}

impl CopyFailures {
    /// Counts one more, `path`, for `reason`.
    pub fn add(&mut self, path: &[u8], reason: impl Into<String>, hint: Option<Remedy>) {
        self.count += 1;
        self.first.get_or_insert_with(|| copy_error(path, reason, hint));
    }

    /// The same in other words.
    pub fn add_error(&mut self, error: HostError) {
        self.count += 1;
        self.first.get_or_insert(error);
    }

    /// Counts one more, which is what matters of all that has failed.
    pub fn put_first(&mut self, error: HostError) {
        self.count += 1;
        self.first = Some(error);
    }

    /// Counts what cannot be put in its place here; says whether anything more need be tried.
    pub fn add_local(&mut self, error: PlaceError) -> bool {
        self.count += 1;
        let trouble = error.trouble;
        let first = if trouble == Trouble::Refused { &mut self.first } else { &mut self.local };
        // With no room left, that is what has to be told.
        if first.is_none() || trouble == Trouble::Full {
            *first = Some(error.into());
        }
        trouble != Trouble::Full
    }

    /// Counts those that fail with another one that was told.
    pub fn skip(&mut self, count: usize) {
        self.count += count;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Why the copy as a whole has failed, if it has.
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

/// The error that `path` was not copied.
pub fn copy_error(path: &[u8], reason: impl Into<String>, hint: Option<Remedy>) -> HostError {
    let path = String::from_utf8_lossy(path).into_owned();
    HostError::Copy { path, reason: reason.into(), others: 0, hint }
}
