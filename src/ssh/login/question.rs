//! Decides from the words of a keyboard-interactive question what it asks for: the password of the run, or something
//! that must not get the password.
//!
//! The words for a password are known in many languages. A question with one of them is judged word by word, since it
//! may contain names of servers: `node-one Password:`, `Passwort auf verify1:`. Without one of them, any word for a
//! code counts.

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// The password: `Password:`, `Adgangskode:`.
    Password,
    /// A new password: `New password:`.
    NewPassword,
    /// A code, or a one-time password: `Verification code:`, `Einmalpasswort:`.
    Code,
    /// Unknown, in any language.
    Unknown,
    /// Nothing: there is no text.
    Nothing,
}

/// Words for passwords, in the languages of login programs; of two where one contains the other, the longer comes
/// first.
const PASSWORDS: [&str; 46] = [
    "adgangskode",
    "contrase\u{f1}a",
    "contrasenya",
    "contrasena",
    "contrasinal",
    "\u{3ba}\u{3c9}\u{3b4}\u{3b9}\u{3ba}\u{3cc}\u{3c2} \u{3c0}\u{3c1}\u{3cc}\u{3c3}\u{3b2}\u{3b1}\u{3c3}\u{3b7}\u{3c2}",
    "\u{3c3}\u{3c5}\u{3bd}\u{3b8}\u{3b7}\u{3bc}\u{3b1}\u{3c4}\u{3b9}\u{3ba}\u{3cc}",
    "slapta\u{17e}odis",
    "mot de passe",
    "wachtwoord",
    "lykilor\u{f0}",
    "passphrase",
    "kata sandi",
    "pasahitza",
    "l\u{f6}senord",
    "losenord",
    "salasana",
    "password",
    "passwort",
    "kennwort",
    "passord",
    "kodeord",
    "passwd",
    "m\u{1ead}t kh\u{1ea9}u",
    "lozinka",
    "zaporka",
    "jelsz\u{f3}",
    "has\u{142}o",
    "parola",
    "parole",
    "parool",
    "\u{15f}ifre",
    "heslo",
    "geslo",
    "haslo",
    "senha",
    "\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}",
    "\u{5e1}\u{5d9}\u{5e1}\u{5de}\u{5d4}",
    "\u{643}\u{644}\u{645}\u{629} \u{627}\u{644}\u{645}\u{631}\u{648}\u{631}",
    "\u{e23}\u{e2b}\u{e31}\u{e2a}\u{e1c}\u{e48}\u{e32}\u{e19}",
    "\u{30d1}\u{30b9}\u{30ef}\u{30fc}\u{30c9}",
    "\u{5bc6}\u{7801}",
    "\u{5bc6}\u{78bc}",
    "\u{53e3}\u{4ee4}",
    "\u{be44}\u{bc00}\u{bc88}\u{d638}",
    "\u{c554}\u{d638}",
];

/// Words for a code or a one-time password, wherever they occur: no server's name contains them.
const CODE_PHRASES: [&str; 40] = [
    "one time",
    "one-time",
    "onetime",
    "single use",
    "single-use",
    "einmal",
    "engangs",
    "eng\u{e5}ngs",
    "eenmalig",
    "usage unique",
    "solo uso",
    "uso \u{fa}nico",
    "uso unico",
    "uso singolo",
    "descart\u{e1}vel",
    "kertak\u{e4}yt",
    "jednoraz",
    "jednor\u{e1}z",
    "jednokratn",
    "egyszer",
    "tek kullan",
    "\u{43e}\u{434}\u{43d}\u{43e}\u{440}\u{430}\u{437}\u{43e}\u{432}",
    "\u{43a}\u{43e}\u{434}",
    "\u{3ba}\u{3c9}\u{3b4}\u{3b9}\u{3ba}",
    "\u{5e7}\u{5d5}\u{5d3}",
    "\u{5d7}\u{5d3} \u{5e4}\u{5e2}\u{5de}\u{5d9}",
    "\u{631}\u{645}\u{632}",
    "\u{e23}\u{e2b}\u{e31}\u{e2a}",
    "\u{9a8c}\u{8bc1}",
    "\u{9a57}\u{8b49}",
    "\u{6821}\u{9a8c}",
    "\u{52a8}\u{6001}",
    "\u{52d5}\u{614b}",
    "\u{4e00}\u{6b21}",
    "\u{4ee4}\u{724c}",
    "\u{7801}",
    "\u{78bc}",
    "\u{30b3}\u{30fc}\u{30c9}",
    "\u{30ef}\u{30f3}\u{30bf}\u{30a4}\u{30e0}",
    "\u{8a8d}\u{8a3c}",
];
/// The same in Korean.
const KOREAN_CODES: [&str; 4] = ["\u{c77c}\u{d68c}", "\u{c778}\u{c99d}", "\u{cf54}\u{b4dc}", "\u{bcf4}\u{c548}"];

