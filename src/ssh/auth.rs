//! Authentication: the order in which a host is offered what there is.
//!
//! Which methods the server takes is asked for as late as possible, since it costs a round trip: keys are offered unasked.
//! With a password at hand it is asked first, as by ssh(1): refused keys count as attempts, and with a few of them in an agent
//! the server would give up before it is the password's turn.

use ssh2::{Error, MethodType};

use super::ffi::{self, Goodbye, PasswordAnswer, PublicKeyAnswer};
use super::host::Host;
use super::host_key::Trust;
use super::keyboard::{Conversation, Silence};
use super::session::{Credentials, Driver, Stop, dropped};
use super::wait::Watch;
use crate::error::HostError;
use crate::event::{Outcome, Phase};
use crate::secret::Secret;
use crate::settings::Method;

/// Authenticates on the session of `driver`; gives what was accepted, in words.
///
/// # Errors
/// The outcome of the job: authentication failed, or the job was over before.
pub fn authenticate(
    driver: &mut Driver<'_>,
    host: &Host,
    credentials: &Credentials,
    trust: Trust,
    watch: &Watch<'_>,
) -> Result<String, Outcome> {
    let details = credentials.identities.unusable().to_vec();
    let (tried, offered, password) = (Vec::new(), None, credentials.password.as_deref());
    let said = Vec::new();
    Trial { driver, host, credentials, watch, password, told: None, tried, details, said, offered }.run(trust)
}

/// What was tried on one host so far.
struct Trial<'a, 'd> {
    driver: &'a mut Driver<'d>,
    host: &'a Host,
    credentials: &'a Credentials,
    watch: &'a Watch<'a>,
    /// The password, while the server may be told it: another time would only bring the account nearer to being locked.
    password: Option<&'a Secret>,
    /// The method by which it was told last.
    told: Option<Method>,
    /// Identities and methods that were refused, in words.
    tried: Vec<String>,
    /// What else is worth saying if it fails.
    details: Vec<String>,
    /// How the server has ended it, in words.
    said: Vec<String>,
    /// The methods that the server has said can continue (RFC 4252 section 5.1).
    offered: Option<Vec<String>>,
}

/// What came of a method.
enum Answer {
    /// The user is authenticated, by this.
    Accepted(String),
    /// Not by this method, or not by it alone.
    Refused,
    /// By this method, and now another has to follow.
    NextFactor,
}

impl Trial<'_, '_> {
    /// Tries the methods in order, those that the server takes, each once. Whether a method that was refused was one of
    /// several factors shows only in what the server offers next, since libssh2 does not pass on whether there was partial
    /// success (RFC 4252 section 5.1): a list that has changed may mean that it was right.
    fn run(mut self, trust: Trust) -> Result<String, Outcome> {
        let mut left = self.means(trust);
        if (self.password.is_some() || left.first() != Some(&Method::PublicKey))
            && let Answer::Accepted(how) = self.ask_offered()?
        {
            return Ok(how);
        }
        while let Some(place) = left.iter().position(|method| self.can_try(*method)) {
            let method = left.remove(place);
            let before = self.offered.clone();
            let mut answer = match method {
                Method::PublicKey => self.public_keys()?,
                Method::KeyboardInteractive => self.keyboard_interactive()?,
                Method::Password => self.tell_password()?,
            };
            // Refused keys change nothing in a list that is known, and each question is an attempt too.
            if matches!(answer, Answer::Refused) && (method != Method::PublicKey || self.offered.is_none()) {
                answer = self.ask_offered()?;
            }
            if let Answer::Accepted(how) = answer {
                return Ok(how);
            }
            if method != Method::PublicKey && before != self.offered {
                // A server that takes the method away was content with it. For any other change the password is not told again,
                // and never by a method that has told it: each is tried once.
                if self.told.is_some_and(|told| !self.is_offered(told)) {
                    self.password = self.credentials.password.as_deref();
                }
                // Keys that were refused before may be what has to follow.
                if self.host.methods.contains(&Method::PublicKey) && !left.contains(&Method::PublicKey) {
                    left.insert(0, Method::PublicKey);
                }
            }
        }
        Err(self.refused())
    }

