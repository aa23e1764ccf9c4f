//! A copy of files to or from the hosts of a client, and its options.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::{Client, Run};
use crate::command::sudo::{self, Sudo};
use crate::copy::directories::directories;
use crate::copy::sources::Sources;
use crate::copy::{Copy, Download, Options, Upload};
use crate::hosts::file_names;
use crate::plan::portion::Portion;
use crate::plan::program::Program;
use crate::plan::settings::Settings;
use crate::plan::work::Work;

/// The direction of a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// A copy and its options, before it runs ([`Client::upload`], [`Client::download`]).
///
/// ```no_run
/// # use pssh::{Client, Happening, Settings};
/// # fn main() -> Result<(), pssh::Error> {
/// # let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
/// // Each host gets a file of its own.
/// let names: Vec<String> = client.hosts().iter().map(|host| format!("certificates/{}.pem", host.name)).collect();
/// let run = client.upload("", "/etc/ssl/own.pem").locals(names).preserve().checksum().run()?;
/// for event in run.events() {
///     if let Happening::Copied(progress) = event.what {
///         println!("{}: {} of {} bytes", event.host.label(), progress.done, progress.total);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until it is run"]
pub struct Transfer<'a> {
    client: &'a Client,
    way: Way,
    local: PathBuf,
    remote: PathBuf,
    locals: Option<Vec<PathBuf>>,
    remotes: Option<Vec<PathBuf>>,
    options: Options,
    sudo: Option<Sudo>,
    stop_on_errors: Option<Portion>,
    timeout: Option<Duration>,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(client: &'a Client, local: PathBuf, remote: PathBuf, way: Way) -> Transfer<'a> {
        Transfer {
            client,
            way,
            local,
            remote,
            locals: None,
            remotes: None,
            options: Options::default(),
            sudo: client.settings.sudo.clone(),
            stop_on_errors: client.settings.stop_on_errors,
            timeout: client.settings.command_timeout,
        }
    }

    /// Gives each host a local path of its own, in the order of the list: the file that it gets, or the directory for its files, which is
    /// then used as it is, without the host's name below it.
    pub fn locals(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.locals = Some(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Gives each host a remote path of its own, in the order of the list.
    pub fn remotes(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.remotes = Some(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Copies directories with all their contents.
    pub fn recursive(mut self) -> Self {
        self.options.recursive = true;
        self
    }

    /// Keeps the modes and times of the files.
    pub fn preserve(mut self) -> Self {
        self.options.preserve = true;
        self
    }

    /// Reads the copied data back and compares its SHA-256 before a file replaces the old one. It needs SFTP.
    pub fn checksum(mut self) -> Self {
        self.options.checksum = true;
        self
    }

    /// Keeps what has arrived of a copy that fails, and continues what such a copy has kept. It needs SFTP.
    pub fn resume(mut self) -> Self {
        self.options.resume = true;
        self
    }

    /// Runs the remote side with sudo as `user`, or as sudo's default (root). The password is [`Settings::sudo_password`].
    pub fn sudo(mut self, user: Option<&str>) -> Self {
        self.sudo = Some(Sudo { user: user.map(str::to_owned) });
        self
    }

    /// Stops the run once this many hosts have failed, like [`Command::stop_on_errors`](crate::Command::stop_on_errors).
    pub fn stop_on_errors(mut self, limit: Portion) -> Self {
        self.stop_on_errors = Some(limit);
        self
    }

    /// Limits the time that the copy may take on each host. The default is [`Settings::command_timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Starts the copy on all hosts, and returns without waiting for them. Local files are found and opened before the first connection.
    /// How far it is are [`Happening::Copied`](crate::Happening::Copied) events.
    ///
    /// # Errors
    /// The copy cannot be started on any host:
    ///
    /// * [`Error::Names`]: the number of paths is not that of the hosts.
    /// * [`Error::Path`]: a path is empty or has a NUL byte, or two hosts would overwrite each other's files.
    /// * [`Error::Sources`]: a local file cannot be read.
    /// * [`Error::Directory`]: the local directory of a host cannot be used.
    /// * What else [`Command::run`](crate::Command::run) lists, without [`Error::Command`] and [`Error::Arguments`].
    pub fn run(self) -> Result<Run, Error> {
        if let Some(user) = self.sudo.as_ref().and_then(|sudo| sudo.user.as_deref()) {
            sudo::check_user(user).map_err(|problem| Error::User(user.to_owned(), problem))?;
        }
        let hosts = self.client.hosts.len();
        for names in [&self.locals, &self.remotes].into_iter().flatten() {
            if names.len() != hosts {
                return Err(Error::Names(names.len(), hosts));
            }
        }
        let remotes = self.remotes.as_deref().unwrap_or(std::slice::from_ref(&self.remote));
        remotes.iter().try_for_each(|path| check(path))?;
        let (work, directories) = match self.way {
            Way::Up => (self.upload()?, Vec::new()),
            Way::Down => self.download()?,
        };
        let settings = Settings {
            program: if self.way == Way::Up { Program::Pscp } else { Program::Pslurp },
            stop_on_errors: self.stop_on_errors,
            sudo: self.sudo,
            command_timeout: self.timeout,
            verbose: false,
            ..self.client.settings.clone()
        };
        self.client.start(settings, Work::Copy(work), Vec::new(), directories)
    }

    fn upload(&self) -> Result<Copy, Error> {
        let options = self.options;
        let upload = |sources: &Arc<Sources>, remote: &Path| {
            let target = remote.as_os_str().as_bytes().to_vec();
            Copy::Upload(Arc::new(Upload { sources: Arc::clone(sources), target, options }))
        };
        let find = |local: &PathBuf| {
            check(local)?;
            Ok::<_, Error>(Arc::new(Sources::find(std::slice::from_ref(local), options.recursive, None)?))
        };
        if self.locals.is_none() && self.remotes.is_none() {
            return Ok(upload(&find(&self.local)?, &self.remote));
        }
        // Hosts with the same local file share it.
        let mut found = HashMap::new();
        let mut copies = Vec::with_capacity(self.client.hosts.len());
        for number in 0..self.client.hosts.len() {
            let local = self.locals.as_ref().map_or(&self.local, |locals| &locals[number]);
            let sources = match found.get(local) {
                Some(sources) => Arc::clone(sources),
                None => Arc::clone(found.entry(local).or_insert(find(local)?)),
            };
            copies.push(upload(&sources, self.remotes.as_ref().map_or(&self.remote, |remotes| &remotes[number])));
        }
        Ok(Copy::Each(copies))
    }

    /// Returns also the directory of each host.
    fn download(&self) -> Result<(Copy, Vec<PathBuf>), Error> {
        let places = match &self.locals {
            Some(locals) => {
                locals.iter().try_for_each(|path| check(path))?;
                let mut seen: Vec<&PathBuf> = locals.iter().collect();
                seen.sort();
                if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
                    return Err(Error::Path(twice[0].clone(), "two hosts would overwrite each other's files"));
                }
                locals.clone()
            }
            None => directories(&self.local, &file_names::directories(self.client.hosts.iter()))?,
        };
        let download = |remote: &Path| {
            let remotes = vec![remote.as_os_str().as_bytes().to_vec()];
            Arc::new(Download { remotes, target: None, options: self.options })
        };
        let copy = match &self.remotes {
            None => Copy::Download { download: download(&self.remote), directories: places.clone() },
            Some(remotes) => {
                let each = remotes.iter().zip(&places).map(|(remote, place)| Copy::Download {
                    download: download(remote),
                    directories: vec![place.clone()],
                });
                Copy::Each(each.collect())
            }
        };
        Ok((copy, places))
    }
}

/// Refuses a path that no system call or server takes.
fn check(path: &Path) -> Result<(), Error> {
    let bytes = path.as_os_str().as_bytes();
    match bytes {
        [] => Err(Error::Path(path.to_owned(), "the path is empty (use . for the directory itself)")),
        _ if bytes.contains(&0) => Err(Error::Path(path.to_owned(), "the path contains a NUL byte")),
        _ => Ok(()),
    }
}
