//! Pure functions of text.

pub mod duration;
pub(crate) mod fnmatch;
pub(crate) mod json;
pub mod message;
pub mod sanitize;
pub mod suggest;
pub mod wildcard;
