//! From the key exchange to an authenticated session.

pub(crate) mod auth;
pub(crate) mod host_key_check;
pub(crate) mod keyboard_interactive;
pub(crate) mod question;
