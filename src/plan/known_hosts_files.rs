//! The known_hosts files of a host: those of an option, of its entry, or of ssh_config.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::destinations::Destinations;
use super::error::Unprepared;
use super::precedence::Precedence;
use crate::hosts::options::HostOptions;
use crate::ssh::host_keys::known_hosts::KnownHosts;
use crate::ssh_config::{self, Resolved};
use crate::system::lock::lock;

/// The files of a host, as [`KnownHosts`] expects them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct KnownHostsFiles {
    user: Vec<PathBuf>,
    global: Vec<PathBuf>,
    hash_names: bool,
}

impl Destinations {
    /// Reads the known_hosts files of a host, each once.
    pub(crate) fn known_hosts_of(
        &self,
        resolved: &Resolved,
        options: &HostOptions,
    ) -> Result<Arc<KnownHosts>, Unprepared> {
        let set = &resolved.settings;
        let paths = |files: &ssh_config::FileList| files.0.iter().map(PathBuf::from).collect();
        let chosen = Precedence::new(&self.settings, options, resolved).known_hosts();
        let named = chosen.map(|files| self.expand_all(files)).unwrap_or_default();
        let files = if named.is_empty() {
            KnownHostsFiles {
                user: paths(&set.user_known_hosts_file.value),
                global: paths(&set.global_known_hosts_file.value),
                hash_names: set.hash_known_hosts.value,
            }
        } else {
            // `none` means no file, as with ssh, even if a file has this name.
            let user = if named == [Path::new("none")] { Vec::new() } else { named };
            KnownHostsFiles { user, global: Vec::new(), hash_names: set.hash_known_hosts.value }
        };
        let mut known = lock(&self.known_hosts);
        let load = || Arc::new(KnownHosts::load(&files.user, &files.global).hash_names(files.hash_names));
        let known = known.entry(files.clone()).or_insert_with(load);
        match known.refused() {
            Some(refused) => {
                let origin =
                    chosen.and_then(|files| files.by.origin()).or_else(|| origin_in_config(&refused.file, set));
                let origin = origin.map(|origin| format!("{origin}: ")).unwrap_or_default();
                // ssh skips it, with the keys that it revokes.
                let is_directory = refused.file.is_dir();
                Err(Unprepared::KnownHosts { text: format!("{origin}known_hosts file {refused}"), is_directory })
            }
            None => Ok(Arc::clone(known)),
        }
    }
}

/// Returns where ssh_config names a known_hosts file, unless it is a default one.
fn origin_in_config(file: &Path, set: &ssh_config::Settings) -> Option<ssh_config::Origin> {
    let is_user = set.user_known_hosts_file.value.0.iter().any(|name| Path::new(name) == file);
    let setting = if is_user { &set.user_known_hosts_file } else { &set.global_known_hosts_file };
    (setting.origin != ssh_config::Origin::Default).then(|| setting.origin.clone())
}
