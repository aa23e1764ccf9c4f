//! Authentication: which credentials a host is offered, and in which order.
//!
//! The server's methods are asked for as late as possible, since that costs a round trip: keys are offered unasked.
//! With a password they are asked first, as in ssh(1): refused keys count as attempts, and with a few of them in an
//! agent the server would give up before the password.

use ssh2::{Error, MethodType};

use super::host_key_check::Trust;
use super::keyboard_interactive::{Conversation, Silence};
use crate::events::event::{Outcome, Phase};
use crate::events::host_error::{HostError, LoginError};
use crate::events::remedy::Remedy;
use crate::ssh::destination::{Destination, Method};
use crate::ssh::ffi::{self, Goodbye, OwnRequest, PasswordAnswer, PublicKeyAnswer, Refusal};
use crate::ssh::keys::agent::{AgentKey, Bound};
use crate::ssh::keys::identities::{Identity, Signing};
use crate::ssh::keys::keyring::ENCRYPTED;
use crate::ssh::keys::session_binding::Binding;
use crate::ssh::session::{Credentials, Driver, Stop, dropped};
use crate::ssh::watch::{Notes, Watch};
use crate::system::password_source::Secret;

/// Authenticates on the session of `driver`, to which `binding` binds agents; returns what was accepted, in words.
/// Notes for `-v` go to `note`.
///
/// # Errors
/// The outcome of the job: authentication failed, or the job ended first.
pub fn authenticate(
    driver: &mut Driver<'_>,
    host: &Destination,
    trust: Trust,
    binding: Option<&Binding>,
    watch: &Watch<'_>,
    note: &mut Notes<'_>,
) -> Result<String, Outcome> {
    let credentials = &*host.credentials;
    let details = credentials.identities.unusable().to_vec();
    let jump = host.hop.as_ref().map(|_| {
        let (name, port) = host.shown();
        port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
    });
    let error = LoginError { user: host.user.clone(), details, jump, ..LoginError::default() };
    Trial {
        driver,
        host,
        credentials,
        binding,
        watch,
        note,
        warned: false,
        password: credentials.password.as_deref(),
        told: None,
        keys: Vec::new(),
        showed_rsa: false,
        offered: None,
        error,
    }
    .run(trust)
}

/// The attempts on one host so far.
struct Trial<'a, 'd> {
    driver: &'a mut Driver<'d>,
    host: &'a Destination,
    credentials: &'a Credentials,
    binding: Option<&'a Binding>,
    watch: &'a Watch<'a>,
    note: &'a mut Notes<'a>,
    /// Whether the missing agent binding was reported.
    warned: bool,
    /// The password, while it may be sent: sending it again would only bring the account nearer to a lockout.
    password: Option<&'a Secret>,
    /// The method that sent it last.
    told: Option<Method>,
    /// The numbers of the offered identities.
    keys: Vec<usize>,
    /// Whether an RSA key was among them.
    showed_rsa: bool,
    /// The error in case of failure.
    error: LoginError,
    /// The methods that can continue, according to the server (RFC 4252 section 5.1).
    offered: Option<Vec<String>>,
}

/// The result of a method.
enum Answer {
    /// The user is authenticated, by this.
    Accepted(String),
    /// Refused.
    Refused,
    /// Accepted, and another method must follow.
    NextFactor,
    /// Refused, or not sufficient alone; the methods that can continue may have changed.
    Unclear,
}

