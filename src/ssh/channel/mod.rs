//! A channel of a session: requests, standard streams, and its end.

pub(crate) mod agent_forward;
pub mod dialogue;
pub(crate) mod exec;
pub(crate) mod relay;
pub(crate) mod requests;
pub(crate) mod stdin;
pub(crate) mod stop;
