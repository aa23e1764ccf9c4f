//! The keywords of ssh_config(5): the effect of each line in pssh.

use std::time::Duration;

use super::Local;
use super::line::{Statement, Words, Wrong};
use super::proxy_jump::{self, Hop};
use super::settings::Assignment;
use super::values::{self, Files, Socket, Value};

/// The effect of a line where it applies.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Sets a value that isn't set yet.
    Set(Assignment),
    /// Sets the command to connect through, if neither it nor hops are set yet.
    Command(String),
    /// Sets the hops to connect through, if neither they nor a command are set yet.
    Jump(Route),
    /// Adds a private key.
    Identity(String),
    /// Adds a certificate.
    Certificate(String),
    /// Adds names of variables, and removes those after a `-`.
    SendEnv(Vec<String>),
    /// Sets the variables to send, `NAME=value`, if none are set.
    SetEnv(Vec<String>),
    /// Refuses to connect (OpenSSH 10).
    Refuse(String),
    /// Unknown to ssh: an error unless IgnoreUnknown covers it, applied or not.
    Unknown(String),
}

/// A ProxyJump as written.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// `none`: it leaves room for a ProxyCommand.
    Direct,
    Hops {
        /// All but the last, as ssh passes them on.
        before: Option<String>,
        last: Hop,
    },
}

/// A parsed line.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) actions: Vec<Action>,
    /// Why it has no effect.
    pub(super) note: Option<String>,
}

/// How to check the arguments of a keyword without effect.
#[derive(Clone, Copy)]
enum Form {
    Flag,
    Number,
    Time,
    /// One word.
    Word,
    /// One word at least.
    Words,
    /// Anything.
    Any,
}

/// Known to ssh, up to OpenSSH 10 and with Debian's additions, and without effect on running a command.
#[rustfmt::skip]
const WITHOUT_EFFECT: &[(&str, Form)] = {
    use Form::{Any, Flag, Number, Time, Word, Words};
    &[
        ("addkeystoagent", Words), ("checkhostip", Flag), ("clearallforwardings", Flag), ("controlmaster", Word),
        ("controlpath", Word), ("controlpersist", Word), ("dynamicforward", Words), ("enableescapecommandline", Flag),
        ("enablesshkeysign", Flag), ("escapechar", Word), ("exitonforwardfailure", Flag), ("fingerprinthash", Word),
        ("forkafterauthentication", Flag), ("forwardx11", Flag), ("forwardx11timeout", Time), ("forwardx11trusted", Flag),
        ("gatewayports", Flag), ("gssapiauthentication", Flag), ("gssapiclientidentity", Word),
        ("gssapidelegatecredentials", Flag), ("gssapikexalgorithms", Word), ("gssapikeyexchange", Flag),
        ("gssapirenewalforcesrekey", Flag), ("gssapiserveridentity", Word), ("gssapitrustdns", Flag),
        ("hostbasedacceptedalgorithms", Word), ("hostbasedauthentication", Flag), ("hostbasedkeytypes", Word),
        ("ipqos", Words), ("kbdinteractivedevices", Word), ("localcommand", Any),
        ("localforward", Words), ("logverbose", Any), ("permitlocalcommand", Flag), ("permitremoteopen", Words), ("pkcs11provider", Word), ("rekeylimit", Words),
        ("remotecommand", Any), ("remoteforward", Words), ("securitykeyprovider", Word), ("sessiontype", Word),
        ("smartcarddevice", Word), ("stdinnull", Flag), ("streamlocalbindmask", Word), ("streamlocalbindunlink", Flag),
        ("syslogfacility", Word), ("tunnel", Word), ("tunneldevice", Word), ("updatehostkeys", Word),
        ("verifyhostkeydns", Word), ("visualhostkey", Flag), ("xauthlocation", Word),
        // Since OpenSSH 9.5, 9.6 and 10.
        ("channeltimeout", Any), ("obscurekeystroketiming", Any), ("versionaddendum", Any), ("warnweakcrypto", Word),
        ("canonicaldomains", Any), ("canonicalizefallbacklocal", Flag), ("canonicalizemaxdots", Number),
        ("canonicalizepermittedcnames", Any), ("protocol", Any), ("tag", Word),
    ]
};

