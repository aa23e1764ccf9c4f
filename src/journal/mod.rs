//! The journal of runs: which hosts got their command, and how they ended, on the disk. `docs/journal.md` describes the format and
//! what it guarantees.
//!
//! A command is sent at most once, however the process ends: the record `sent` is on the disk before the request goes out
//! ([`writer`]), and a run that is continued sends nothing to a host that has this record ([`history`]).

pub mod file;
pub mod fingerprint;
pub mod history;
pub mod merge;
pub mod recall;
pub mod record;
pub mod rerun;
pub mod writer;
