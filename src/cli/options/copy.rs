//! Options of copies.

use std::ffi::OsString;

use clap::{ArgAction, Args};

/// Options of copies.
#[derive(Debug, Default, Args)]
pub struct CopyOpts {
    /// Copy directories and all that is in them
    ///
    /// Links are followed.
    #[arg(short = 'r', long = "recursive", help_heading = "Copying")]
    pub recursive: bool,

    /// Keep the exact modes and times of the sources
    #[arg(long = "preserve", help_heading = "Copying")]
    pub preserve: bool,

    /// Compare SHA-256 sums before replacing a file
    ///
    /// Each copy is read once more over the network.
    #[arg(long = "checksum", help_heading = "Copying")]
    pub checksum: bool,

    /// Keep partial files, and continue them later
    ///
    /// A file is continued only if its owner alone can write to it. With --journal, the run in the journal is continued, too: no host
    /// to which something was copied gets another copy.
    #[arg(long = "resume", help_heading = "Copying", conflicts_with = "inplace")]
    pub resume: bool,

    /// Write into files instead of replacing them
    ///
    /// An interrupted copy leaves half a file.
    #[arg(long = "inplace", help_heading = "Copying")]
    pub inplace: bool,
}

/// Options of rsync.
#[derive(Debug, Default, Args)]
pub struct RsyncOpts {
    /// Copy directories and all that is in them (rsync -r)
    #[arg(short = 'r', long = "recursive", help_heading = "Copying")]
    pub recursive: bool,

    /// Copy links, modes, times and owners, too (rsync -a)
    #[arg(short = 'a', long = "archive", help_heading = "Copying")]
    pub archive: bool,

    /// Compress what is sent (rsync -z)
    #[arg(short = 'z', long = "compress", help_heading = "Copying")]
    pub compress: bool,

    /// Set ssh's own options, such as '-J bastion'
    ///
    /// They are one word for the shell. See pssh(1). The last -S counts.
    #[arg(short = 'S', long = "ssh-args", value_name = "ARGS", help_heading = "Connection", action = ArgAction::Append,
          allow_hyphen_values = true)]
    pub ssh_args: Vec<OsString>,
}