impl Trial<'_, '_> {
    /// Tries the methods that the server accepts in order, each once. If the server's refusal was not seen, only the
    /// methods that it offers next show whether one was one of several factors (the partial success of RFC 4252 section
    /// 5.1): a changed list may mean that it was accepted.
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
            let answer = match method {
                Method::PublicKey => self.public_keys()?,
                Method::KeyboardInteractive => {
                    let is_next = left.contains(&Method::Password) && self.can_try(Method::Password);
                    self.keyboard_interactive(is_next)?
                }
                Method::Password => self.tell_password()?,
            };
            let is_next = match answer {
                Answer::Accepted(how) => return Ok(how),
                Answer::Refused => false,
                Answer::NextFactor => true,
                Answer::Unclear => {
                    // Refused keys do not change a known list, and each request counts as an attempt.
                    if (method != Method::PublicKey || self.offered.is_none())
                        && let Answer::Accepted(how) = self.ask_offered()?
                    {
                        return Ok(how);
                    }
                    before != self.offered
                }
            };
            if method != Method::PublicKey && is_next {
                // A server that removes the method has accepted it. After any other change the password is not sent
                // again, and never by a method that has sent it: each is tried once.
                if self.told.is_some_and(|told| !self.is_offered(told)) {
                    self.password = self.credentials.password.as_deref();
                }
                // The required next factor may be a key that was refused before.
                if self.host.methods.contains(&Method::PublicKey) && !left.contains(&Method::PublicKey) {
                    left.insert(0, Method::PublicKey);
                }
            }
        }
        Err(self.refused())
    }

    /// Interprets a refusal: `what` was refused, or accepted as one of several factors.
    fn judged(&mut self, what: String) -> Answer {
        let refusal = self.driver.link().take_refusal();
        let answer = match refusal {
            Some(Refusal { is_partial: true, .. }) => Answer::NextFactor,
            Some(_) => Answer::Refused,
            None => Answer::Unclear,
        };
        let list = if matches!(answer, Answer::NextFactor) { &mut self.error.accepted } else { &mut self.error.tried };
        list.push(what);
        if let Some(Refusal { methods, .. }) = refusal {
            self.offered = Some(methods);
        }
        answer
    }

    /// Returns the methods for which we have credentials, in order.
    fn means(&mut self, trust: Trust) -> Vec<Method> {
        let may_tell = trust == Trust::Full;
        if !may_tell && self.password.take().is_some() {
            self.error.details.push("the password was not tried, since the host key has CHANGED".to_owned());
        }
        let Credentials { identities, password, terminal, .. } = self.credentials;
        let has = |method: &Method| match method {
            Method::PublicKey => !identities.list().is_empty(),
            // If keys come first, the terminal is opened only after they were refused: mostly they are not.
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

    /// Whether the server accepts `method`, as far as known.
    fn is_offered(&self, method: Method) -> bool {
        self.offered.as_ref().is_none_or(|offered| offered.iter().any(|name| name == method.name()))
    }

    /// Asks for the methods that can continue with the method "none", which a server may accept (RFC 4252 section 5.2).
    fn ask_offered(&mut self) -> Result<Answer, Outcome> {
        let user = &self.host.user;
        let offered = self.driver.drive(self.watch, |session| ffi::offered_methods(session, user));
        if self.driver.session().authenticated() {
            return Ok(Answer::Accepted("no authentication (method none)".to_owned()));
        }
        let offered = offered.map_err(|stop| self.stopped(stop))?;
        self.note_offered(&offered);
        Ok(Answer::Unclear)
    }

    fn public_keys(&mut self) -> Result<Answer, Outcome> {
        let permitted = self.permitted();
        for (number, identity) in self.credentials.identities.list().iter().enumerate() {
            let Some(signing) = identity.signing(self.binding, permitted.as_deref(), self.watch.patience()) else {
                let problem = format!("the agent does not allow {} for this host (ssh-add -h)", identity.describe());
                if !self.error.details.contains(&problem) {
                    (self.note)(&|| problem.clone());
                    self.error.details.push(problem);
                }
                continue;
            };
            if let Some(answer) = self.offer_key(number, identity, &signing)? {
                return Ok(answer);
            }
        }
        Ok(Answer::Unclear)
    }

    /// Offers one key. Returns `None` to offer the next.
    fn offer_key(
        &mut self,
        number: usize,
        identity: &Identity,
        signing: &Signing<'_>,
    ) -> Result<Option<Answer>, Outcome> {
        if let Some(names) = identity.signature_preference() {
            let chosen = self.driver.session().method_pref(MethodType::SignAlgo, &names);
            chosen.map_err(|error| self.stopped(Stop::Ssh(error)))?;
            self.showed_rsa = true;
        }
        let user = &self.host.user;
        let step = self.driver.drive(self.watch, |session| ffi::authenticate_public_key(session, user, signing));
        if signing.was_unbound() {
            self.warn_unbound();
        }
        let is_again = self.keys.contains(&number);
        self.keys.push(number);
        let shown = identity.describe_offered(self.driver.link().offered_algorithm().as_deref());
        match step {
            Ok(PublicKeyAnswer::Accepted) => Ok(Some(Answer::Accepted(identity.describe()))),
            Ok(PublicKeyAnswer::Refused) => {
                self.judged(shown);
                if is_again {
                    self.error.tried.pop();
                }
                Ok(None)
            }
            Ok(PublicKeyAnswer::Unsettled) => {
                // It may have been the first of several factors.
                let answer = self.judged(shown);
                if matches!(answer, Answer::Unclear)
                    && let Answer::Accepted(how) = self.ask_offered()?
                {
                    return Ok(Some(Answer::Accepted(how)));
                }
                Ok(self.needs_no_key())
            }
            Ok(PublicKeyAnswer::NotSigned(reason)) => {
                self.watch.check()?;
                let Some(request) = signing.host_bound_request(user) else {
                    self.error.details.push(format!("{} could not sign: {reason}", identity.describe()));
                    return Ok(None);
                };
                self.error.tried.push(shown);
                if self.is_let_in_by(&request)? {
                    return Ok(Some(Answer::Accepted(identity.describe())));
                }
                Ok(self.needs_no_key())
            }
            Err(Stop::Ssh(error)) => Err(self.ended(&error, Some(shown))),
            Err(stop) => Err(self.stopped(stop)),
        }
    }

    /// Notes that another method must follow, if the server accepts no more keys.
    fn needs_no_key(&self) -> Option<Answer> {
        (!self.is_offered(Method::PublicKey)).then_some(Answer::NextFactor)
    }

    /// Sends a login request that libssh2 does not know; returns whether the server accepts it.
    fn is_let_in_by(&mut self, request: &[u8]) -> Result<bool, Outcome> {
        let mut request = OwnRequest::new(&self.host.user, request);
        let link = self.driver.link();
        let offered = self.driver.drive(self.watch, |session| request.make(session, link));
        let offered = offered.map_err(|stop| self.stopped(stop))?;
        if let Some(offered) = &offered {
            self.note_offered(offered);
        }
        Ok(offered.is_none())
    }

    fn note_offered(&mut self, offered: &str) {
        let offered = offered.split(',').filter(|method| !method.is_empty()).map(str::to_owned);
        self.offered = Some(offered.collect());
    }

    /// Returns the keys that the agent allows for this session, if some are limited to certain hosts. `None` if the
    /// agent cannot be asked: it may still sign.
    fn permitted(&mut self) -> Option<Vec<AgentKey>> {
        let agent = self.credentials.identities.list().iter().find_map(|identity| identity.restricting_agent())?;
        match agent.list_for(self.binding, self.watch.patience()) {
            Ok(Bound { answer, is_bound: true }) => Some(answer),
            Ok(Bound { is_bound: false, .. }) => {
                self.warn_unbound();
                Some(Vec::new())
            }
            Err(_) => None,
        }
    }

    /// Reports once that the agent did not bind a connection to this session.
    fn warn_unbound(&mut self) {
        if !std::mem::replace(&mut self.warned, true) {
            (self.note)(&|| "the agent does not bind its connections to the session".to_owned());
        }
    }

    fn tell_password(&mut self) -> Result<Answer, Outcome> {
        let Some(password) = self.password.take() else { return Ok(Answer::Refused) };
        self.told = Some(Method::Password);
        self.error.told_secret = true;
        self.driver.link().show_secret();
        let user = &self.host.user;
        let step = self.driver.drive(self.watch, |session| ffi::authenticate_password(session, user, password));
        let name = Method::Password.name();
        match step {
            Ok(PasswordAnswer::Accepted) => Ok(Answer::Accepted("a password".to_owned())),
            Ok(PasswordAnswer::Refused) => Ok(self.judged(name.to_owned())),
            Ok(PasswordAnswer::Expired) => {
                self.error.details.push("the password has expired".to_owned());
                self.error.advice = Some(Remedy::ChangePassword);
                Ok(self.judged(name.to_owned()))
            }
            Err(stop) => {
                self.error.tried.push(name.to_owned());
                Err(self.stopped(stop))
            }
        }
    }

    /// Answers the server's questions. With `may_pass` the password follows by its own method, if none of them asks for
    /// it.
    fn keyboard_interactive(&mut self, may_pass: bool) -> Result<Answer, Outcome> {
        let (terminal, socket) = (&self.credentials.terminal, self.driver.socket());
        let mut conversation = Conversation::new(self.host, self.password, terminal, self.watch, socket, may_pass);
        self.driver.link().show_secret();
        let user = &self.host.user;
        let step = self
            .driver
            .drive(self.watch, |session| ffi::authenticate_keyboard_interactive(session, user, &mut conversation));
        if conversation.told_password {
            self.password = None;
            self.told = Some(Method::KeyboardInteractive);
        }
        self.error.told_secret |= conversation.told_any;
        let name = Method::KeyboardInteractive.name();
        self.error.question = conversation.passed.take().map(|problem| format!("{name}: {problem}"));
        match (conversation.stop.take(), step) {
            (Some(Silence::Job(outcome)), _) => Err(of_secret(outcome)),
            (Some(Silence::NoAnswer { problem, advice }), _) => {
                self.error.question = Some(format!("{name}: {problem}"));
                self.error.advice = Some(advice);
                Err(self.refused())
            }
            (None, Ok(true)) => Ok(Answer::Accepted(name.to_owned())),
            (None, Ok(false)) => Ok(self.judged(name.to_owned())),
            (None, Err(stop)) => {
                self.error.tried.push(name.to_owned());
                Err(self.stopped(stop))
            }
        }
    }

    /// Returns the outcome of an interrupted step.
    fn stopped(&mut self, stop: Stop) -> Outcome {
        match stop {
            Stop::Job(outcome) if self.error.told_secret => of_secret(outcome),
            Stop::Job(outcome) => outcome,
            Stop::Ssh(error) => self.ended(&error, None),
        }
    }

    /// Returns the outcome of a connection that ended, perhaps in answer to an identity that was `shown`. Servers close
    /// the connection after MaxAuthTries refusals, so an end after the first refusal counts as one; they also do if an
    /// account may not be used although the key is right, with or without a message.
    fn ended(&mut self, error: &Error, shown: Option<String>) -> Outcome {
        let link = self.driver.link();
        let (goodbye, given_up) = (link.goodbye(), link.given_up());
        let is_told = !link.banners().1.is_empty() || goodbye.as_ref().is_some_and(Goodbye::refuses_login);
        let is_answer = given_up.is_none() && is_told;
        if self.error.tried.is_empty() && self.error.accepted.is_empty() && !is_answer {
            return dropped("authentication", error, true, link).into();
        }
        self.error.is_cut = !is_told && goodbye.is_none() && given_up.is_none();
        self.error.tried.extend(shown);
        self.error.said.push(match (goodbye, given_up) {
            (Some(goodbye), _) => goodbye.to_string(),
            (None, Some(why)) => why.error().message().to_owned(),
            (None, None) => "then the server ended the connection".to_owned(),
        });
        self.refused()
    }

    fn refused(&mut self) -> Outcome {
        let link = self.driver.link();
        let (before, after) = link.banners();
        let mut error = std::mem::take(&mut self.error);
        let said = after.iter().map(|text| format!("the server said: {}", ffi::quoted(text)));
        error.said.splice(0..0, said);
        if !before.is_empty() {
            error.said.push(format!("its banner: {}", ffi::quoted(&before.join(" "))));
        }
        let taken = link.taken_algorithms().filter(|_| self.showed_rsa);
        error.details.extend(taken.and_then(|names| lacking_rsa(&names)));
        error.is_explained = !after.is_empty();
        error.offered = self.offered.take().unwrap_or_default();
        let takes_keys = error.offered.is_empty() || self.is_offered(Method::PublicKey);
        if error.tried.is_empty() && error.accepted.is_empty() && error.advice.is_none() && takes_keys {
            error.advice = self.why_no_key();
        }
        HostError::Auth(Box::new(error)).into()
    }

    /// Returns the remedy if keys exist and none may be offered.
    fn why_no_key(&self) -> Option<Remedy> {
        if !self.host.methods.contains(&Method::PublicKey) {
            Some(Remedy::AllowKeys)
        } else if self.credentials.identities.are_disallowed() {
            Some(Remedy::AllowKeyAlgorithms)
        } else if self.credentials.identities.unusable().iter().any(|why| why.contains(ENCRYPTED)) {
            // The message of the key says why it stays locked, and which ssh-add loads it into an agent.
            Some(Remedy::PassphraseNeeded)
        } else {
            None
        }
    }
}

/// Describes the server's algorithms for RSA keys, if they are not ours.
fn lacking_rsa(taken: &str) -> Option<String> {
    let names: Vec<&str> = taken.split(',').filter(|name| name.contains("rsa")).collect();
    let has = |name| names.contains(&name);
    match &names[..] {
        _ if has("rsa-sha2-256") && has("rsa-sha2-512") => None,
        [] => Some("the server accepts no RSA signatures".to_owned()),
        names => Some(format!("of RSA signatures the server accepts only {}", names.join(", "))),
    }
}

/// Returns the outcome after a secret was sent or asked for: then a timeout does not cause another attempt.
fn of_secret(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::TimedOut { phase: Phase::Auth, limit, missing } => {
            Outcome::TimedOut { phase: Phase::Secret, limit, missing }
        }
        outcome => outcome,
    }
}
