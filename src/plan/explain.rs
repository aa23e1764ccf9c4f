//! `--explain`: every effective setting of a host, with its origin.

mod login;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::destinations::Destinations;
use super::error::Unprepared;
use super::precedence::{self, Agent, Precedence, SaidBy};
use super::settings::{Settings, WantedVariable};
use crate::hosts::options::{Given, HostKeyCheck, HostOptions};
use crate::hosts::proxy::Proxy;
use crate::hosts::{self, HostSpec};
use crate::ssh::algorithms::{Algorithms, Kind};
use crate::ssh_config;
use crate::text::duration::seconds;

/// A keyword of `ssh -G`, or a key of `--host-config` if ssh has none; its value and origin. [`NOT_TRIED`] for
/// something that will not be tried, with the reason in place of the origin.
pub type Explained = (&'static str, String, ssh_config::Origin);

/// The keyword for what will not be tried. Looks like a comment of ssh_config(5), so that it is not read as a setting.
pub const NOT_TRIED: &str = "# not tried:";

/// Replaces the value of a variable, which may be a secret, so that the output of --explain is safe to share.
const HIDDEN: &str = "***";

impl Destinations {
    /// Returns every effective setting of a host in the keywords of `ssh -G`, each with its origin.
    ///
    /// # Errors
    /// ssh_config is wrong about it.
    pub fn explain(&self, spec: &HostSpec) -> Result<Vec<Explained>, Unprepared> {
        let resolved = self.resolve(spec)?;
        let (settings, options) = (&self.settings, &*spec.options);
        let mut lines = Lines(resolved.explain());
        lines.name_entry(spec, settings);
        // Some defaults differ from ssh's.
        let said = Precedence::new(settings, options, &resolved);
        let (timeout, attempts, check) = (said.connect_timeout(), said.attempts(), said.host_key_check());
        lines.default("connecttimeout", timeout.value.as_secs().to_string());
        lines.default("connectionattempts", attempts.value.to_string());
        lines.default("serveraliveinterval", said.keepalive().interval.as_secs().to_string());
        lines.default("stricthostkeychecking", word(check.value).to_owned());
        lines.hide_values();
        for WantedVariable { name, value } in settings.variables.iter().rev() {
            let text = value.as_ref().map(|_| format!("{name}={HIDDEN}"));
            let (keyword, value) = text.map_or(("sendenv", name.clone()), |text| ("setenv", text));
            lines.0.insert(1, (keyword, value, ssh_config::Origin::Option(Arc::clone(&settings.names.variables))));
        }

        if let Some(origin) = timeout.by.origin() {
            lines.say(&["connecttimeout"], vec![seconds(&timeout.value)], origin);
        }
        if let Some(origin) = attempts.by.origin() {
            lines.say(&["connectionattempts"], vec![attempts.value.to_string()], origin);
        }
        if let Some(origin) = check.by.origin() {
            lines.say(&["stricthostkeychecking"], vec![word(check.value).to_owned()], origin);
        }
        lines.name_algorithms(&resolved)?;
        let known_hosts = said.known_hosts();
        if let Some((files, origin)) = known_hosts.and_then(|files| Some((files.value, files.by.origin()?))) {
            let files = vec![paths(files).join(" ")];
            lines.say(&["userknownhostsfile", "globalknownhostsfile"], files, origin);
        }
        let agent = said.agent();
        match (agent.value, agent.by.origin()) {
            (Agent::Nobody, Some(origin)) => lines.say(&["identityagent"], vec!["none".to_owned()], origin),
            (Agent::Named(socket), Some(origin)) => {
                lines.say(&["identityagent"], vec![socket.display().to_string()], origin);
            }
            _ => {}
        }
        self.explain_login(spec, &resolved, &mut lines)?;
        let proxy = said.proxy();
        self.explain_proxy(proxy.value, proxy.by.origin(), &resolved.proxy.origin, &mut lines)?;
        lines.say_own(options);
        Ok(lines.0)
    }

    /// Adds the route to the host: the whole chain, including the hosts that ssh_config puts before it.
    fn explain_proxy(
        &self,
        proxy: Option<Proxy>,
        said: Option<ssh_config::Origin>,
        configured: &ssh_config::Origin,
        lines: &mut Lines,
    ) -> Result<(), Unprepared> {
        match (proxy, said) {
            (Some(Proxy::Jump(hops)), said) => {
                let chain = self.whole_chain(&hops)?;
                let mut origin = said.unwrap_or_else(|| configured.clone());
                if !chain.origins.is_empty() {
                    let before: Vec<String> = chain.origins.iter().map(ToString::to_string).collect();
                    origin =
                        ssh_config::Origin::Option(format!("{origin}, and before that {}", before.join(", ")).into());
                }
                let first = chain.hops.first().cloned();
                lines.say(&["proxyjump", "proxycommand"], vec![Proxy::Jump(chain.hops).to_string()], origin);
                // The first one's own command in ssh_config.
                if let Some(first) = first
                    && let Some((command, origin)) = self.own_command(&first)?
                {
                    let origin = ssh_config::Origin::Option(format!("of the jump host {first}, {origin}").into());
                    lines.say(&["proxycommand"], vec![command], origin);
                }
            }
            (Some(command), Some(origin)) => {
                lines.say(&["proxycommand", "proxyjump"], vec![command.to_string()], origin);
            }
            (None, Some(origin)) => lines.say(&["proxyjump", "proxycommand"], vec!["none".to_owned()], origin),
            (_, None) => {}
        }
        Ok(())
    }
}

/// The lines so far.
struct Lines(Vec<Explained>);

impl Lines {
    /// Replaces `host entry` by its place, or by what it really is.
    fn name_entry(&mut self, spec: &HostSpec, settings: &Settings) {
        for (keyword, _, origin) in &mut self.0 {
            let by = match *keyword {
                _ if *origin != ssh_config::Origin::HostEntry => continue,
                "user" => precedence::user(spec, settings).map(|user| user.by),
                "port" => precedence::port(spec).map(|port| port.by),
                _ => Some(SaidBy::Entry(&spec.origin)),
            };
            if matches!(by, Some(SaidBy::Entry(hosts::Origin::Text(_)))) {
                continue;
            }
            *origin = by.and_then(SaidBy::origin).unwrap_or(ssh_config::Origin::HostEntry);
        }
    }

    /// Hides the values of SetEnv.
    fn hide_values(&mut self) {
        for (_, value, _) in self.0.iter_mut().filter(|line| line.0 == "setenv") {
            if let Some(end) = value.find('=') {
                value.replace_range(end + 1.., HIDDEN);
            }
        }
    }

    /// Replaces lists as written by the algorithms that are offered.
    fn name_algorithms(&mut self, resolved: &ssh_config::Resolved) -> Result<(), Unprepared> {
        let algorithms = Algorithms::of(&resolved.settings).map_err(Unprepared::Setting)?;
        for kind in Kind::ALL {
            let keyword = kind.explained();
            let names = algorithms.names(kind).join(",");
            match self.0.iter_mut().find(|line| line.0 == keyword) {
                Some(line) => line.1 = names,
                None => self.0.push((keyword, names, ssh_config::Origin::Default)),
            }
        }
        Ok(())
    }

    /// Sets the default of a keyword that is not set elsewhere.
    fn default(&mut self, keyword: &str, value: String) {
        let unsaid = |line: &&mut Explained| line.0 == keyword && line.2 == ssh_config::Origin::Default;
        if let Some(line) = self.0.iter_mut().find(unsaid) {
            line.1 = value;
        }
    }

    /// Replaces all lines of `keywords` by `values` of the first one.
    fn say(&mut self, keywords: &[&'static str], values: Vec<String>, origin: ssh_config::Origin) {
        self.0.retain(|(keyword, ..)| !keywords.contains(keyword));
        for value in values.into_iter().rev() {
            self.0.insert(1, (keywords[0], value, origin.clone()));
        }
    }

    /// Adds the settings without a keyword of ssh.
    fn say_own(&mut self, options: &HostOptions) {
        let own = [
            ("alias", options.alias.as_ref().map(|given| (given.value.clone(), &given.origin))),
            (
                "password-file",
                options.password_file.as_ref().map(|given| (given.value.display().to_string(), &given.origin)),
            ),
            ("timeout", options.timeout.as_deref().map(time)),
            ("channel-timeout", options.channel_timeout.as_deref().map(time)),
            ("retry-delay", options.retry_delay.as_deref().map(time)),
        ];
        for (key, said) in own {
            if let Some((value, origin)) = said {
                self.0.push((key, value, ssh_config::Origin::Option(origin.to_string().into())));
            }
        }
    }
}

/// Formats a value as `ssh -G` does.
fn word(check: HostKeyCheck) -> &'static str {
    match check {
        HostKeyCheck::Strict => "true",
        HostKeyCheck::AcceptNew => "accept-new",
        HostKeyCheck::Off => "false",
    }
}

fn time(given: &Given<Duration>) -> (String, &hosts::Origin) {
    (seconds(&given.value), &given.origin)
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}
