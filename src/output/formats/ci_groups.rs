//! Foldable groups in the logs of CI systems, around the output of a host. Output of hosts can neither end its
//! group nor give the system commands. Hosts that failed are not folded, and GitHub gets an error for each.

use std::time::Instant;

use clap::ValueEnum;

use crate::events::event::Stream;
use crate::output::writer::Output;
use crate::system::clock::Clock;
use crate::text::sanitize::sanitize;

/// Which CI system's groups to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CiGroups {
    /// Those of the system that the run is in
    Auto,
    /// GitHub Actions and compatible systems (Gitea, Forgejo)
    Github,
    /// GitLab CI
    Gitlab,
}

/// Writes groups.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    system: System,
    clock: Clock,
    number: usize,
}

/// A supported CI system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Github,
    Gitlab,
}

impl System {
    /// Returns the environment variable that is `true` in its jobs.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            System::Github => "GITHUB_ACTIONS",
            System::Gitlab => "GITLAB_CI",
        }
    }
}

impl CiGroups {
    /// Returns the named system.
    pub(crate) fn system(self) -> Option<System> {
        match self {
            CiGroups::Auto => None,
            CiGroups::Github => Some(System::Github),
            CiGroups::Gitlab => Some(System::Gitlab),
        }
    }
}

/// Bytes of the random token that makes GitHub resume commands. Too long to guess.
const TOKEN: usize = 16;

/// A group that has begun.
#[derive(Debug)]
pub struct Group {
    /// Whether it is folded.
    is_folded: bool,
    /// The token that makes GitHub resume commands.
    token: String,
    name: String,
    /// The last byte was a carriage return that is not written yet.
    is_after_return: bool,
}

impl Groups {
    /// Resolves `wanted`: `auto` means none outside of CI systems. `variable` says whether an environment variable is
    /// set to true.
    pub fn new(wanted: CiGroups, variable: impl Fn(&str) -> bool) -> Option<Groups> {
        let found = || [System::Github, System::Gitlab].into_iter().find(|system| variable(system.variable()));
        let system = wanted.system().or_else(found)?;
        Some(Groups { system, clock: Clock::now(), number: 0 })
    }

    /// Begins a group on standard output, folded below its title if its hosts succeeded.
    pub fn begin(&mut self, title: &str, is_ok: bool, output: &mut Output) -> Group {
        self.number += 1;
        let mut random = [0; TOKEN];
        // If OpenSSL had no randomness, no connection would have worked either.
        let token = match openssl::rand::rand_bytes(&mut random) {
            Ok(()) => random.iter().map(|byte| format!("{byte:02x}")).collect(),
            Err(_) => String::new(),
        };
        let group = Group {
            is_folded: is_ok,
            token,
            name: format!("pssh_{}_{}", std::process::id(), self.number),
            is_after_return: false,
        };
        if group.is_folded {
            self.fold(&group, title, output);
        }
        if self.system == System::Github {
            // Until the token the runner reads nothing (docs.github.com, "Workflow commands", stopping and starting).
            output.command(format!("::stop-commands::{}\n", group.token).as_bytes());
        }
        group
    }

    fn fold(&self, group: &Group, title: &str, output: &mut Output) {
        let title = sanitize(title);
        let (title, before) = match self.system {
            // The runner reads %XX in a title.
            System::Github => (title.replace('%', "%25"), "::group::".to_owned()),
            System::Gitlab => {
                let (at, name) = (self.clock.unix(Instant::now()), &group.name);
                (title.into_owned(), format!("\x1b[0Ksection_start:{at}:{name}[collapsed=true]\r\x1b[0K"))
            }
        };
        output.command(before.as_bytes());
        output.buffer(Stream::Stdout).extend_from_slice(title.as_bytes());
        output.command(b"\n");
    }

