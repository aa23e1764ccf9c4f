//! The settings of one host, and the expansion of their last values.

use std::path::PathBuf;

use super::command::CommandTemplate;
use super::expand::{self, Tokens};
use super::proxy_jump::Hop;
use super::settings::{Setting, Settings};
use super::values::Files;
use super::{ConfigError, Local, Origin};
use crate::text::wildcard;

/// The proxy of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing.
    Direct,
    /// A command's standard input and output, for the user's shell to `exec`.
    Command(String),
    /// Other hosts, the nearest first. Each has a configuration of its own, without the options of the command line; the
    /// ProxyJump of the first counts, those of the others don't.
    Jump(Vec<Hop>),
}

/// A file of IdentityFile or CertificateFile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFile {
    /// The path as written.
    pub written: String,
    /// The expanded path; `None` for `none`.
    pub path: Option<PathBuf>,
}

/// The agent with the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// That of `SSH_AUTH_SOCK`.
    Environment,
    /// No agent.
    None,
    /// The agent at a socket.
    Socket(PathBuf),
}

/// The agent to forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardedAgent {
    /// No agent.
    None,
    /// The agent of [`Resolved::agent`].
    Own,
    /// The agent at a socket.
    Socket(PathBuf),
}

/// The settings of a host.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The host as typed.
    pub name: String,
    /// All settings with one value, expanded as ssh does.
    pub settings: Settings,
    /// The proxy.
    pub proxy: Setting<Proxy>,
    /// Private keys, the default ones if none is configured.
    pub identity_files: Vec<Setting<IdentityFile>>,
    /// Certificates.
    pub certificate_files: Vec<Setting<IdentityFile>>,
    /// Variables to send, which may be patterns.
    pub send_env: Vec<Setting<String>>,
    /// Variables to set, `NAME=value`.
    pub set_env: Vec<Setting<String>>,
    /// The command that prints lines of known_hosts: KnownHostsCommand.
    pub known_hosts_command: Option<CommandTemplate>,
    /// The agent with the keys: IdentityAgent.
    pub agent: Agent,
    /// The agent to forward: ForwardAgent.
    pub forwarded_agent: ForwardedAgent,
}

impl Resolved {
    /// Whether a variable of this name is sent (SendEnv).
    pub fn sends(&self, name: &str) -> bool {
        self.send_env.iter().any(|pattern| wildcard::matches(name.as_bytes(), pattern.value.as_bytes()))
    }

    /// Returns every effective value: the keyword and the value as `ssh -G` prints them (algorithm lists as written),
    /// and the origin.
    pub fn explain(&self) -> Vec<(&'static str, String, Origin)> {
        let typed = ("host", self.name.clone(), Origin::HostEntry);
        let mut lines: Vec<_> = std::iter::once(typed).chain(self.settings.explain()).collect();
        // The socket is an entry of its own, which replaces that of the flag.
        if let Some(at) = lines.iter().position(|(keyword, ..)| *keyword == "ForwardAgent") {
            let (_, value, origin) = lines.remove(at);
            lines.retain(|(keyword, ..)| *keyword != "forwardagent");
            lines.push(("forwardagent", value, origin));
        }
        let files = |keyword, files: &[Setting<IdentityFile>]| -> Vec<_> {
            files.iter().map(|file| (keyword, file.value.written.clone(), file.origin.clone())).collect()
        };
        let texts = |keyword, texts: &[Setting<String>]| -> Vec<_> {
            texts.iter().map(|text| (keyword, text.value.clone(), text.origin.clone())).collect()
        };
        lines.extend(files("identityfile", &self.identity_files));
        lines.extend(files("certificatefile", &self.certificate_files));
        lines.extend(texts("sendenv", &self.send_env));
        lines.extend(texts("setenv", &self.set_env));
        match &self.proxy.value {
            Proxy::Direct => {}
            Proxy::Command(command) => lines.push(("proxycommand", command.clone(), self.proxy.origin.clone())),
            Proxy::Jump(hops) => {
                let hops: Vec<String> = hops.iter().map(ToString::to_string).collect();
                lines.push(("proxyjump", hops.join(","), self.proxy.origin.clone()));
            }
        }
        lines
    }
}

