//! The options that say how files are copied.

use std::ffi::OsString;

use clap::{ArgAction, Args};

/// How files are copied.
#[derive(Debug, Default, Args)]
pub struct CopyOpts {
    /// Copy directories with all that is in them; links are followed
    #[arg(short = 'r', long = "recursive", help_heading = "Copying")]
    pub recursive: bool,

    /// Give copies the exact modes and times of what they are copies of
    #[arg(long = "preserve", help_heading = "Copying")]
    pub preserve: bool,

    /// Compare SHA-256 sums before a copy is put in place; it is read once more over the network
    #[arg(long = "checksum", help_heading = "Copying")]
    pub checksum: bool,

    /// Keep what has arrived of interrupted files, and continue it later if only its owner can write it
    #[arg(long = "resume", help_heading = "Copying", conflicts_with = "inplace")]
    pub resume: bool,

    /// Write into files themselves instead of replacing them; an interrupted copy leaves half a file
    #[arg(long = "inplace", help_heading = "Copying")]
    pub inplace: bool,
}

/// What rsync is told.
#[derive(Debug, Default, Args)]
pub struct RsyncOpts {
    /// Copy directories with all that is in them (rsync -r)
    #[arg(short = 'r', long = "recursive", help_heading = "Copying")]
    pub recursive: bool,

    /// Copy directories, links, modes, times and owners as they are (rsync -a)
    #[arg(short = 'a', long = "archive", help_heading = "Copying")]
    pub archive: bool,

    /// Have rsync compress what is sent (rsync -z)
    #[arg(short = 'z', long = "compress", help_heading = "Copying")]
    pub compress: bool,

    /// Options of ssh for the connection, in one word, such as '-J bastion'
    #[arg(short = 'S', long = "ssh-args", value_name = "ARGS", help_heading = "Connection", action = ArgAction::Append,
          allow_hyphen_values = true)]
    pub ssh_args: Vec<OsString>,
}
