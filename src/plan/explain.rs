//! `--explain`: every effective setting of a host, and where it comes from.

mod login;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::destinations::{CONNECT_TIMEOUT, Destinations, KEEPALIVE};
use super::error::Unprepared;
use super::settings::{AgentChoice, WantedVariable};
use crate::hosts::options::{AgentUse, Given, HostKeyCheck, HostOptions, Maybe};
use crate::hosts::proxy::Proxy;
use crate::hosts::{self, HostSpec};
use crate::ssh::algorithms::{Algorithms, Kind};
use crate::ssh_config;
use crate::text::duration::seconds;

/// A keyword of `ssh -G`, or a key of `--host-config` where ssh has none; its value, and where that comes from. [`NOT_TRIED`] for
/// something that will not be tried; why not is where its origin would be.
pub type Explained = (&'static str, String, ssh_config::Origin);

/// The keyword of what will not be tried. Like a comment of ssh_config(5), so that nothing takes it for a setting.
pub const NOT_TRIED: &str = "# not tried:";

/// What stands for the value of a variable: it may be a secret, and nobody should have to fear to show others what --explain says.
const HIDDEN: &str = "***";

impl Destinations {
    /// Every effective setting of a host in the keywords of `ssh -G`, each with its origin.
    ///
    /// # Errors
    /// ssh_config is wrong about it.
    pub fn explain(&self, spec: &HostSpec) -> Result<Vec<Explained>, Unprepared> {
        let resolved = self.resolve(spec)?;
        let (settings, options) = (&self.settings, &*spec.options);
        let mut lines = Lines(resolved.explain());
        lines.name_entry(spec, settings.user_origin);
        // Where nobody says anything, our defaults are not all ssh's.
        lines.default("connecttimeout", CONNECT_TIMEOUT.as_secs().to_string());
        lines.default("connectionattempts", settings.retry.attempts.to_string());
        lines.default("serveraliveinterval", KEEPALIVE.interval.as_secs().to_string());
        lines.default("stricthostkeychecking", "true".to_owned());
        lines.hide_values();
        for WantedVariable { name, value } in settings.variables.iter().rev() {
            let text = value.as_ref().map(|_| format!("{name}={HIDDEN}"));
            let (keyword, value) = text.map_or(("sendenv", name.clone()), |text| ("setenv", text));
            lines.0.insert(1, (keyword, value, ssh_config::Origin::Option("--env".into())));
        }

        if let Some((timeout, origin)) =
            either(&options.connect_timeout, &settings.connect_timeout, "--connect-timeout")
        {
            lines.say(&["connecttimeout"], vec![seconds(timeout)], origin);
        }
        let attempts = settings.attempts_given.then_some(settings.retry.attempts);
        if let Some((attempts, origin)) = either(&options.num_retries, &attempts, "--num-retries") {
            lines.say(&["connectionattempts"], vec![attempts.to_string()], origin);
        }
        if let Some((check, origin)) = either(&options.host_key_check, &settings.host_key_check, "--host-key-check") {
            let word = match check {
                HostKeyCheck::Strict => "true",
                HostKeyCheck::AcceptNew => "accept-new",
                HostKeyCheck::Off => "false",
            };
            lines.say(&["stricthostkeychecking"], vec![word.to_owned()], origin);
        }
        let some = |files: &Vec<PathBuf>| Some(files.clone()).filter(|files| !files.is_empty());
        lines.name_algorithms(&resolved)?;
        if let Some((files, origin)) = either(&options.known_hosts, &some(&settings.known_hosts), "--known-hosts") {
            let files = vec![paths(files).join(" ")];
            lines.say(&["userknownhostsfile", "globalknownhostsfile"], files, origin);
        }
        let agent = match &settings.agent {
            AgentChoice::Nobody => Some((AgentUse::Nobody, "--no-agent")),
            AgentChoice::Named(socket) => Some((AgentUse::Socket(socket.clone()), "--agent")),
            AgentChoice::Usual(_) => None,
        };
        let option = agent.as_ref().map_or("", |(_, option)| option);
        match either(&options.agent, &agent.as_ref().map(|(agent, _)| agent.clone()), option) {
            Some((AgentUse::Nobody, origin)) => lines.say(&["identityagent"], vec!["none".to_owned()], origin),
            Some((AgentUse::Socket(socket), origin)) => {
                lines.say(&["identityagent"], vec![socket.display().to_string()], origin);
            }
            Some((AgentUse::Usual, _)) | None => {}
        }
        self.explain_login(spec, &resolved, &mut lines)?;
        let option = "--jump or --proxy-command";
        let said = either(&options.proxy, &settings.proxy, option).map(|(_, origin)| origin);
        self.explain_proxy(self.proxy(spec, &resolved), said, &resolved.proxy.origin, &mut lines)?;
        lines.say_own(options);
        lines.name_configured(&settings.configured);
        Ok(lines.0)
    }

    /// How the host is reached: the whole chain, with what ssh_config puts before it.
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
                // A command of the first one's own, as ssh_config has it.
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
    /// Says instead of `host entry` where that is, or that it is something else.
    fn name_entry(&mut self, spec: &HostSpec, user_origin: &str) {
        let options = &*spec.options;
        for (keyword, _, origin) in &mut self.0 {
            let own = match *keyword {
                _ if *origin != ssh_config::Origin::HostEntry => continue,
                "user" if spec.user.is_none() => match &options.user {
                    Some(given) => given.origin.to_string(),
                    None => user_origin.to_owned(),
                },
                "port" if spec.port.is_none() => {
                    options.port.as_ref().map_or_else(String::new, |given| given.origin.to_string())
                }
                _ if matches!(spec.origin, hosts::Origin::Text(_)) => continue,
                _ => spec.origin.to_string(),
            };
            *origin = ssh_config::Origin::Option(own.into());
        }
    }

    /// Keeps the values of SetEnv to ourselves.
    fn hide_values(&mut self) {
        for (_, value, _) in self.0.iter_mut().filter(|line| line.0 == "setenv") {
            if let Some(end) = value.find('=') {
                value.replace_range(end + 1.., HIDDEN);
            }
        }
    }

    /// Says instead of an option where the user's config.toml has its value.
    fn name_configured(&mut self, configured: &HashMap<String, hosts::Origin>) {
        for (_, _, origin) in &mut self.0 {
            let ssh_config::Origin::Option(option) = origin else { continue };
            let option = if &**option == "-l" { "--user" } else { option };
            if let Some(place) = configured.get(option) {
                *origin = ssh_config::Origin::Option(place.to_string().into());
            }
        }
    }

    /// The algorithms that are offered, for their lists as they are written.
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

    /// What counts where nobody says anything.
    fn default(&mut self, keyword: &str, value: String) {
        let unsaid = |line: &&mut Explained| line.0 == keyword && line.2 == ssh_config::Origin::Default;
        if let Some(line) = self.0.iter_mut().find(unsaid) {
            line.1 = value;
        }
    }

    /// Puts `values` of the first of `keywords` in place of what there is of all of them.
    fn say(&mut self, keywords: &[&'static str], values: Vec<String>, origin: ssh_config::Origin) {
        self.0.retain(|(keyword, ..)| !keywords.contains(keyword));
        for value in values.into_iter().rev() {
            self.0.insert(1, (keywords[0], value, origin.clone()));
        }
    }

    /// What ssh has no keyword for.
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

/// What is said of the host, or else by an option of the command line.
fn either<'a, T>(own: &'a Maybe<T>, all: &'a Option<T>, option: &str) -> Option<(&'a T, ssh_config::Origin)> {
    match (own, all) {
        (Some(given), _) => Some((&given.value, ssh_config::Origin::Option(given.origin.to_string().into()))),
        (None, Some(value)) => Some((value, ssh_config::Origin::Option(option.into()))),
        (None, None) => None,
    }
}

fn time(given: &Given<Duration>) -> (String, &hosts::Origin) {
    (seconds(&given.value), &given.origin)
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}
