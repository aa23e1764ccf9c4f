//! The operating system: files, descriptors, terminal, child processes, name lookups, and waiting.

pub(crate) mod files;

pub mod askpass;
pub mod cancel;
pub(crate) mod child;
pub(crate) mod clock;
pub mod descriptors;
pub(crate) mod lock;
pub mod open_files;
pub mod panics;
pub mod password_source;
pub mod poll;
pub mod process_name;
pub mod quotation;
pub mod redact;
pub mod resolver;
pub mod sink;
pub(crate) mod status_line;
pub mod terminal;
