//! The five programs, from the command line to the exit status.

pub mod advice;
pub mod generate;
pub mod given;
pub mod journal;
pub mod known_names;
pub mod list;
pub mod notices;
pub mod options;
pub mod output_settings;
pub mod process;
pub mod replay;
pub mod settings;
pub mod signals;
pub mod skipped;
pub mod ssh_args;
pub mod start;
pub mod user_config;
pub mod variables;
pub mod words;
pub mod work;
