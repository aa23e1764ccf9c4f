//! Reading files within limits, trust by owner and mode, locks, and temporary files.

pub mod bounded;
pub mod run_lock;
pub mod spill;
pub mod trusted_file;
pub mod trusted_path;
pub mod unread;