/// Words for codes and for devices that make them.
const CODE_WORDS: [&str; 28] = [
    "otp",
    "totp",
    "hotp",
    "pin",
    "tan",
    "mtan",
    "itan",
    "duo",
    "sms",
    "mfa",
    "2fa",
    "u2f",
    "fido",
    "fido2",
    "kod",
    "cod",
    "skey",
    "opie",
    "response",
    "answer",
    "antwort",
    "r\u{e9}ponse",
    "respuesta",
    "risposta",
    "resposta",
    "option",
    "touch",
    "push",
];
/// Starts of such words.
const CODE_BEGINNINGS: [&str; 10] =
    ["verif", "token", "challenge", "yubi", "securid", "secureid", "passcode", "authenticator", "factor", "faktor"];
/// Ends of such words.
const CODE_ENDS: [&str; 12] = [
    "code",
    "codes",
    "kode",
    "koden",
    "coden",
    "koodi",
    "c\u{f3}digo",
    "codigo",
    "codice",
    "factor",
    "faktor",
    "token",
];

/// Words for setting a new password.
const NEW: [&str; 34] = [
    "new",
    "next",
    "retype",
    "reenter",
    "repeat",
    "confirm",
    "again",
    "neu",
    "neue",
    "neues",
    "neuen",
    "wiederholen",
    "best\u{e4}tigen",
    "nouveau",
    "confirmer",
    "nueva",
    "nuevo",
    "nova",
    "novo",
    "nuova",
    "repita",
    "ripeti",
    "ny",
    "nye",
    "nytt",
    "gentag",
    "gjenta",
    "nieuw",
    "nieuwe",
    "nowe",
    "nov\u{e9}",
    "uusi",
    "\u{43d}\u{43e}\u{432}\u{44b}\u{439}",
    "yeni",
];
/// The same in languages without blanks between words.
const NEW_PHRASES: [&str; 4] = ["\u{65b0}", "\u{518d}\u{6b21}", "\u{c0c8}", "\u{786e}\u{8ba4}"];

/// Returns what a text in lower case asks for.
pub fn asks(text: &str) -> Asks {
    let mut rest = text.to_owned();
    for password in PASSWORDS {
        if rest.contains(password) {
            rest = rest.replace(password, " ");
        }
    }
    let has_password = rest != text;
    let has_any = |phrases: &[&str]| phrases.iter().any(|phrase| rest.contains(phrase));
    if has_any(&CODE_PHRASES) || has_any(&KOREAN_CODES) {
        return Asks::Code;
    }
    let is_part = |c: char| c.is_alphanumeric() || has_password && "-_.@".contains(c);
    let words: Vec<&str> = rest.split(|c| !is_part(c)).map(|word| word.trim_matches(['-', '_', '.'])).collect();
    let (names, words): (Vec<&str>, Vec<&str>) =
        words.into_iter().filter(|word| !word.is_empty()).partition(|word| has_password && is_name(word));
    // A name may also be a word in two pieces: `re-enter`, `pass-code`.
    let whole: Vec<String> = names.iter().map(|name| name.replace(['-', '_'], "")).collect();
    let last = |name: &&str| name.rsplit(['-', '_']).next().is_some_and(is_code);
    if words.iter().any(|word| is_code(word))
        || names.iter().filter(|name| name.contains(['-', '_']) && !name.contains(['@', '.'])).any(last)
        || !has_password
            && CODE_BEGINNINGS.iter().chain(&CODE_ENDS).chain(&["otp", "kod", "duo"]).any(|code| rest.contains(code))
    {
        return Asks::Code;
    }
    let is_new = |word: &str| NEW.contains(&word);
    if words.iter().any(|word| is_new(word)) || whole.iter().any(|word| is_new(word)) || has_any(&NEW_PHRASES) {
        return Asks::NewPassword;
    }
    match (has_password, words.is_empty()) {
        (true, _) => Asks::Password,
        (false, false) => Asks::Unknown,
        (false, true) => Asks::Nothing,
    }
}

