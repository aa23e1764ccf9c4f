//! The login to a host: identities in order, and methods.

use std::path::{Path, PathBuf};

use super::{Lines, NOT_TRIED, paths};
use crate::hosts::HostSpec;
use crate::plan::configured::methods;
use crate::plan::destinations::Destinations;
use crate::plan::error::Unprepared;
use crate::plan::precedence::Precedence;
use crate::ssh::destination::Method;
use crate::ssh::host_keys::known_hosts::key_type;
use crate::ssh::keys::agent::AgentKey;
use crate::ssh::keys::algorithms::PubkeyAlgorithms;
use crate::ssh::keys::identities::{AGENT_IDENTITIES, DEFAULT_IDENTITIES};
use crate::ssh::keys::private_key::{KeyError, Loaded};
use crate::ssh_config::{self, Origin, Resolved};
use crate::text::message::reason;

/// A private key file that may be tried.
struct Candidate {
    /// As written.
    written: String,
    path: PathBuf,
    origin: Origin,
    /// Whether it is only a default: then a missing file is not reported.
    is_default: bool,
}

/// Lines about identities, in the order in which they are tried.
#[derive(Default)]
struct Told {
    tried: Vec<(&'static str, String, Origin)>,
    untried: Vec<(&'static str, String, Origin)>,
}

impl Destinations {
    /// Adds which configured identities and methods are tried.
    pub(super) fn explain_login(
        &self,
        spec: &HostSpec,
        resolved: &Resolved,
        lines: &mut Lines,
    ) -> Result<(), Unprepared> {
        let has_keys = methods(resolved).contains(&Method::PublicKey);
        let told = if has_keys { self.identities_told(spec, resolved, lines)? } else { Told::default() };
        let can_offer = !told.tried.is_empty();
        lines.say(&["identityfile"], Vec::new(), Origin::Default);
        let place = lines.0.iter().position(|line| line.0 == "certificatefile").unwrap_or(lines.0.len());
        lines.0.splice(place..place, told.tried.into_iter().chain(told.untried));

        let (settings, set) = (&self.settings, &resolved.settings);
        let own_password = Precedence::new(settings, &spec.options, resolved).password_file(false);
        let has_password = settings.password.is_some() || own_password.is_some();
        let may_ask = !set.batch_mode.value && self.can_ask();
        let is_tried = |method: &Method| match method {
            Method::PublicKey => can_offer,
            Method::KeyboardInteractive => has_password || may_ask,
            Method::Password => has_password,
        };
        let (tried, untried): (Vec<Method>, Vec<Method>) = methods(resolved).into_iter().partition(is_tried);
        let names = |methods: &[Method]| methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(",");
        let tried = if tried.is_empty() { "none".to_owned() } else { names(&tried) };
        let why = "what the settings, keys, passwords and terminal allow";
        lines.0.push(("methods", tried, Origin::Option(why.into())));
        let no_password = format!("no password; {} asks for one", settings.names.ask_password);
        for method in untried {
            let why: &str = match method {
                Method::PublicKey => "no key to offer",
                Method::KeyboardInteractive => "no password, and no terminal to ask on",
                Method::Password => &no_password,
            };
            lines.0.push((NOT_TRIED, format!("method {}", method.name()), Origin::Option(why.into())));
        }
        Ok(())
    }

    fn identities_told(&self, spec: &HostSpec, resolved: &Resolved, lines: &mut Lines) -> Result<Told, Unprepared> {
        let (settings, options) = (&self.settings, &*spec.options);
        let mut told = Told::default();
        let socket = self.agent_of(resolved, options);
        let listing = socket.as_ref().map(|socket| self.keyring.agent(socket, &self.cancel));
        let mut held = Vec::new();
        if let (Some(socket), Some(answer)) = (&socket, listing.as_deref()) {
            if !lines.0.iter().any(|line| line.0 == "identityagent") {
                let origin = Origin::Option("SSH_AUTH_SOCK".into());
                lines.0.push(("identityagent", socket.display().to_string(), origin));
            }
            match answer {
                Ok(listing) => held.clone_from(&listing.keys),
                Err(problem) => {
                    let (_, why) = problem.rsplit_once(": ").unwrap_or(("", problem));
                    let what = format!("identityagent {}", socket.display());
                    told.untried.push((NOT_TRIED, what, Origin::Option(why.into())));
                }
            }
        }
        let list = resolved.settings.pubkey_accepted_algorithms.value.as_ref();
        let allowed = PubkeyAlgorithms::of(list).map_err(|error| Unprepared::Setting(error.to_string()))?;

        let said = Precedence::new(settings, options, resolved);
        let named: Vec<Candidate> = match said.identities().and_then(|files| Some((files.value, files.by.origin()?))) {
            Some((files, origin)) => {
                let written = paths(files);
                let all = files.iter().zip(written);
                let candidate = |(path, written): (&PathBuf, String)| {
                    let (path, origin) = (self.expand(path), origin.clone());
                    Candidate { written, path, origin, is_default: false }
                };
                all.map(candidate).collect()
            }
            None => Vec::new(),
        };
        let configured: Vec<Candidate> = said.configured_identities().iter().filter_map(configured).collect();
        let directory = settings.default_identities.as_deref().filter(|_| said.tries_default_identities());
        let default = |names: &[&str]| -> Vec<Candidate> {
            directory.iter().flat_map(|directory| names.iter().map(|name| default(directory, name))).collect()
        };
        let defaults = default(&DEFAULT_IDENTITIES);

        for candidate in &named {
            self.tell(candidate, &allowed, &mut held, &mut told);
        }
        let (by_agent, others): (Vec<_>, Vec<_>) =
            configured.into_iter().partition(|candidate| self.holder(candidate, &held).is_some());
        for candidate in &by_agent {
            self.tell(candidate, &allowed, &mut held, &mut told);
        }
        let only_held = default(&AGENT_IDENTITIES);
        let all = defaults.iter().chain(&only_held);
        all.filter(|candidate| self.holder(candidate, &held).is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|candidate| self.tell(candidate, &allowed, &mut held, &mut told));
        if let Some(socket) = socket.as_ref().filter(|_| !resolved.settings.identities_only.value) {
            for key in held.drain(..) {
                let kind = key_type(&key.public_key).unwrap_or("unknown type");
                let (what, origin) = (format!("{kind} {}", key.comment), format!("agent {}", socket.display()));
                if allowed.take(&key.public_key) {
                    told.tried.push(("agentkey", what, Origin::Option(origin.into())));
                } else {
                    told.untried.push((NOT_TRIED, format!("agentkey {what}"), Origin::Option(NOT_ALLOWED.into())));
                }
            }
        }
        for candidate in others.iter().chain(&defaults) {
            if !told.tried.iter().any(|line| line.1 == candidate.written) {
                self.tell(candidate, &allowed, &mut held, &mut told);
            }
        }
        Ok(told)
    }

    /// Returns the index of a file's key among the agent's keys.
    fn holder(&self, candidate: &Candidate, held: &[AgentKey]) -> Option<usize> {
        let loaded = self.keyring.file(&candidate.path);
        let Ok(loaded) = &*loaded else { return None };
        let of = |blob: Option<&Vec<u8>>| held.iter().position(|key| Some(&key.public_key) == blob);
        let certificate = match loaded {
            Loaded::Public(half) => half.certificate.as_ref().map(|certificate| &certificate.blob),
            _ => None,
        };
        of(loaded.public_key()).or_else(|| of(certificate))
    }

    /// Adds whether a file is tried.
    fn tell(&self, candidate: &Candidate, allowed: &PubkeyAlgorithms, held: &mut Vec<AgentKey>, told: &mut Told) {
        let Candidate { written, origin, .. } = candidate;
        let loaded = self.keyring.file(&candidate.path);
        let holder = self.holder(candidate, held);
        let problem = match &*loaded {
            Ok(loaded) if loaded.public_key().is_some_and(|key| !allowed.take_any(key)) => Some(NOT_ALLOWED.to_owned()),
            Ok(Loaded::Key(_) | Loaded::Encrypted(_)) => None,
            Ok(Loaded::Public(_)) if holder.is_some() => None,
            Ok(Loaded::Public(half)) if candidate.is_default && is_missing(&half.problem) => return,
            Ok(Loaded::Public(half)) => Some(format!("{}, and no agent has the key", in_words(&half.problem))),
            Err(error) if candidate.is_default && is_missing(error) => return,
            Err(error) => Some(in_words(error)),
        };
        if let Some(place) = holder {
            held.remove(place);
        }
        match problem {
            None => told.tried.push(("identityfile", written.clone(), origin.clone())),
            Some(problem) => {
                let why = Origin::Option(format!("{origin}: {problem}").into());
                told.untried.push((NOT_TRIED, format!("identityfile {written}"), why));
            }
        }
    }
}

const NOT_ALLOWED: &str = "PubkeyAcceptedAlgorithms does not allow it";

fn configured(file: &ssh_config::Setting<ssh_config::IdentityFile>) -> Option<Candidate> {
    let (written, origin) = (file.value.written.clone(), file.origin.clone());
    Some(Candidate { written, path: file.value.path.clone()?, origin, is_default: false })
}

fn default(directory: &Path, name: &str) -> Candidate {
    let (written, path) = (format!("~/.ssh/{name}"), directory.join(name));
    Candidate { written, path, origin: Origin::Default, is_default: true }
}

fn is_missing(error: &KeyError) -> bool {
    matches!(error, KeyError::Read(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn in_words(error: &KeyError) -> String {
    match error {
        KeyError::Read(error) => reason(error),
        error => error.to_string(),
    }
}
