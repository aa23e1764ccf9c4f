//! The forms of --format: how a run is shown while it goes on.

pub(crate) mod ci_groups;
pub(crate) mod ci_log;
pub(crate) mod ci_paths;
pub(crate) mod dry_run;
pub(crate) mod gather;
pub(crate) mod inline;
pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod outcomes;
pub(crate) mod pssh_status;
pub(crate) mod quiet;
