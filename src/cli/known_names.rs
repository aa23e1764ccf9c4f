//! The hosts that this machine knows by name: those of ssh_config and of known_hosts files. For completion, and for advice where a word
//! may be a host. Nothing here is an error: what cannot be read names no hosts.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::hosts;
use crate::ssh_config;

/// The files that name hosts.
pub struct NamingFiles {
    home: PathBuf,
}

impl NamingFiles {
    /// Those of the user with this home directory, and the system's.
    pub fn of(home: Option<&Path>) -> NamingFiles {
        NamingFiles { home: home.map(Path::to_owned).unwrap_or_default() }
    }

    /// All names, those of ssh_config first.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.of_ssh_config().into_iter().flat_map(|(_, names)| names).collect();
        for file in self.known_hosts() {
            let text = read(&file);
            names.extend(of_keys(&String::from_utf8_lossy(&text)).filter_map(entry));
        }
        names
    }

    /// The first file that names a host so.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let mut of_config = self.of_ssh_config().into_iter();
        let in_config = of_config.find(|(_, names)| names.iter().any(|known| known == name));
        let mut of_keys_files = self.known_hosts().into_iter();
        in_config.map(|(file, _)| file).or_else(|| {
            of_keys_files.find(|file| of_keys(&String::from_utf8_lossy(&read(file))).any(|known| known == name))
        })
    }

    /// The user's ssh_config and the system's, and the names in each and what it includes.
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

/// The names in the text of a known_hosts file as they are written, without hashed ones, patterns and those of lines with a marker.
fn of_keys(text: &str) -> impl Iterator<Item = &str> {
    let fields = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
    let names = fields.filter(|field| !field.starts_with(['#', '@', '|'])).flat_map(|field| field.split(','));
    names.filter(|name| !name.is_empty() && !name.contains(['*', '?', '!']))
}

/// A name of a known_hosts file as lists of hosts have it: without brackets that it does not need.
fn entry(name: &str) -> Option<String> {
    let (_, name, port) = hosts::parse_entry(name).ok()?;
    Some(hosts::HostSpec::new((None, name, port), hosts::Origin::Text("known_hosts")).to_string())
}

/// A path as users write it.
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
