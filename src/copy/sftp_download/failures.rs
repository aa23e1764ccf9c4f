//! What did not come along: the first of it, and how much more there was.

use crate::copy::download_root::{PlaceError, Trouble};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;

/// Failures of single files.
#[derive(Debug, Default)]
pub(super) struct DownloadFailures {
    first: Option<HostError>,
    /// The first of our own system, which says more about the run than one of a file.
    local: Option<HostError>,
    count: usize,
}

impl DownloadFailures {
    /// The host refused a file, or it is not as it should be. `path` is the one there.
    pub(super) fn add(&mut self, path: &[u8], reason: String, hint: Option<Remedy>) {
        self.count += 1;
        self.first.get_or_insert_with(|| HostError::Copy {
            path: String::from_utf8_lossy(path).into_owned(),
            reason,
            others: 0,
            hint,
        });
    }

    /// So many others were not tried any more.
    pub(super) fn skip(&mut self, count: usize) {
        self.count += count;
    }

    /// A file could not be put in its place; says whether anything more need be tried.
    pub(super) fn add_local(&mut self, error: PlaceError) -> bool {
        self.count += 1;
        let trouble = error.trouble;
        let first = if trouble == Trouble::Refused { &mut self.first } else { &mut self.local };
        // With no room left, that is what has to be told.
        if first.is_none() || trouble == Trouble::Full {
            *first = Some(error.into());
        }
        trouble != Trouble::Full
    }

    /// The outcome, if there are any.
    pub(super) fn take(&mut self) -> Option<HostError> {
        let more = self.count.saturating_sub(1);
        let mut error = self.local.take().or(self.first.take())?;
        match &mut error {
            HostError::Copy { others, .. } => *others = more,
            HostError::Local { detail, .. } if more == 1 => detail.push_str(" (and another failure)"),
            HostError::Local { detail, .. } if more > 1 => detail.push_str(&format!(" (and {more} other failures)")),
            _ => {}
        }
        Some(error)
    }
}