fn is_code(word: &str) -> bool {
    CODE_WORDS.contains(&word)
        || CODE_BEGINNINGS.iter().any(|code| word.starts_with(code))
        || CODE_ENDS.iter().any(|code| word.ends_with(code))
}

/// Whether a word next to that for a password is the name of a server or a user: `root@one`, `db.example.org`,
/// `new-york`, `duo1`.
fn is_name(word: &str) -> bool {
    let is_numbered =
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.ends_with(|c: char| c.is_ascii_digit());
    word.contains(['@', '.', '-', '_']) || is_numbered && !CODE_WORDS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_told_from_a_code() {
        for (expected, texts) in [
            (
                Asks::Password,
                &[
                    "password: ",
                    "password for root@newyork:",
                    "ldap password: ",
                    "(current) unix password: ",
                    "passwort: ",
                    "mot de passe : ",
                    "adgangskode: ",
                    "kodeord:",
                    "contrase\u{f1}a:",
                    "\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}: ",
                    "\u{5bc6}\u{7801}\u{ff1a}",
                    "\u{30d1}\u{30b9}\u{30ef}\u{30fc}\u{30c9}:",
                    "node-one password:",
                    "new-york password:",
                    "pin-1 password:",
                    "duo1 passwort:",
                    "passwort fuer root auf verify1:",
                    "token.example.org password:",
                ][..],
            ),
            (
                Asks::NewPassword,
                &[
                    "new password: ",
                    "retype new password: ",
                    "re-enter password:",
                    "neues passwort:",
                    "\u{65b0}\u{5bc6}\u{7801}:",
                ],
            ),
            (
                Asks::Code,
                &[
                    "verification code: ",
                    "one-time password (oath) for `root': ",
                    "one time password:",
                    "enter otp password:",
                    "password or pass-code:",
                    "passcode or option (1-3): ",
                    "best\u{e4}tigungscode:",
                    "code de v\u{e9}rification :",
                    "sikkerhedskode:",
                    "token_response:",
                    "duo: ",
                    "pin:",
                    "\u{9a8c}\u{8bc1}\u{7801}\u{ff1a}",
                    "\u{52a8}\u{6001}\u{53e3}\u{4ee4}:",
                    "\u{30ef}\u{30f3}\u{30bf}\u{30a4}\u{30e0}\u{30d1}\u{30b9}\u{30ef}\u{30fc}\u{30c9}:",
                    "\u{8a8d}\u{8a3c}\u{30b3}\u{30fc}\u{30c9}:",
                    "einmalpasswort:",
                    "engangsadgangskode:",
                    "mot de passe \u{e0} usage unique :",
                    "yubikey for `u':",
                    "securid:",
                    "response:",
                    "\u{43a}\u{43e}\u{434}:",
                ],
            ),
            (Asks::Unknown, &["kennung:", "tr\u{101}n\u{121}:", "pass:"]),
            (Asks::Nothing, &["", ": "]),
        ] {
            for text in texts {
                assert_eq!(asks(text), expected, "{text}");
            }
        }
    }
}