/// Of these, those that need no note: ssh evaluates them if asked, or has ignored them silently for long.
const STEERING: &[&str] = &[
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    "protocol",
    "tag",
];

/// Keywords with more than one value, or another form of value: parsed one by one.
const SPECIAL: [&str; 8] = [
    "forwardagent",
    "proxycommand",
    "proxyjump",
    "identityfile",
    "certificatefile",
    "sendenv",
    "setenv",
    "refuseconnection",
];

/// Returns the keywords that a misspelt one may mean.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let without_effect = WITHOUT_EFFECT.iter().map(|(keyword, _)| *keyword);
    Assignment::KEYWORDS.iter().copied().chain(SPECIAL).chain(["host", "match", "include"]).chain(without_effect)
}

/// Accepted by ssh with or without a warning, and then ignored.
const DEPRECATED: &[&str] = &[
    "afstokenpassing",
    "cipher",
    "compressionlevel",
    "fallbacktorsh",
    "globalknownhostsfile2",
    "kerberosauthentication",
    "kerberostgtpassing",
    "rhostsauthentication",
    "rhostsrsaauthentication",
    "rsaauthentication",
    "useblacklistedkeys",
    "useprivilegedport",
    "userknownhostsfile2",
    "useroaming",
    "usersh",
];

/// Returns the keyword of which another is an alias.
fn proper(keyword: &str) -> &str {
    match keyword {
        "challengeresponseauthentication" | "skeyauthentication" | "tisauthentication" => {
            "kbdinteractiveauthentication"
        }
        "dsaauthentication" => "pubkeyauthentication",
        "identityfile2" => "identityfile",
        "keepalive" => "tcpkeepalive",
        "protocolkeepalives" | "setuptimeout" => "serveraliveinterval",
        "pubkeyacceptedkeytypes" => "pubkeyacceptedalgorithms",
        "rsaminsize" => "requiredrsasize",
        other => other,
    }
}

/// Parses a line that isn't Host, Match or Include.
pub(super) fn read(statement: &Statement<'_>, local: &Local) -> Result<Reading, Wrong> {
    let mut words = Words::new(statement, local)?;
    let reading = arguments(proper(&statement.keyword), &mut words)
        .map_err(|wrong| Wrong { reason: format!("{}: {}", statement.keyword, wrong.reason), ..wrong })?;
    match (words.left() > 0).then(|| words.next()).flatten() {
        None => Ok(reading),
        Some(word) => Err(words.wrong(format!("{}: {word:?} is an extra argument", statement.keyword))),
    }
}

/// Parses the output of `ssh -G` for a keyword, a value for each line; `None` if that has no effect here.
pub(super) fn read_shown(keyword: &str, values: &[String], local: &Local) -> Result<Vec<Action>, Wrong> {
    let mut actions = Vec::new();
    let files = |names: &str| Files(names.split(' ').filter(|_| names != "none").map(str::to_owned).collect());
    match keyword {
        "host" => {}
        _ if WITHOUT_EFFECT.iter().any(|(name, _)| *name == keyword) => {}
        "setenv" => actions.push(Action::SetEnv(values.to_vec())),
        "hostname" => {
            let names = values.iter().map(|name| Assignment::host_name(name.replace('%', "%%")));
            actions.extend(names.map(Action::Set));
        }
        "userknownhostsfile" => {
            actions.extend(values.iter().map(|names| Action::Set(Assignment::user_known_hosts_file(files(names)))))
        }
        "globalknownhostsfile" => {
            actions.extend(values.iter().map(|names| Action::Set(Assignment::global_known_hosts_file(files(names)))))
        }
        _ => {
            for value in values {
                actions.extend(arguments(keyword, &mut Words::shown(value, local))?.actions);
            }
        }
    }
    actions.retain(|action| !matches!(action, Action::Unknown(_)));
    Ok(actions)
}

