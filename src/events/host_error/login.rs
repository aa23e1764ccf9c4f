//! A login that the server refused: what was tried, the server's messages, and the remedy.

use std::fmt;

use crate::events::remedy::Remedy;
use crate::system::quotation::said_names;
use crate::system::redact;

/// The methods of authentication that a server may name (RFC 4252, RFC 4256).
const METHODS: [&str; 6] = ["publickey", "password", "keyboard-interactive", "hostbased", "none", "gssapi-with-mic"];

/// Characters of a server's list of methods in a message.
const LONGEST_LIST: usize = 200;

/// A login in which the server refused every method.
#[derive(Clone, Debug, Default)]
pub struct LoginError {
    /// The user on the remote host.
    pub user: String,
    /// Accepted factors of several, named as in `tried`.
    pub accepted: Vec<String>,
    /// The identities that were offered, as messages call them, and the other methods that were tried, by name.
    pub tried: Vec<String>,
    /// The methods that the server offers, if it said so.
    pub offered: Vec<String>,
    /// Whether the server got a password, or a typed answer.
    pub told_secret: bool,
    /// A question of the server that got no answer, and why.
    pub question: Option<String>,
    /// The server's messages, and how it ended the connection.
    pub said: Vec<String>,
    /// Whether its messages explain the refusal: its answer to a key or password that it knows.
    pub is_explained: bool,
    /// Whether the connection ended without a message, which may have another cause.
    pub is_cut: bool,
    /// Other details, such as keys that could not be used.
    pub details: Vec<String>,
    /// The host as the user wrote it, if it is a jump host, for which options of the list's hosts do not apply.
    pub jump: Option<String>,
    /// The remedy, if known better than from `tried`.
    pub advice: Option<Remedy>,
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.accepted.is_empty() {
            let verb = if self.accepted.len() == 1 { "was" } else { "were" };
            parts.push(format!("{} {verb} accepted", counted(&self.accepted).join(" and ")));
        }
        if !self.tried.is_empty() {
            parts.push(format!("refused after trying {}", counted(&self.tried).join(", ")));
        }
        if parts.is_empty() && self.question.is_none() {
            parts.push("no identity to offer".to_owned());
        }
        if !self.offered.is_empty() {
            let verb = if self.accepted.is_empty() { "offers" } else { "also wants" };
            parts.push(format!("the server {verb} {}", said_names(&self.offered, LONGEST_LIST)));
        }
        parts.extend(self.question.iter().chain(&self.details).chain(&self.said).cloned());
        write!(f, "{}: {}", self.user, parts.join("; "))
    }
}

/// Counts entries that look the same, such as keys of an agent with one comment.
fn counted(tried: &[String]) -> Vec<String> {
    let mut counts: Vec<(&String, usize)> = Vec::new();
    for what in tried {
        match counts.iter_mut().find(|(other, _)| *other == what) {
            Some((_, count)) => *count += 1,
            None => counts.push((what, 1)),
        }
    }
    let text = |(what, count)| if count == 1 { String::clone(what) } else { format!("{what} ({count} keys)") };
    counts.into_iter().map(text).collect()
}

impl LoginError {
    /// Redacts passwords in text from the server.
    pub(crate) fn redact(&mut self) {
        self.details.iter_mut().chain(&mut self.question).for_each(redact::redact_quotations);
        // The protocol's own method names are never secret.
        let methods = self.offered.iter_mut().filter(|method| !METHODS.contains(&method.as_str()));
        methods.chain(&mut self.said).for_each(redact::redact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn keys_that_look_the_same_are_counted() {
        let tried = list(&["ssh-ed25519 me (agent)", "ssh-ed25519 me (agent)", "password", "ssh-ed25519 me (agent)"]);
        let error = LoginError { user: "u".to_owned(), tried, ..LoginError::default() };
        assert_eq!(error.to_string(), "u: refused after trying ssh-ed25519 me (agent) (3 keys), password");
    }

    #[test]
    fn a_factor_that_was_accepted_is_not_said_to_be_refused() {
        let (accepted, offered) = (list(&["ssh-ed25519 k"]), list(&["password"]));
        let error = LoginError { user: "u".to_owned(), accepted, offered, ..LoginError::default() };
        assert_eq!(error.to_string(), "u: ssh-ed25519 k was accepted; the server also wants password");
        assert_eq!(error.hint().as_deref(), Some("the server requires more: -A asks for a password"));
        let error = LoginError { tried: list(&["password"]), told_secret: true, ..error };
        assert_eq!(
            error.to_string(),
            "u: ssh-ed25519 k was accepted; refused after trying password; the server also wants password"
        );
    }
}
