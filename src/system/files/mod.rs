//! Files that are read with bounds, trusted by owner and mode, locked, or spilled to.

pub mod bounded;
pub mod run_lock;
pub mod spill;
pub mod trusted_file;
pub mod trusted_path;
pub mod unread;
