//! Values of ssh_config for a host, as destinations use them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustix::fs::Access;
use rustix::io::Errno;

use super::error::Unprepared;
use super::settings::Settings;
use crate::hosts;
use crate::hosts::proxy::{Hop, Proxy};
use crate::ssh::destination::Method;
use crate::ssh_config::{self, PubkeyAuthentication, Resolved};
use crate::system::resolver;
use crate::text::message::reason;

/// Returns a value that was set explicitly.
pub(super) fn value<T>(setting: &ssh_config::Setting<T>) -> Option<&T> {
    (setting.origin != ssh_config::Origin::Default).then_some(&setting.value)
}

/// Returns the address to connect from.
pub(super) fn bind_address(resolved: &Resolved) -> Result<Option<SocketAddr>, Unprepared> {
    let ssh_config::Setting { value, origin } = &resolved.settings.bind_address;
    let Some(text) = value else { return Ok(None) };
    if let Some(address) = resolver::literal(text) {
        return Ok(Some(address));
    }
    if !hosts::is_ipv6(text) {
        return Err(Unprepared::Setting(format!("{origin}: BindAddress {text}: expected an IP address")));
    }
    // A zone: the name or number of an interface.
    let address = resolver::lookup(text)
        .map_err(|reason| Unprepared::Setting(format!("{origin}: BindAddress {text}: {reason}")))?;
    Ok(address.first().copied())
}

/// Returns the methods that the configuration allows, in its order.
pub(super) fn methods(resolved: &Resolved) -> Vec<Method> {
    let set = &resolved.settings;
    let allowed = |method: &Method| match method {
        Method::PublicKey => set.pubkey_authentication.value != PubkeyAuthentication::No,
        Method::KeyboardInteractive => set.kbd_interactive_authentication.value,
        Method::Password => set.password_authentication.value,
    };
    let preferred = match &set.preferred_authentications.value {
        None => Method::PREFERRED.to_vec(),
        Some(names) => names
            .split(',')
            .filter_map(|name| Method::PREFERRED.into_iter().find(|method| method.name() == name.trim()))
            .collect(),
    };
    preferred.into_iter().filter(allowed).collect()
}

/// Returns the proxy of a host in ssh_config.
pub(super) fn proxy(resolved: &Resolved) -> Option<Proxy> {
    let hop = |hop: &ssh_config::Hop| Hop { user: hop.user.clone(), name: hop.host.clone(), port: hop.port };
    match &resolved.proxy.value {
        ssh_config::Proxy::Direct => None,
        ssh_config::Proxy::Command(command) => Some(Proxy::literal_command(command)),
        ssh_config::Proxy::Jump(hops) => Some(Proxy::Jump(hops.iter().map(hop).collect())),
    }
}

/// Checks that the files exist that the options of `settings` name as IdentityFile and CertificateFile. Those of a configuration file may be missing,
/// as with ssh, since one file often serves many machines. So may those of ssh's own options, as with pssh and ssh.
///
/// # Errors
/// One of them cannot be read.
pub(super) fn check_key_files(resolved: &Resolved, settings: &Settings) -> Result<(), Unprepared> {
    let keys = resolved.identity_files.iter().map(|file| ("IdentityFile", file));
    let certificates = resolved.certificate_files.iter().map(|file| ("CertificateFile", file));
    for (keyword, ssh_config::Setting { value, origin }) in keys.chain(certificates) {
        let ssh_config::Origin::Option(option) = origin else { continue };
        if settings.ssh_options.iter().chain(&settings.ssh_args.flags).all(|given| *given.name != **option) {
            continue;
        }
        let Some(path) = &value.path else { continue };
        let Err(error) = readable(path) else { continue };
        // An agent may hold the key if its public half exists.
        let mut public = path.clone().into_os_string();
        public.push(".pub");
        if keyword == "IdentityFile" && readable(Path::new(&public)).is_ok() {
            continue;
        }
        let text = format!("{option}: {keyword} {}: {}", path.display(), reason(&error));
        return Err(Unprepared::File { text, is_unread: true });
    }
    Ok(())
}

/// Checks that a file can be read, without reading it.
fn readable(path: &Path) -> io::Result<()> {
    let about = fs::metadata(path)?;
    if about.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    rustix::fs::access(path, Access::READ_OK).map_err(io::Error::from)
}

/// Returns the ssh_config files, and the facts about this machine that they need.
pub(super) fn sources(settings: &Settings) -> ssh_config::Sources {
    let home_of = |name: &str| {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        Some(user.dir.to_string_lossy().into_owned())
    };
    let host_name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    ssh_config::Sources {
        files: settings.config_files.clone(),
        local: ssh_config::Local {
            user: settings.login.clone(),
            uid: rustix::process::getuid().as_raw(),
            home: settings.home.as_deref().map(|home| home.to_string_lossy().into_owned()).unwrap_or_default(),
            host_name: host_name.unwrap_or_default(),
            variable: Arc::new(|name| std::env::var(name).ok()),
            home_of: Arc::new(home_of),
        },
        ssh: PathBuf::from("ssh"),
    }
}
