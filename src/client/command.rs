//! A command for the hosts of a client, and its options.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::error::Error;
use super::{Client, Run};
use crate::command::host_args::{self, Arguments};
use crate::command::input::{Input, Inputs};
use crate::command::sudo::{self, Sudo};
use crate::command::{self, CommandLine, Shell, Wrapping};
use crate::plan::job::Commands;
use crate::plan::portion::Portion;
use crate::plan::settings::Settings;
use crate::plan::work::Work;

/// A command and its options, before it runs.
///
/// ```no_run
/// # use pssh::{Client, Settings};
/// # use std::io::Write;
/// # use std::time::Duration;
/// # fn main() -> Result<(), pssh::Error> {
/// # let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
/// let run = client.command("cat > motd").with_stdin().timeout(Duration::from_secs(60)).run()?;
/// for host in &run {
///     if let Some(mut stdin) = host.stdin() {
///         writeln!(stdin, "Welcome to {}", host.label())?;
///     }
/// }
/// run.join(None)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until it is run"]
pub struct Command<'a> {
    pub(super) client: &'a Client,
    pub(super) command: Vec<u8>,
    pub(super) shell: Shell,
    pub(super) sudo: Option<Sudo>,
    pub(super) host_args: Option<Vec<Arguments>>,
    pub(super) has_stdin: bool,
    pub(super) stop_on_errors: Option<Portion>,
    pub(super) timeout: Option<Duration>,
}

impl Command<'_> {
    /// Fills in values for each host: one [`Arguments`] per host, in the order of the list. They replace `%q` in the command, quoted as
    /// one word for the shell, `%s`, which the shell interprets, and `%(name)q` and `%(name)s` by name; `%%` is a percent sign. Without
    /// values, `%` is an ordinary character. (`host_args` of the reference client, which quotes nothing.)
    ///
    /// ```no_run
    /// # use pssh::{Arguments, Client, Settings};
    /// # fn main() -> Result<(), pssh::Error> {
    /// let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
    /// let versions = ["1.2", "1.3 (beta)"].map(|version| Arguments::in_order([version]));
    /// client.command("deploy %q").host_args(versions).run()?.join(None)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn host_args(mut self, arguments: impl IntoIterator<Item = Arguments>) -> Self {
        self.host_args = Some(arguments.into_iter().collect());
        self
    }

    /// Sets the shell that runs the command instead of the login shell (`shell` and `use_shell` of the reference client).
    ///
    /// ```no_run
    /// # use pssh::{Client, Settings, Shell};
    /// # fn main() -> Result<(), pssh::Error> {
    /// # let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
    /// let bash = Shell::Named(b"bash -c".to_vec());
    /// client.command("echo {1..3} \"$BASH_VERSION\"").shell(bash).run()?.join(None)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shell(mut self, shell: Shell) -> Self {
        self.shell = shell;
        self
    }

    /// Runs the command with sudo(8) as `user`, or as sudo's default (root). The password is [`Settings::sudo_password`], else that of the
    /// login; the reference client leaves it to the program to write it to standard input.
    ///
    /// ```no_run
    /// # use pssh::{Client, Settings};
    /// # fn main() -> Result<(), pssh::Error> {
    /// let settings = Settings::for_library()?.sudo_password("secret");
    /// let client = Client::new(["db1", "db2"], settings)?;
    /// client.command("psql -c 'vacuum'").sudo(Some("postgres")).run()?.join(None)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sudo(mut self, user: Option<&str>) -> Self {
        self.sudo = Some(Sudo { user: user.map(str::to_owned) });
        self
    }

    /// Lets the program write to the standard input of each host's command ([`Host::stdin`](crate::Host::stdin)). The input ends when its writer is
    /// dropped; until then, a command that reads it waits.
    pub fn with_stdin(mut self) -> Self {
        self.has_stdin = true;
        self
    }

    /// Stops the run once this many hosts have failed: running commands are stopped, and other hosts are not started. The
    /// reference client raises the error instead, and continues on all hosts.
    ///
    /// ```no_run
    /// # use pssh::{Class, Client, Portion, Settings};
    /// # fn main() -> Result<(), pssh::Error> {
    /// # let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
    /// let tally = client.command("deploy").stop_on_errors(Portion::Hosts(1)).run()?.join(None)?;
    /// println!("{} hosts were not deployed", tally.count(Class::Cancelled));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop_on_errors(mut self, limit: Portion) -> Self {
        self.stop_on_errors = Some(limit);
        self
    }

    /// Limits the time that the command may run on each host; a command that takes longer is stopped there. The default is
    /// [`Settings::command_timeout`]; the reference client has no such limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Starts the command like [`Client::run_command`].
    ///
    /// # Errors
    /// The command cannot be started on any host, and none was connected to:
    ///
    /// * [`Error::User`]: the user for sudo is not a user name.
    /// * [`Error::Command`]: the command is empty or too long, has a NUL byte, or has a placeholder that does not exist.
    /// * [`Error::Arguments`]: the values do not fit the hosts or the placeholders.
    /// * [`Error::Unprepared`]: ssh_config, a known_hosts file, a key or a password cannot be used.
    /// * [`Error::Start`]: there are too many hosts, or too few files or threads for them.
    /// * [`Error::System`]: the system has no pipe.
    pub fn run(self) -> Result<Run, Error> {
        if let Some(user) = self.sudo.as_ref().and_then(|sudo| sudo.user.as_deref()) {
            sudo::check_user(user).map_err(|problem| Error::User(user.to_owned(), problem))?;
        }
        let (words, wrapping) = ([OsString::from_vec(self.command)], Wrapping { shell: self.shell });
        let commands = match self.host_args {
            None => Commands::All(command::literal(&words, &wrapping)?.into()),
            Some(arguments) => {
                let line = CommandLine::with_places(&words, wrapping)?;
                host_args::check(&arguments, &self.client.hosts, &line)?;
                Commands::Each(line, arguments)
            }
        };
        let (writers, inputs): (Vec<_>, Vec<_>) = match self.has_stdin {
            true => self.client.hosts.iter().map(|_| Input::written()).unzip(),
            false => (Vec::new(), Vec::new()),
        };
        let inputs = if self.has_stdin { Inputs::Each(inputs) } else { Inputs::Nothing };
        let settings = Settings {
            stop_on_errors: self.stop_on_errors,
            sudo: self.sudo,
            command_timeout: self.timeout,
            verbose: false,
            ..self.client.settings.clone()
        };
        let work = Work::Commands { commands, inputs };
        self.client.start(settings, work, writers, Vec::new())
    }
}