impl Settings {
    /// Expands what ssh expands, except what `ssh -G` has `expanded` already.
    pub(super) fn expand(&mut self, tokens: &Tokens<'_>, expanded: bool) -> Result<(), ConfigError> {
        let home = |text: &str| expand::home(text, tokens.local);
        let path = |text: &str| if expanded { Ok(text.to_owned()) } else { tokens.path(text) };
        if !expanded || self.user_known_hosts_file.origin == Origin::Default {
            // The values of tokens and variables may start with a ~ themselves.
            replace_all(&mut self.user_known_hosts_file, &|text| home(&tokens.path(text)?))?;
        }
        replace_all(&mut self.global_known_hosts_file, &home)?;
        for socket in [&mut self.identity_agent, &mut self.forward_agent_socket] {
            if let Some(value) = &mut socket.value {
                value.0 = path(&value.0).map_err(|reason| ConfigError::about(&socket.origin, reason))?;
            }
        }
        let revoked = &mut self.revoked_host_keys;
        revoked.value = match revoked.value.take().filter(|file| !file.eq_ignore_ascii_case("none")) {
            Some(file) => Some(path(&file).map_err(|reason| ConfigError::about(&revoked.origin, reason))?),
            None => None,
        };
        Ok(())
    }

    /// Refuses what `main` in ssh.c refuses, and what pssh does not support.
    pub(super) fn check(&mut self, proxy: &Proxy) -> Result<(), ConfigError> {
        // ssh never passes descriptors from hop to hop.
        self.proxy_use_fdpass.value &= !matches!(proxy, Proxy::Jump(_));
        if self.proxy_use_fdpass.value && matches!(proxy, Proxy::Command(_)) {
            let reason = "ProxyUseFdpass is not supported".to_owned();
            return Err(ConfigError::about(&self.proxy_use_fdpass.origin, reason));
        } else if self.connection_attempts.value == 0 {
            let reason = "connectionattempts: at least 1 is needed".to_owned();
            return Err(ConfigError::about(&self.connection_attempts.origin, reason));
        }
        Ok(())
    }

    /// Returns KnownHostsCommand, with everything expanded that is the same for all uses.
    pub(super) fn known_hosts_command(&self, tokens: &Tokens<'_>) -> Result<Option<CommandTemplate>, ConfigError> {
        let Setting { value, origin } = &self.known_hosts_command;
        let command = value.as_ref().filter(|command| !command.is_none());
        let template = command.map(|command| CommandTemplate::new(command, tokens)).transpose();
        template.map_err(|reason| ConfigError::about(origin, reason))
    }

    /// Interprets IdentityAgent as `main` in ssh.c does.
    pub(super) fn agent(&self, local: &Local) -> Agent {
        match self.identity_agent.value.as_ref().map(|socket| socket.0.as_str()) {
            None | Some("SSH_AUTH_SOCK") => Agent::Environment,
            Some("none") => Agent::None,
            Some(text) => match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                Some(name) => (local.variable)(name).map_or(Agent::None, |socket| Agent::Socket(socket.into())),
                None => Agent::Socket(text.into()),
            },
        }
    }

    /// Interprets ForwardAgent as `main` in ssh.c does.
    pub(super) fn forwarded_agent(&self, local: &Local) -> ForwardedAgent {
        let socket = self.forward_agent_socket.value.as_ref().map(|socket| socket.0.as_str());
        let at = |socket: &str| ForwardedAgent::Socket(socket.into());
        match (self.forward_agent.value, socket) {
            (false, _) => ForwardedAgent::None,
            (true, None) => ForwardedAgent::Own,
            (true, Some(text)) => match text.strip_prefix('$') {
                Some(name) => (local.variable)(name).map_or(ForwardedAgent::None, |socket| at(&socket)),
                None => at(text),
            },
        }
    }
}

fn replace_all(files: &mut Setting<Files>, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<(), ConfigError> {
    for name in &mut files.value.0 {
        *name = expand(name).map_err(|reason| ConfigError::about(&files.origin, reason))?;
    }
    Ok(())
}