    /// The methods for which we have something, in order.
    fn means(&mut self, trust: Trust) -> Vec<Method> {
        let may_tell = trust == Trust::Full;
        if !may_tell && self.password.take().is_some() {
            self.details.push("the password was not tried, since the host key has CHANGED".to_owned());
        }
        let Credentials { identities, password, terminal, .. } = self.credentials;
        let has = |method: &Method| match method {
            Method::PublicKey => !identities.list().is_empty(),
            // Where keys come first, the terminal is looked for when they have been refused: mostly they are not.
            Method::KeyboardInteractive => {
                may_tell && (password.is_some() || !identities.list().is_empty() || terminal.is_there())
            }
            Method::Password => may_tell && password.is_some(),
        };
        self.host.methods.iter().copied().filter(has).collect()
    }

    /// Whether `method` can be tried now.
    fn can_try(&self, method: Method) -> bool {
        self.is_offered(method)
            && match method {
                Method::PublicKey => true,
                Method::KeyboardInteractive => self.password.is_some() || self.credentials.terminal.is_there(),
                Method::Password => self.password.is_some(),
            }
    }

    /// Whether the server takes `method`, as far as it is known.
    fn is_offered(&self, method: Method) -> bool {
        self.offered.as_ref().is_none_or(|offered| offered.iter().any(|name| name == method.name()))
    }

    /// Asks for the methods that can continue, by trying the method "none", which a server may accept (RFC 4252 section
    /// 5.2).
    fn ask_offered(&mut self) -> Result<Answer, Outcome> {
        let user = &self.host.user;
        let offered = self.driver.drive(self.watch, |session| ffi::offered_methods(session, user));
        if self.driver.session().authenticated() {
            return Ok(Answer::Accepted("no authentication (method none)".to_owned()));
        }
        let offered = offered.map_err(|stop| self.stopped(stop))?;
        let offered = offered.split(',').filter(|method| !method.is_empty()).map(str::to_owned);
        self.offered = Some(offered.collect());
        Ok(Answer::Refused)
    }

    fn public_keys(&mut self) -> Result<Answer, Outcome> {
        for identity in self.credentials.identities.list() {
            let signing = identity.signing(self.watch.patience());
            if let Some(names) = identity.signature_preference() {
                let chosen = self.driver.session().method_pref(MethodType::SignAlgo, &names);
                chosen.map_err(|error| self.stopped(Stop::Ssh(error)))?;
            }
            let user = &self.host.user;
            let step = self.driver.drive(self.watch, |session| ffi::authenticate_public_key(session, user, &signing));
            match step {
                Ok(PublicKeyAnswer::Accepted) => return Ok(Answer::Accepted(identity.describe())),
                Ok(PublicKeyAnswer::Refused) => self.has_tried(identity.describe()),
                Ok(PublicKeyAnswer::Unsettled) => {
                    self.has_tried(identity.describe());
                    // It may have been the first of several factors.
                    if let Answer::Accepted(how) = self.ask_offered()? {
                        return Ok(Answer::Accepted(how));
                    }
                    if !self.is_offered(Method::PublicKey) {
                        return Ok(Answer::NextFactor);
                    }
                }
                Ok(PublicKeyAnswer::NotSigned(reason)) => {
                    self.watch.check()?;
                    self.details.push(format!("{} could not sign: {reason}", identity.describe()));
                }
                Err(Stop::Ssh(error)) => return Err(self.ended(&error, Some(identity.describe()))),
                Err(stop) => return Err(self.stopped(stop)),
            }
        }
        Ok(Answer::Refused)
    }

    fn tell_password(&mut self) -> Result<Answer, Outcome> {
        let Some(password) = self.password.take() else { return Ok(Answer::Refused) };
        self.told = Some(Method::Password);
        self.driver.link().show_secret();
        let user = &self.host.user;
        let step = self.driver.drive(self.watch, |session| ffi::authenticate_password(session, user, password));
        self.has_tried(Method::Password.name().to_owned());
        match step {
            Ok(PasswordAnswer::Accepted) => return Ok(Answer::Accepted("a password".to_owned())),
            Ok(PasswordAnswer::Refused) => {}
            Ok(PasswordAnswer::Expired) => self.details.push("the password has expired".to_owned()),
            Err(stop) => return Err(self.stopped(stop)),
        }
        Ok(Answer::Refused)
    }

