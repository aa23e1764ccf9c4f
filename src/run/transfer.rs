//! Copies on a session: over SFTP, and where the host has no SFTP server, by scp, unless the user wants one of them (`-x -O`, `-x -s`).

use std::path::PathBuf;
use std::sync::Arc;

use super::attempt::Attempt;
use crate::copy::Protocol;
use crate::copy::download_root::DownloadRoot;
use crate::copy::scp;
use crate::copy::sftp_download::Downloading;
use crate::copy::sftp_upload::Uploading;
use crate::copy::sources::Sources;
use crate::copy::{Download, Upload, random_tag};
use crate::events::event::{Event, EventKind, Outcome};
use crate::events::host_error::HostError;
use crate::plan::job::Job;
use crate::ssh::channel::dialogue::Dialogue;
use crate::ssh::channel::requests::Start;
use crate::ssh::session::Session;
use crate::ssh::watch::Watch;
use crate::system::open_files::Held;

/// The name of the subsystem (draft-ietf-secsh-filexfer-02 section 2).
const SUBSYSTEM: &str = "sftp";
/// An SFTP server as another user's program: no server has a subsystem for that. It is where the distributions have it, or on PATH.
const SFTP_SERVER: &[u8] = b"sh -c 'for p in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec/ssh /usr/libexec /usr/lib \
                             /usr/local/libexec; do [ -x $p/sftp-server ] && exec $p/sftp-server; done; exec sftp-server'";

/// What is copied, and which way.
pub enum Copy {
    /// To the hosts.
    Upload(Arc<Upload>),
    /// From the hosts.
    Download {
        /// What of each.
        download: Arc<Download>,
        /// Into which directory, by the number of the job.
        directories: Vec<PathBuf>,
    },
}

impl Copy {
    /// What would be done for `job`, in words.
    pub fn describe(&self, job: &Job) -> String {
        match self {
            Copy::Upload(upload) => {
                let (files, bytes) = (upload.sources.entries().len(), upload.sources.total());
                let target = String::from_utf8_lossy(&upload.target);
                let plural = if files == 1 { "" } else { "s" };
                let target = if target.is_empty() { "~" } else { &target };
                let skipped = upload.sources.skipped().map(|skipped| format!("; not {skipped}")).unwrap_or_default();
                format!("copy {files} file{plural}, {bytes} bytes, to {target}{skipped}")
            }
            Copy::Download { download, directories } => {
                let remotes: Vec<_> = download.remotes.iter().map(|path| String::from_utf8_lossy(path)).collect();
                let name = download.target.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                format!("copy {} to {}", remotes.join(" "), directories[job.number].join(&*name).display())
            }
        }
    }

    /// The descriptors that it takes of ours.
    pub fn held(&self) -> Held {
        match self {
            Copy::Upload(_) => Held { per_host: 0, besides: Sources::DESCRIPTORS },
            Copy::Download { .. } => Held { per_host: Downloading::DESCRIPTORS as u64, besides: 0 },
        }
    }

    /// What is spoken with an SFTP server.
    fn over_sftp(&self, job: &Job) -> Result<Box<dyn Dialogue>, Outcome> {
        Ok(match self {
            Copy::Upload(upload) => Box::new(Uploading::new(Arc::clone(upload))),
            Copy::Download { download, directories } => {
                Box::new(Downloading::new(Arc::clone(download), place(directories, job)?))
            }
        })
    }

    /// What is spoken with scp, and how that is started.
    fn over_scp(&self, job: &Job) -> Result<(Vec<u8>, Box<dyn Dialogue>), Outcome> {
        Ok(match self {
            Copy::Upload(upload) => {
                let line = scp::upload::command(upload, &random_tag());
                (line, Box::new(scp::upload::Sending::new(Arc::clone(upload))))
            }
            Copy::Download { download, directories } => {
                let line = scp::download::command(download);
                (line, Box::new(scp::download::Receiving::new(Arc::clone(download), place(directories, job)?)))
            }
        })
    }
}

/// The directory of the job's host.
fn place(directories: &[PathBuf], job: &Job) -> Result<DownloadRoot, Outcome> {
    DownloadRoot::open(&directories[job.number]).map_err(|error| HostError::from(error).into())
}

impl Attempt<'_> {
    /// Copies.
    ///
    /// # Errors
    /// The outcome, if nothing was sent.
    pub fn copy(
        &self,
        session: &mut Session,
        copy: &Copy,
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Outcome, Outcome> {
        let wanted = self.runner.settings.ssh_args.protocol;
        if wanted != Some(Protocol::Scp) {
            let start = match self.is_other_user() {
                true => Start::Command(SFTP_SERVER),
                false => Start::Subsystem(SUBSYSTEM),
            };
            let mut dialogue = copy.over_sftp(self.job)?;
            let channel = self.converse(session, start, &mut *dialogue, watch, note)?;
            let is_missing = !dialogue.has_begun() && !session.is_dead() && has_no_program(&channel);
            let outcome = dialogue.conclude(channel);
            if !is_missing || wanted == Some(Protocol::Sftp) {
                self.tell_end(&*dialogue);
                return Ok(outcome);
            }
            drop(dialogue);
            note(&|| format!("there is no SFTP server ({outcome}); trying scp"));
        }
        let (line, mut dialogue) = copy.over_scp(self.job)?;
        // sudo runs a program, and `exec` is the shell's.
        let program = if self.is_other_user() { line.strip_prefix(b"exec ").unwrap_or(&line) } else { &line };
        let outcome = self.converse(session, Start::Command(program), &mut *dialogue, watch, note)?;
        let outcome = dialogue.conclude(outcome);
        self.tell_end(&*dialogue);
        Ok(outcome)
    }

    /// How far it has come at last.
    pub(super) fn tell_end(&self, dialogue: &dyn Dialogue) {
        if let Some(progress) = dialogue.progress() {
            let _ = self.events.send(Event::now(self.job.number, EventKind::Copied(progress)));
        }
    }
}

/// Whether a channel on which nobody has answered had no program: the subsystem is refused, or what was started has ended at once.
fn has_no_program(channel: &Outcome) -> bool {
    match channel {
        Outcome::Exited(_) | Outcome::Signaled { .. } => true,
        Outcome::Failed(error) => matches!(**error, HostError::Ssh { .. } | HostError::Lost { .. }),
        Outcome::TimedOut { .. } | Outcome::Cancelled { .. } | Outcome::Unstopped(_) => false,
    }
}
