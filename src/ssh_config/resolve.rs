//! Applies the lines to one host.

use super::expand::{self, Tokens};
use super::keywords::{Action, Route};
use super::parse::{self, Block, Condition, Criterion, File, Line, LineAction, Test};
use super::pattern::PatternList;
use super::proxy_jump::{self, Hop};
use super::resolved::{IdentityFile, Proxy, Resolved};
use super::settings::{Assignment, Chosen, Setting};
use super::values::{AddressFamily, CanonicalizeHostname};
use super::{Answer, Config, ConfigError, Local, Origin, Query, Question, fallback, keywords};
use crate::text::suggest::did_you_mean;
use crate::text::wildcard;

/// OpenSSH's SSH_MAX_IDENTITY_FILES and SSH_MAX_CERTIFICATE_FILES.
const MOST_IDENTITIES: usize = 100;

/// The default identities of ssh, in its order.
const DEFAULT_IDENTITIES: [&str; 7] = [
    "~/.ssh/id_rsa",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_ecdsa_sk",
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ed25519_sk",
    "~/.ssh/id_xmss",
    "~/.ssh/id_dsa",
];

/// Why a pass over the lines ends early.
enum Stop {
    Error(ConfigError),
    /// Only ssh can tell.
    Ask(Origin, &'static str),
}

impl From<ConfigError> for Stop {
    fn from(error: ConfigError) -> Stop {
        Stop::Error(error)
    }
}

static HOST_ENTRY: Origin = Origin::HostEntry;

pub(super) fn resolve(config: &Config, query: &Query<'_>) -> Result<Answer, ConfigError> {
    if !good_host(query.host) {
        return Err(ConfigError::Name { name: query.host.to_owned(), what: "host" });
    } else if let Some(user) = query.user.as_ref().filter(|user| !good_user(user)) {
        return Err(ConfigError::Name { name: user.clone(), what: "user" });
    }
    match natively(config, query) {
        Ok(resolved) => Ok(Answer::Known(Box::new(resolved))),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Ask(origin, construct)) => Ok(Answer::Open(Question { origin, construct })),
    }
}

pub(super) fn ask(config: &Config, query: &Query<'_>, question: &Question) -> Result<Resolved, ConfigError> {
    let Question { origin, construct } = question;
    let actions = fallback::ask(config, query, origin, construct)?;
    let origin = Origin::Ssh(format!("{construct}, {origin}").into());
    let mut pass = Pass::new(&config.sources.local, query.host);
    actions.iter().try_for_each(|action| pass.apply(action, &origin))?;
    pass.finish(true).map_err(|stop| match stop {
        Stop::Error(error) => error,
        Stop::Ask(..) => ConfigError::about(&origin, "ssh -G left it open".to_owned()),
    })
}

fn natively(config: &Config, query: &Query<'_>) -> Result<Resolved, Stop> {
    let mut pass = Pass::new(&config.sources.local, query.host);
    pass.chosen.user = query.user.as_ref().map(|user| (user, &HOST_ENTRY));
    pass.chosen.port = query.port.as_ref().map(|port| (port, &HOST_ENTRY));
    for option in query.options {
        for action in &option.reading.actions {
            pass.line(action, &option.origin)?;
        }
    }
    pass.files(config)?;
    if let Some((CanonicalizeHostname::Yes | CanonicalizeHostname::Always, origin)) = pass.chosen.canonicalize_hostname
    {
        return Err(Stop::Ask(origin.clone(), "CanonicalizeHostname"));
    }
    if config.wants_final {
        pass.second = Some(pass.host());
        pass.files(config)?;
    }
    pass.finish(false)
}

/// Characters special to a shell that host names never contain (`ssh_valid_hostname` in readconf.c since OpenSSH 9.6).
fn good_host(name: &str) -> bool {
    let bad = |char: char| char.is_ascii_whitespace() || char.is_ascii_control() || "'`\"$\\;&<>|(){},".contains(char);
    !name.is_empty() && !name.starts_with('-') && !name.contains(bad)
}

/// The same for login names (`ssh_valid_ruser`).
fn good_user(name: &str) -> bool {
    let bad = |char: char| char.is_ascii_control() || "'`\";&<>|(){}".contains(char);
    !name.starts_with('-') && !name.contains(bad) && !name.contains(" -") && !name.ends_with('\\')
}

/// Returns the error for a keyword unknown to ssh.
pub(super) fn unknown(keyword: &str, origin: &Origin) -> ConfigError {
    ConfigError::about(origin, no_keyword(keyword))
}

