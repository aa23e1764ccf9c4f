//! The five programs of the suite, and what they share.

use std::ffi::OsStr;
use std::path::Path;

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

    /// Returns the program that a process is called by, from its `argv[0]`: the last part of it is a program's name, or Debian's name
    /// for it. Under any other name, or none, it is pssh.
    pub fn called(argv0: Option<&OsStr>) -> Program {
        let name = argv0.and_then(|argv0| Path::new(argv0).file_name()).unwrap_or_default();
        Program::ALL
            .into_iter()
            .find(|program| name == program.name() || name == program.debian_name())
            .unwrap_or_default()
    }

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

    /// Returns its name in Debian's package of pssh, where others own the short names.
    pub fn debian_name(self) -> &'static str {
        match self {
            Program::Pssh => "parallel-ssh",
            Program::Pscp => "parallel-scp",
            Program::Pslurp => "parallel-slurp",
            Program::Prsync => "parallel-rsync",
            Program::Pnuke => "parallel-nuke",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_process_decides() {
        for (argv0, program) in [
            ("pscp", Program::Pscp),
            ("/usr/bin/pslurp", Program::Pslurp),
            ("./prsync", Program::Prsync),
            ("../bin//pnuke", Program::Pnuke),
            ("pssh", Program::Pssh),
            ("parallel-ssh", Program::Pssh),
            ("/usr/bin/parallel-scp", Program::Pscp),
            ("parallel-slurp", Program::Pslurp),
            ("parallel-rsync", Program::Prsync),
            ("parallel-nuke", Program::Pnuke),
        ] {
            assert_eq!(Program::called(Some(OsStr::new(argv0))), program, "{argv0}");
        }
    }

    #[test]
    fn any_other_name_is_pssh() {
        for argv0 in ["foo", "", "/", "..", "pscp/..", "PSCP", "pscp ", "pscp.old", "-pscp", "parallel-pscp", "\u{e9}"]
        {
            assert_eq!(Program::called(Some(OsStr::new(argv0))), Program::Pssh, "{argv0:?}");
        }
        assert_eq!(Program::called(None), Program::Pssh);
    }
}
