//! Host names in ssh_config and known_hosts files, for completion and for advice on words that may be hosts. Unreadable files are
//! skipped.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::hosts;
use crate::ssh_config;

/// The files that name hosts.
pub struct NamingFiles {
    home: PathBuf,
}

impl NamingFiles {
    /// The files of the user with this home directory, and of the system.
    pub fn of(home: Option<&Path>) -> NamingFiles {
        NamingFiles { home: home.map(Path::to_owned).unwrap_or_default() }
    }

    /// Returns all names, those of ssh_config first.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.of_ssh_config().into_iter().flat_map(|(_, names)| names).collect();
        for file in self.known_hosts() {
            let text = read(&file);
            names.extend(of_keys(&String::from_utf8_lossy(&text)).filter_map(entry));
        }
        names
    }

    /// Finds the first file with this name.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let mut of_config = self.of_ssh_config().into_iter();
        let in_config = of_config.find(|(_, names)| names.iter().any(|known| known == name));
        let mut of_keys_files = self.known_hosts().into_iter();
        in_config.map(|(file, _)| file).or_else(|| {
            of_keys_files.find(|file| of_keys(&String::from_utf8_lossy(&read(file))).any(|known| known == name))
        })
    }

    /// Returns the ssh_config of the user and of the system, with the names in each and in its included files.
    fn of_ssh_config(&self) -> [(PathBuf, Vec<String>); 2] {
        let home = self.home.to_string_lossy();
        [(self.home.join(".ssh/config"), true), (PathBuf::from("/etc/ssh/ssh_config"), false)].map(|(file, is_user)| {
            let names = ssh_config::host_names(&file, is_user, &home);
            (file, names)
        })
    }

    /// The known_hosts files, which may be missing.
    fn known_hosts(&self) -> [PathBuf; 4] {
        let own = |name: &str| self.home.join(".ssh").join(name);
        let global = |name: &str| Path::new("/etc/ssh").join(name);
        [own("known_hosts"), own("known_hosts2"), global("ssh_known_hosts"), global("ssh_known_hosts2")]
    }
}

fn read(file: &Path) -> Vec<u8> {
    hosts::read(file).map(|contents| contents.bytes).unwrap_or_default()
}

/// Returns the names in a known_hosts file as written, without hashed names, patterns and lines with a marker.
fn of_keys(text: &str) -> impl Iterator<Item = &str> {
    let fields = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
    let names = fields.filter(|field| !field.starts_with(['#', '@', '|'])).flat_map(|field| field.split(','));
    names.filter(|name| !name.is_empty() && !name.contains(['*', '?', '!']))
}

/// Converts a name of a known_hosts file to the format of host lists, without needless brackets.
fn entry(name: &str) -> Option<String> {
    let (_, name, port) = hosts::parse_entry(name).ok()?;
    Some(hosts::HostSpec::new((None, name, port), hosts::Origin::Text("known_hosts")).to_string())
}

/// Abbreviates the home directory in a path as `~`.
pub fn shown<'p>(path: &'p Path, home: Option<&Path>) -> Cow<'p, str> {
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => Cow::Owned(format!("~/{}", rest.display())),
        None => path.to_string_lossy(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_of_keys_are_known() {
        let text = "# web0 ssh-rsa A\nweb1,10.0.0.1 ssh-ed25519 A\n|1|x=|y= ssh-rsa A\n@revoked web2 ssh-rsa A\n\n\
                    [web3]:2222,[::1]:22 ssh-rsa A\n*.example.com,web4 ssh-rsa A\n!web5,web? ssh-rsa A\n::1 ssh-rsa A\n";
        let names: Vec<String> = of_keys(text).filter_map(entry).collect();
        assert_eq!(names, ["web1", "10.0.0.1", "web3:2222", "[::1]:22", "web4", "::1"]);
    }
}