/// Returns its text.
pub(super) fn no_keyword(keyword: &str) -> String {
    let hint = did_you_mean(keyword, keywords::all());
    format!("{keyword:?} is not a keyword of ssh_config(5){hint}")
}

/// An item of an additive list.
struct Item<'a> {
    text: &'a str,
    /// Whether it is from the user's configuration: equal ones of the user and of the system count twice.
    user: bool,
    origin: &'a Origin,
}

/// The state of applying the lines to a host.
struct Pass<'a> {
    local: &'a Local,
    name: &'a str,
    chosen: Chosen<'a>,
    /// HostName with its tokens expanded.
    host_name: Option<String>,
    /// The host to connect to, in the second pass.
    second: Option<String>,
    command: Option<(&'a str, &'a Origin)>,
    jump: Option<(&'a Route, &'a Origin)>,
    identities: Vec<Item<'a>>,
    certificates: Vec<Item<'a>>,
    send_env: Vec<Item<'a>>,
    set_env: Vec<Item<'a>>,
    /// Whether the lines are the user's.
    user: bool,
}

impl<'a> Pass<'a> {
    fn new(local: &'a Local, name: &'a str) -> Pass<'a> {
        Pass {
            local,
            name,
            chosen: Chosen::default(),
            host_name: None,
            second: None,
            command: None,
            jump: None,
            identities: Vec::new(),
            certificates: Vec::new(),
            send_env: Vec::new(),
            set_env: Vec::new(),
            user: true,
        }
    }

    fn files(&mut self, config: &'a Config) -> Result<(), Stop> {
        for (file, user) in &config.files {
            self.user = *user;
            self.file(file, true, false)?;
        }
        Ok(())
    }

    /// Applies a file: `active` holds up to its first condition; in a file that is included where nothing applies,
    /// conditions `never` hold.
    fn file(&mut self, file: &'a File, mut active: bool, never: bool) -> Result<(), Stop> {
        for block in &file.blocks {
            active = match &block.condition {
                Condition::Inherited => active,
                _ if never => false,
                Condition::Host(patterns) => patterns.matches(self.second.as_deref().unwrap_or(self.name)),
                Condition::Match(criteria) => self.criteria(criteria, block)?,
            };
            if !active && !block.always {
                continue;
            }
            for line in &block.lines {
                match &line.action {
                    LineAction::Include(files) => {
                        files.iter().try_for_each(|file| self.file(file, active, never || !active))?;
                    }
                    LineAction::Plain(action @ Action::Unknown(_)) => self.line(action, &line.origin)?,
                    LineAction::Plain(action) if active => self.line(action, &line.origin)?,
                    LineAction::Foreign(construct) if active => return Err(Stop::Ask(line.origin.clone(), construct)),
                    LineAction::NotText { column } if active => {
                        return Err(ConfigError::at(&line.origin, parse::not_text(*column)).into());
                    }
                    LineAction::Plain(_) | LineAction::Foreign(_) | LineAction::NotText { .. } => {}
                }
            }
        }
        Ok(())
    }

    /// Whether a Match block applies. It is not evaluated if it would change nothing.
    fn criteria(&self, criteria: &[Criterion], block: &Block) -> Result<bool, Stop> {
        let mut undecided = None;
        for criterion in criteria {
            match self.criterion(&criterion.test) {
                Some(holds) if holds == criterion.negated => return Ok(false),
                Some(_) => {}
                None => {
                    undecided.get_or_insert(&criterion.test);
                }
            }
        }
        match undecided {
            None => Ok(true),
            Some(_) if block.lines.iter().all(|line| self.comes_too_late(line)) => Ok(false),
            Some(Test::Unknowable(construct)) => {
                let reason = "ssh -G isn't told the command".to_owned();
                Err(Stop::Error(ConfigError::Ssh { origin: block.origin.clone(), construct, reason }))
            }
            Some(Test::Foreign(construct)) => Err(Stop::Ask(block.origin.clone(), construct)),
            Some(_) => Err(Stop::Ask(block.origin.clone(), "Match")),
        }
    }

    /// Whether a criterion holds; `None` if only ssh can tell.
    fn criterion(&self, test: &Test) -> Option<bool> {
        Some(match test {
            Test::All => true,
            Test::Final => self.second.is_some(),
            Test::Host(list) => {
                let host = self.second.as_deref().or(self.host_name.as_deref()).unwrap_or(self.name);
                list.matches(&host.to_ascii_lowercase())
            }
            Test::OriginalHost(list) => list.matches(&self.name.to_ascii_lowercase()),
            Test::User(list) => list.matches(self.chosen.user.map_or(&self.local.user, |(user, _)| user)),
            Test::LocalUser(list) => list.matches(&self.local.user),
            Test::Foreign(_) | Test::Unknowable(_) => return None,
        })
    }

    /// Whether the line sets what is set already.
    fn comes_too_late(&self, line: &Line) -> bool {
        match &line.action {
            LineAction::Plain(Action::Set(assignment)) => self.chosen.has(assignment),
            LineAction::Plain(Action::Command(_)) => self.command.is_some() || self.jumps(),
            LineAction::Plain(Action::Jump(_)) => self.command.is_some() || self.jump.is_some(),
            LineAction::Plain(Action::SetEnv(_)) => !self.set_env.is_empty(),
            _ => false,
        }
    }

    fn line(&mut self, action: &'a Action, origin: &'a Origin) -> Result<(), Stop> {
        if let Action::SetEnv(variables) = action {
            // OpenSSH 9.2 sets these as they are, 10 expands them.
            if self.set_env.is_empty() && variables.iter().any(|variable| has_tokens(variable)) {
                return Err(Stop::Ask(origin.clone(), "SetEnv with tokens or variables"));
            }
        }
        Ok(self.apply(action, origin)?)
    }

    fn apply(&mut self, action: &'a Action, origin: &'a Origin) -> Result<(), ConfigError> {
        let user = self.user;
        match action {
            Action::Set(Assignment::host_name(_)) if self.second.is_some() || self.chosen.host_name.is_some() => {}
            Action::Set(assignment) => {
                if let Assignment::host_name(text) = assignment {
                    let expanded = expand::host_name(text, self.name);
                    self.host_name = Some(expanded.map_err(|reason| ConfigError::about(origin, reason))?);
                }
                self.chosen.offer(assignment, origin);
            }
            Action::Command(command) => {
                if self.command.is_none() && !self.jumps() {
                    self.command = Some((command, origin));
                }
            }
            Action::Jump(route) => {
                if self.command.is_none() && self.jump.is_none() {
                    self.jump = Some((route, origin));
                }
            }
            Action::Identity(text) => add(&mut self.identities, Item { text, user, origin })?,
            Action::Certificate(text) => add(&mut self.certificates, Item { text, user, origin })?,
            Action::SendEnv(names) => {
                for text in names {
                    let Some(out) = text.strip_prefix('-') else {
                        self.send_env.push(Item { text, user, origin });
                        continue;
                    };
                    self.send_env.retain(|sent| !wildcard::matches(sent.text.as_bytes(), out.as_bytes()));
                }
            }
            Action::SetEnv(variables) if self.set_env.is_empty() => {
                for text in variables {
                    if !self.set_env.iter().any(|set| variable(set.text) == variable(text)) {
                        self.set_env.push(Item { text, user, origin });
                    }
                }
            }
            Action::SetEnv(_) => {}
            Action::Refuse(reason) => return Err(ConfigError::about(origin, format!("connection refused: {reason}"))),
            Action::Unknown(keyword) => {
                let ignored = self.chosen.ignore_unknown.and_then(|(list, _)| list.as_ref());
                if !ignored.is_some_and(|list| PatternList::new(list, true).matches(keyword)) {
                    return Err(unknown(keyword, origin));
                }
            }
        }
        Ok(())
    }

    fn jumps(&self) -> bool {
        matches!(self.jump, Some((Route::Hops { .. }, _)))
    }

    /// Returns the host to connect to.
    fn host(&self) -> String {
        let family = self.chosen.address_family.map_or(AddressFamily::Any, |(family, _)| *family);
        expand::canonical_host(self.host_name.as_deref().unwrap_or(self.name), family)
    }

    /// Sets the defaults, and expands what ssh expands; `expanded` is what `ssh -G` has expanded already.
    fn finish(self, expanded: bool) -> Result<Resolved, Stop> {
        let mut settings = self.chosen.settle();
        settings.host_name.value = self.second.clone().unwrap_or_else(|| self.host());
        match self.chosen.user {
            // OpenSSH 9.2 takes the name as it is, 10 expands it.
            Some((user, origin)) if !expanded && *origin != Origin::HostEntry && has_tokens(user) => {
                return Err(Stop::Ask(origin.clone(), "User with tokens or variables"));
            }
            Some(_) => {}
            None => settings.user.value.clone_from(&self.local.user),
        }
        if let Some(alias) = &mut settings.host_key_alias.value {
            alias.make_ascii_lowercase();
        }
        let (host, user) = (settings.host_name.value.clone(), settings.user.value.clone());
        let key_alias = settings.host_key_alias.value.clone();
        let key_alias = key_alias.as_deref().unwrap_or(self.name);
        let port = settings.port.value;
        let tokens = Tokens { local: self.local, name: self.name, host: &host, key_alias, port, user: &user };

        let proxy = self.proxy(&tokens)?;
        settings.expand(&tokens, expanded)?;
        settings.check(&proxy.value)?;
        let mut identity_files = files(&self.identities, &tokens)?;
        if identity_files.is_empty() {
            let defaults = DEFAULT_IDENTITIES.map(|text| Item { text, user: false, origin: &Origin::Default });
            identity_files = files(&defaults, &tokens)?;
        }
        Ok(Resolved {
            name: self.name.to_owned(),
            proxy,
            identity_files,
            certificate_files: files(&self.certificates, &tokens)?,
            send_env: texts(&self.send_env),
            set_env: texts(&self.set_env),
            known_hosts_command: settings.known_hosts_command(&tokens)?,
            agent: settings.agent(self.local),
            forwarded_agent: settings.forwarded_agent(self.local),
            settings,
        })
    }

    fn proxy(&self, tokens: &Tokens<'_>) -> Result<Setting<Proxy>, ConfigError> {
        match (self.jump, self.command) {
            (Some((Route::Hops { before, last }, origin)), _) => hops(before.as_deref(), last, origin, tokens),
            (_, Some((command, origin))) if !command.eq_ignore_ascii_case("none") => {
                let command = tokens.proxy(command).map_err(|reason| ConfigError::about(origin, reason))?;
                Ok(Setting::new(Proxy::Command(command), origin))
            }
            (jump, command) => {
                let origin = command.map(|(_, origin)| origin).or(jump.map(|(_, origin)| origin));
                Ok(Setting::new(Proxy::Direct, origin.unwrap_or(&Origin::Default)))
            }
        }
    }
}