fn arguments(keyword: &str, words: &mut Words<'_>) -> Result<Reading, Wrong> {
    let actions = match keyword {
        "forwardagent" => forward_agent(words)?,
        "proxycommand" => vec![Action::Command(words.rest().to_owned())],
        "proxyjump" => vec![Action::Jump(jump(words)?)],
        "identityfile" => vec![Action::Identity(words.required()?)],
        "certificatefile" => vec![Action::Certificate(words.required()?)],
        "sendenv" => vec![Action::SendEnv(variables(words, "not a variable name", |name| !name.contains('='))?)],
        "setenv" => vec![Action::SetEnv(variables(words, "not NAME=value", |variable| variable.contains('='))?)],
        "refuseconnection" => vec![Action::Refuse(words.required()?)],
        _ => match Assignment::read(keyword, words) {
            Some(assignment) => assignment?.map(Action::Set).into_iter().collect(),
            None => return without_effect(keyword, words),
        },
    };
    Ok(Reading { actions, note: None })
}

fn without_effect(keyword: &str, words: &mut Words<'_>) -> Result<Reading, Wrong> {
    let form = WITHOUT_EFFECT.iter().find(|(name, _)| *name == keyword).map(|(_, form)| *form);
    check(form.unwrap_or(Form::Any), words)?;
    let (actions, note) = match form {
        Some(_) if STEERING.contains(&keyword) => (Vec::new(), None),
        Some(_) => (Vec::new(), Some(format!("{keyword} has no effect here"))),
        None if DEPRECATED.contains(&keyword) => {
            (Vec::new(), Some(format!("{keyword} is deprecated and has no effect")))
        }
        None => (vec![Action::Unknown(keyword.to_owned())], None),
    };
    Ok(Reading { actions, note })
}

fn check(form: Form, words: &mut Words<'_>) -> Result<(), Wrong> {
    match form {
        Form::Flag => drop(bool::read(words)?),
        Form::Number => drop(u32::read(words)?),
        Form::Time => drop(Duration::read(words)?),
        Form::Word => drop(words.required()?),
        Form::Words => drop((words.required()?, words.rest())),
        Form::Any => drop(words.rest()),
    }
    Ok(())
}

/// ssh keeps two values: whether, and which. Each comes from its own first line, which `ForwardAgent /path` is for
/// both.
fn forward_agent(words: &mut Words<'_>) -> Result<Vec<Action>, Wrong> {
    let word = words.required()?;
    if let Some(flag) = values::flag(&word) {
        return Ok(vec![Action::Set(Assignment::forward_agent(flag))]);
    }
    let socket = Some(Socket::check(word, words)?);
    Ok(vec![Action::Set(Assignment::forward_agent(true)), Action::Set(Assignment::forward_agent_socket(socket))])
}

/// `parse_jump` in readconf.c.
fn jump(words: &mut Words<'_>) -> Result<Route, Wrong> {
    let text = words.rest();
    if text.eq_ignore_ascii_case("none") {
        return Ok(Route::Direct);
    }
    let list = text.split('#').next().unwrap_or_default().trim_end();
    if list.contains(char::is_whitespace) {
        // OpenSSH 9 drops what follows the blank, 10 takes it for a part of the name.
        return Err(words.wrong(format!("{list:?} contains a blank")));
    }
    let last = proxy_jump::hops(list).map_err(|reason| words.wrong(reason))?.pop();
    let before = list.rsplit_once(',').map(|(before, _)| before.to_owned());
    last.map(|last| Route::Hops { before, last }).ok_or_else(|| words.wrong("it names no jump host".to_owned()))
}

fn variables(words: &mut Words<'_>, bad: &str, good: fn(&str) -> bool) -> Result<Vec<String>, Wrong> {
    let mut names = Vec::new();
    while let Some(name) = words.next() {
        if name.is_empty() || !good(&name) {
            return Err(words.wrong(format!("{name:?} is {bad}")));
        }
        names.push(name);
    }
    Ok(names)
}