    /// Reports a failed host in a line that GitHub shows at the top of its page.
    pub fn failed(&self, host: &str, outcome: &str, output: &mut Output) {
        if self.system == System::Github {
            let title = escape(host).replace(':', "%3A").replace(',', "%2C");
            output.command(format!("::error title={title}::{}\n", escape(outcome)).as_bytes());
        }
    }

    /// Writes text of the group, sanitized.
    pub fn show(&self, group: &mut Group, bytes: &[u8], buffer: &mut Vec<u8>) {
        if self.system == System::Github {
            return buffer.extend_from_slice(bytes);
        }
        // A section's marker needs a carriage return within a line: as the end of a line it shows the same, and marks nothing.
        for byte in bytes {
            if std::mem::take(&mut group.is_after_return) {
                buffer.extend_from_slice(if *byte == b'\n' { b"\r" } else { b"\n" });
            }
            if *byte == b'\r' {
                group.is_after_return = true;
            } else {
                buffer.push(*byte);
            }
        }
    }

    /// Ends the group, after a whole line.
    pub fn end(&self, group: &Group, output: &mut Output) {
        let marker = match self.system {
            System::Github if group.is_folded => format!("::{}::\n::endgroup::\n", group.token),
            System::Github => format!("::{}::\n", group.token),
            System::Gitlab if group.is_folded => {
                let at = self.clock.unix(Instant::now());
                format!("\x1b[0Ksection_end:{at}:{}\r\x1b[0K\n", group.name)
            }
            System::Gitlab => return,
        };
        output.command(marker.as_bytes());
    }
}

/// Escapes text for a GitHub command.
fn escape(text: &str) -> String {
    sanitize(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use crate::output::formats::ci_log::CiLog;
    use crate::output::style::Style;

    /// Returns what `write` wrote to standard output, which goes to the log.
    fn written(write: impl FnOnce(&mut Output)) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        let style = Style { log: CiLog::new(Some(CiGroups::Github), false, &|_| false), ..Style::default() };
        let mut output = Output::over(Some(file.try_clone().expect("a file")), None, &style);
        write(&mut output);
        output.flush();
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("text");
        text
    }

    #[test]
    fn github_reads_nothing_of_what_a_host_prints() {
        let mut groups = Groups::new(CiGroups::Github, |_| false).expect("groups");
        let mut told = Vec::new();
        for _ in 0..2 {
            let text = written(|output| {
                let mut group = groups.begin("web1: 100%\n::x ##[y]", true, output);
                groups.show(&mut group, b"::error::x\n", output.buffer(Stream::Stdout));
                groups.show(&mut group, b"::stop-commands::y\n", output.buffer(Stream::Stdout));
                groups.end(&group, output);
            });
            let lines: Vec<&str> = text.lines().collect();
            let token = lines[1].strip_prefix("::stop-commands::").expect("a token").to_owned();
            assert_eq!(token.len(), 2 * TOKEN);
            let expected = [
                "::group::web1: 100%25\\n::x ## [y]",
                lines[1],
                ": :error::x",
                ": :stop-commands::y",
                &format!("::{token}::"),
                "::endgroup::",
            ];
            assert_eq!(lines, expected);
            told.push(token);
        }
        assert_ne!(told[0], told[1], "one that was seen is of no use");
    }

    #[test]
    fn gitlab_finds_no_marker_in_what_a_host_prints() {
        let mut groups = Groups::new(CiGroups::Auto, |name| name == "GITLAB_CI").expect("groups");
        let mut output = Output::over(None, None, &Style::default());
        let (mut group, mut buffer) = (groups.begin("web1", true, &mut output), Vec::new());
        for byte in b"\x1b[0Ksection_end:1:pssh_1_1\r\x1b[0Kx\r\n1%\r2%\r\r\n\r" {
            groups.show(&mut group, &[*byte], &mut buffer);
        }
        assert_eq!(buffer, *b"\x1b[0Ksection_end:1:pssh_1_1\n\x1b[0Kx\r\n1%\n2%\n\r\n");
        assert!(Groups::new(CiGroups::Auto, |_| false).is_none());
    }
}