/// Returns the hops of a ProxyJump. ssh passes on all but the last unchanged, with only the tokens expanded.
fn hops(before: Option<&str>, last: &Hop, origin: &Origin, tokens: &Tokens<'_>) -> Result<Setting<Proxy>, ConfigError> {
    let user = last.user.as_deref().unwrap_or(tokens.user);
    if last.host == tokens.host && last.port.unwrap_or(22) == tokens.port && user == tokens.user {
        return Err(ConfigError::Loop { origin: origin.clone(), host: last.host.clone() });
    }
    let wrong = |reason| ConfigError::about(origin, reason);
    let expand = |text: &str| tokens.proxy(text).map_err(wrong);
    let mut hops = match before {
        Some(before) => proxy_jump::hops(&expand(before)?).map_err(wrong)?,
        None => Vec::new(),
    };
    let user = last.user.as_deref().map(expand).transpose()?;
    hops.push(Hop { user, host: expand(&last.host)?, port: last.port });
    Ok(Setting::new(Proxy::Jump(hops), origin))
}

fn add<'a>(list: &mut Vec<Item<'a>>, item: Item<'a>) -> Result<(), ConfigError> {
    if list.len() >= MOST_IDENTITIES {
        return Err(ConfigError::about(item.origin, format!("more than {MOST_IDENTITIES} files")));
    }
    if !list.iter().any(|other| other.user == item.user && other.text == item.text) {
        list.push(item);
    }
    Ok(())
}

/// Whether only some versions of ssh expand something in the text.
fn has_tokens(text: &str) -> bool {
    text.contains('%') || text.contains("${")
}

/// Returns the name in `NAME=value`.
fn variable(text: &str) -> &str {
    text.split('=').next().unwrap_or_default()
}

fn texts(items: &[Item<'_>]) -> Vec<Setting<String>> {
    items.iter().map(|item| Setting::new(item.text.to_owned(), item.origin)).collect()
}

fn files(items: &[Item<'_>], tokens: &Tokens<'_>) -> Result<Vec<Setting<IdentityFile>>, ConfigError> {
    let file = |item: &Item<'_>| {
        let path = match item.text.eq_ignore_ascii_case("none") {
            true => None,
            false => Some(tokens.path(item.text).map_err(|reason| ConfigError::about(item.origin, reason))?.into()),
        };
        Ok(Setting::new(IdentityFile { written: item.text.to_owned(), path }, item.origin))
    };
    items.iter().map(file).collect()
}
