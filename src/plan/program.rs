//! The five programs of the suite, and what they share.

use crate::events::exit_status;

/// One of the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// Runs a command.
    #[default]
    Pssh,
    /// Copies files to hosts, or from them.
    Pscp,
    /// Copies files from hosts.
    Pslurp,
    /// Copies files with rsync.
    Prsync,
    /// Kills processes.
    Pnuke,
}

impl Program {
    /// All of them.
    pub const ALL: [Program; 5] = [Program::Pssh, Program::Pscp, Program::Pslurp, Program::Prsync, Program::Pnuke];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Program::Pssh => "pssh",
            Program::Pscp => "pscp",
            Program::Pslurp => "pslurp",
            Program::Prsync => "prsync",
            Program::Pnuke => "pnuke",
        }
    }

    /// Returns what it does on a host, as the subject of a sentence.
    pub fn task(self) -> &'static str {
        match self {
            Program::Pssh | Program::Pnuke => "the command",
            Program::Pscp | Program::Pslurp => "the copy",
            Program::Prsync => "rsync",
        }
    }

    /// Returns the exit status for failed commands and copies: pscp and prsync of pssh 2.3.6 do not
    /// distinguish them from an unreachable host.
    pub fn failed(self) -> u8 {
        match self {
            Program::Pssh | Program::Pslurp | Program::Pnuke => exit_status::COMMAND,
            Program::Pscp | Program::Prsync => exit_status::SSH,
        }
    }
}
