//! Other reports: files, summaries, progress.

pub(crate) mod batches;
pub(crate) mod ci_summary;
pub(crate) mod copy_rate;
pub(crate) mod copy_total;
pub(crate) mod failed_to;
pub(crate) mod failures;
pub(crate) mod host_files;
pub(crate) mod journal;
pub(crate) mod junit;
pub(crate) mod last_lines;
pub(crate) mod progress;
pub(crate) mod reasons;
pub(crate) mod report_file;
pub(crate) mod retries;
pub(crate) mod summary;
pub(crate) mod timeline;
pub(crate) mod warnings;
pub(crate) mod without;