    fn keyboard_interactive(&mut self) -> Result<Answer, Outcome> {
        let (terminal, socket) = (&self.credentials.terminal, self.driver.socket());
        let mut conversation = Conversation::new(self.host, self.password, terminal, self.watch, socket);
        self.driver.link().show_secret();
        let user = &self.host.user;
        let step = self
            .driver
            .drive(self.watch, |session| ffi::authenticate_keyboard_interactive(session, user, &mut conversation));
        if conversation.told_password {
            self.password = None;
            self.told = Some(Method::KeyboardInteractive);
        }
        let name = Method::KeyboardInteractive.name();
        match (conversation.stop.take(), step) {
            (Some(Silence::Job(outcome)), _) => return Err(of_secret(outcome)),
            (Some(Silence::NoAnswer(reason)), _) => {
                self.details.push(format!("{name}: {reason}"));
                return Err(self.refused());
            }
            (None, Ok(true)) => return Ok(Answer::Accepted(name.to_owned())),
            (None, Ok(false)) => self.has_tried(name.to_owned()),
            (None, Err(stop)) => {
                self.has_tried(name.to_owned());
                return Err(self.stopped(stop));
            }
        }
        Ok(Answer::Refused)
    }

    fn has_tried(&mut self, what: String) {
        if !self.tried.contains(&what) {
            self.tried.push(what);
        }
    }

    /// The outcome where a step was not brought to its end.
    fn stopped(&mut self, stop: Stop) -> Outcome {
        match stop {
            Stop::Job(outcome) if self.told.is_some() => of_secret(outcome),
            Stop::Job(outcome) => outcome,
            Stop::Ssh(error) => self.ended(&error, None),
        }
    }

    /// The outcome where the connection ended, maybe in answer to an identity that was `shown`. Servers hang up after MaxAuthTries
    /// refusals, so an end after the first of them is one of these; and where an account may not be used although the key is right,
    /// with or without a word.
    fn ended(&mut self, error: &Error, shown: Option<String>) -> Outcome {
        let link = self.driver.link();
        let (goodbye, given_up) = (link.goodbye(), link.given_up());
        let is_told = !link.banners().1.is_empty() || goodbye.as_ref().is_some_and(Goodbye::refuses_login);
        let is_answer = given_up.is_none() && is_told;
        if self.tried.is_empty() && !is_answer {
            return dropped("authentication", error, true, link).into();
        }
        shown.into_iter().for_each(|shown| self.has_tried(shown));
        self.said.push(match (goodbye, given_up) {
            (Some(goodbye), _) => goodbye.to_string(),
            (None, Some(why)) => why.error().message().to_owned(),
            (None, None) => "then the server ended the connection".to_owned(),
        });
        self.refused()
    }

    fn refused(&self) -> Outcome {
        let detail = (!self.details.is_empty()).then(|| self.details.join("; "));
        let (before, after) = self.driver.link().banners();
        let mut said: Vec<String> =
            after.iter().map(|text| format!("the server said: {}", ffi::quoted(text))).collect();
        said.extend(self.said.iter().cloned());
        if !before.is_empty() {
            said.push(format!("its banner: {}", ffi::quoted(&before.join(" "))));
        }
        HostError::Auth {
            is_explained: !after.is_empty(),
            said,
            user: self.host.user.clone(),
            tried: self.tried.clone(),
            offered: self.offered.clone().unwrap_or_default(),
            detail,
        }
        .into()
    }
}

/// The outcome where a secret was told or asked for: running out of time does not make another attempt then.
fn of_secret(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::TimedOut { phase: Phase::Auth, limit, missing } => {
            Outcome::TimedOut { phase: Phase::Secret, limit, missing }
        }
        outcome => outcome,
    }
}
