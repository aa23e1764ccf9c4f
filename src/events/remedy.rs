//! What would help against a failure, as data: its sentence, in the words of the program that the user has called, is made where it
//! is shown. The library's users get the situation, and know no options.

use std::path::PathBuf;

use crate::system::redact;

/// What would help, where more is known about a failure than its class tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// sudo asks for a password, and there is none.
    SudoPasswordNeeded,
    /// sudo refused the password.
    SudoPasswordRefused,
    /// sudo ended before the command began.
    SudoNotBegun {
        /// Whether it had been told a password.
        was_told: bool,
    },
    /// The server speaks version 1 of the protocol, or one that does not exist.
    NewerServer,
    /// What answers may not be an SSH server.
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
        /// Why it does not have them.
        reason: &'static str,
        /// Whether it would have them if it was built with SHA-1.
        is_sha1: bool,
    },
    /// The server offers no algorithm at all.
    NothingOffered,
    /// A login shell prints something, which disturbs SFTP.
    SilentShell,
    /// The SFTP server ended before it had begun.
    IsSftpThere,
    /// The host has no SFTP, and one of the options of the copy needs it.
    InstallSftp,
    /// The host has neither SFTP nor scp.
    InstallSftpOrScp,
    /// Neither SFTP nor scp answers: the account may be made for something else.
    IsThereAShell,
    /// The directory takes no new file; the old one could be written into.
    InPlaceForNoNewFile,
    /// A file cannot be renamed; the old one could be written into.
    InPlaceForNoRename,
    /// There is room for the new file, but not beside the old one.
    InPlaceForRoom,
    /// There is no room, and what has arrived is kept.
    ResumeAfterRoom,
    /// The host gives no reason.
    NoReasonGiven,
    /// It is a directory, and only files were asked for.
    CopyDirectories,
    /// More files match than can be kept in mind, which a directory as a whole need not be.
    CopyWholeDirectory,
    /// What has arrived of a download is kept here, and the same copy goes on with it.
    KeptHere(String),
    /// What has arrived of an upload is kept there, and the same copy goes on with it.
    KeptThere(String),
    /// What has arrived of an upload is left there, as nobody could be told to remove it.
    LeftThere {
        /// Their names.
        names: String,
        /// Whether they were written into, so that they are half of the new and half of the old.
        is_in_place: bool,
    },
    /// Too few files may be open.
    MoreOpenFiles,
    /// Too few threads or processes may run.
    MoreThreads,
    /// The command was told to stop, as its input could not be read.
    InputIncomplete,
    /// There is no room for what the host prints.
    MakeRoom {
        /// Where it is kept.
        directory: PathBuf,
        /// How the command itself has ended.
        command: String,
    },
    /// What the host prints could not be written.
    OutputIncomplete {
        /// How the command itself has ended.
        command: String,
    },
    /// A fault of ours.
    Report,
    /// The server asks for a password, and there is none.
    PasswordNeeded,
    /// The server asks what only a person can answer, such as a code.
    AnswerNeeded,
    /// The password has to be changed.
    ChangePassword,
    /// Keys are turned off.
    AllowKeys,
    /// No key is of an accepted algorithm.
    AllowKeyAlgorithms,
    /// Every key has a passphrase that nobody has told.
    PassphraseNeeded,
}

impl Remedy {
    /// Replaces passwords of ours in what others have said.
    pub fn redact(&mut self) {
        if let Remedy::MakeRoom { command, .. } | Remedy::OutputIncomplete { command } = self {
            redact::redact_quotations(command);
        }
    }
}
