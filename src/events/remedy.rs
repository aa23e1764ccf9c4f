//! The remedy for a failure, as data: its message, in the words of the program that runs, is composed where it
//! the content. The library's users get the situation, without options.

use std::path::PathBuf;

use crate::system::redact;

/// The remedy for a failure, if more is known than its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// sudo asks for a password, but none is given.
    SudoPasswordNeeded,
    /// sudo refused the password.
    SudoPasswordRefused,
    /// sudo ended before the command began.
    SudoNotBegun {
        /// Whether it got a password.
        was_told: bool,
    },
    /// The server speaks version 1 of the protocol, or one that does not exist.
    NewerServer,
    /// The peer may not be an SSH server.
    IsItSsh,
    /// The host's RSA key is shorter than RequiredRSASize.
    LongerHostKey,
    /// The server offers an algorithm that this build has and that is not offered to it.
    AllowAlgorithm {
        /// The keyword of ssh_config(5).
        keyword: &'static str,
        /// The algorithm.
        name: &'static str,
    },
    /// The server offers only algorithms that this build does not have.
    LackingAlgorithm {
        /// Why it lacks them.
        reason: &'static str,
        /// Whether a build with SHA-1 would have them.
        is_sha1: bool,
    },
    /// The server offers no algorithm.
    NothingOffered,
    /// The login shell prints something, which breaks SFTP.
    SilentShell,
    /// The SFTP server ended before it had begun.
    IsSftpThere,
    /// The host has no SFTP, and one of the options of the copy needs it.
    InstallSftp,
    /// The host has neither SFTP nor scp.
    InstallSftpOrScp,
    /// Neither SFTP nor scp answers: the account may have a forced command.
    IsThereAShell,
    /// The directory accepts no new file; the old one could be overwritten in place.
    InPlaceForNoNewFile,
    /// A file cannot be renamed; the old one could be overwritten in place.
    InPlaceForNoRename,
    /// There is space for the new file, but not beside the old one.
    InPlaceForRoom,
    /// The disk is full, and the partial file is kept.
    ResumeAfterRoom,
    /// The host gives no reason.
    NoReasonGiven,
    /// It is a directory, but the copy is not recursive.
    CopyDirectories,
    /// More files match than fit in memory; copying the whole directory avoids that.
    CopyWholeDirectory,
    /// The partial files of a download are kept here, and the same copy continues them.
    KeptHere(String),
    /// The partial files of an upload are kept there, and the same copy continues them.
    KeptThere(String),
    /// Partial files of an upload are left there, since the host could not be asked to remove them.
    LeftThere {
        /// Their names.
        names: String,
        /// Whether they were overwritten in place, so that they mix new and old content.
        is_in_place: bool,
    },
    /// The limit of open files is too low.
    MoreOpenFiles,
    /// The limit of threads or processes is too low.
    MoreThreads,
    /// The command was asked to stop because its input could not be read.
    InputIncomplete,
    /// No space for the host's output.
    MakeRoom {
        /// Where it is stored.
        directory: PathBuf,
        /// How the command itself ended.
        command: String,
    },
    /// The host's output could not be written.
    OutputIncomplete {
        /// How the command itself ended.
        command: String,
    },
    /// The end of a command that an earlier run sent is not known.
    FindOutEnd,
    /// The same of a copy, which can be repeated. Whether the name of an unfinished file is known: `.NAME.pssh-TAG`.
    CopyAgain {
        /// Such files may be left.
        leaves_files: bool,
    },
    /// A bug in pssh.
    Report,
    /// The server asks for a password, but none is given.
    PasswordNeeded,
    /// The server asks a question that only the user can answer, such as a code.
    AnswerNeeded,
    /// The password must be changed.
    ChangePassword,
    /// Public keys are turned off.
    AllowKeys,
    /// No key has an accepted algorithm.
    AllowKeyAlgorithms,
    /// Every key is encrypted, and no passphrase is known.
    PassphraseNeeded,
}

impl Remedy {
    /// Redacts passwords in text from others.
    pub(crate) fn redact(&mut self) {
        if let Remedy::MakeRoom { command, .. } | Remedy::OutputIncomplete { command } = self {
            redact::redact_quotations(command);
        }
    }
}
