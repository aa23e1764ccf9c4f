//! What a run refuses of its settings before it reads or asks anything: programs that use the library set fields as they like.

use super::{Settings, WantedVariable};
use crate::hosts::check_login;
use crate::plan::error::Unprepared;
use crate::system::password_source::Source;

impl Settings {
    /// Checks what no later step would notice, or would notice on each host.
    ///
    /// # Errors
    /// [`Unprepared::Setting`]: a setting is not possible; with its name.
    pub(crate) fn check(&self) -> Result<(), Unprepared> {
        let names = &self.names;
        let wrong = |text: String| Err(Unprepared::Setting(text));
        if let Some(user) = &self.user {
            let checked = if user.is_empty() { Err("it is empty") } else { check_login(user) };
            if let Err(problem) = checked {
                return wrong(format!("{} {user:?}: {problem}", names.user));
            }
        }
        if self.ipv4_only && self.ipv6_only {
            return wrong(format!("{} and {}: no address is both", names.ipv4_only, names.ipv6_only));
        }
        for variable in &self.variables {
            if let Err(problem) = WantedVariable::check_name(&variable.name) {
                return wrong(format!("{} {:?}: {problem}", names.variables, variable.name));
            }
        }
        // Only programs that use the library give one.
        for (name, source) in [("password", &self.password), ("sudo_password", &self.sudo_password)] {
            if matches!(source, Some(Source::Given(secret)) if secret.expose().is_empty()) {
                return wrong(format!("setting {name}: it is empty"));
            }
        }
        let asks = |source: &Option<Source>| matches!(source, Some(Source::Ask));
        if self.logs_in && !self.may_ask && (asks(&self.password) || asks(&self.sudo_password)) {
            return wrong(format!("{}: with the setting may_ask off, nobody is asked", names.ask_password));
        }
        Ok(())
    }
}

impl WantedVariable {
    /// Checks the name of a variable.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
        if name.is_empty() {
            Err("the name of a variable is missing")
        } else if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            Err("the name of a variable cannot have blanks")
        } else if name.contains('=') {
            Err("the name of a variable cannot have a =")
        } else {
            Ok(())
        }
    }
}
