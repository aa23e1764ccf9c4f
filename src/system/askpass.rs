//! The program that asks instead of a terminal, when and how ssh(1) runs it: `SSH_ASKPASS` and `SSH_ASKPASS_REQUIRE`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use super::password_source::{self, Secret};
use super::poll::Patience;
use crate::system::redact;

/// The default program, as for Debian's ssh.
const USUAL: &str = "/usr/bin/ssh-askpass";

/// Returns the program to ask with, if any.
pub fn program(has_terminal: bool) -> Option<OsString> {
    let named = env::var_os("SSH_ASKPASS").filter(|program| !program.is_empty());
    let program = named.or_else(|| Path::new(USUAL).exists().then(|| USUAL.into()))?;
    let has_display =
        ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    let required = env::var_os("SSH_ASKPASS_REQUIRE").unwrap_or_default();
    is_wanted(&required, has_display, has_terminal).then_some(program)
}

/// As `read_passphrase` in OpenSSH's readpass.c.
fn is_wanted(required: &OsStr, has_display: bool, has_terminal: bool) -> bool {
    let is = |word: &str| required.eq_ignore_ascii_case(word);
    if is("force") {
        true
    } else if is("never") {
        false
    } else {
        has_display && (is("prefer") || !has_terminal)
    }
}

/// Runs `program` with the question; returns the first line of its output.
///
/// # Errors
/// The reason in words.
pub fn ask(program: &OsStr, prompt: &str, patience: Patience<'_>) -> Result<Secret, String> {
    let output = password_source::output_of(Command::new(program).arg(prompt), patience)
        .map_err(|problem| problem.to_string())?;
    let end = output.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(output.len());
    let answer = Secret::new(&output[..end]);
    redact::remember(&answer);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_run_as_by_ssh() {
        for (required, display, terminal, wanted) in [
            ("", true, true, false),
            ("", true, false, true),
            ("", false, false, false),
            ("force", false, true, true),
            ("FORCE", false, false, true),
            ("prefer", true, true, true),
            ("prefer", false, true, false),
            ("never", true, false, false),
            ("what", true, false, true),
        ] {
            assert_eq!(is_wanted(OsStr::new(required), display, terminal), wanted, "{required} {display} {terminal}");
        }
    }
}
