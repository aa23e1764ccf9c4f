//! `ssh -G`, for what only ssh can evaluate.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::keywords::{self, Action};
use super::{Config, ConfigError, Files, Origin, Query};

/// How long ssh may take: it runs commands and looks names up.
const PATIENCE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(2);
/// How long its last output may take after its exit.
const GRACE: Duration = Duration::from_secs(1);
/// Its usual message without a terminal.
const NOISE: &str = "Pseudo-terminal will not be allocated";

/// The values of each keyword that ssh prints.
pub(super) type Baseline = BTreeMap<String, Vec<String>>;

/// Returns ssh's settings for a host, except those that it has without any configuration.
pub(super) fn ask(
    config: &Config,
    query: &Query<'_>,
    origin: &Origin,
    construct: &'static str,
) -> Result<Vec<Action>, ConfigError> {
    let failed = |reason| ConfigError::Ssh { origin: origin.clone(), construct, reason };
    if query.host.contains('@') || query.host.contains("://") {
        return Err(failed(format!("{:?} is more than a host name to ssh", query.host)));
    }
    let baseline = match config.baseline.get() {
        Some(baseline) => baseline,
        None => {
            let mut command = Command::new(&config.sources.ssh);
            command.args(["-G", "-F", "none", "--", "localhost"]);
            let baseline = run(command).map_err(failed)?;
            config.baseline.get_or_init(|| baseline)
        }
    };
    let said = run(command(config, query).map_err(failed)?).map_err(failed)?;
    let mut actions = Vec::new();
    for (keyword, values) in &said {
        if keyword != "hostname" && baseline.get(keyword) == Some(values) {
            continue;
        }
        values.iter().try_for_each(|value| check(keyword, value)).map_err(failed)?;
        let read = keywords::read_shown(keyword, values, &config.sources.local);
        actions.extend(read.map_err(|wrong| failed(format!("it prints {keyword} {values:?}: {}", wrong.reason)))?);
    }
    Ok(actions)
}

/// ssh prints several file names on a line, without quotes.
fn check(keyword: &str, value: &str) -> Result<(), String> {
    let bad = match keyword {
        "userknownhostsfile" | "globalknownhostsfile" => {
            value.contains(' ') && !value.split(' ').all(|name| name.starts_with(['/', '~']))
        }
        "revokedhostkeys" => value.contains(' '),
        _ => false,
    };
    if bad {
        return Err(format!("it prints {keyword} {value}, which may be one name or several"));
    }
    Ok(())
}

fn command(config: &Config, query: &Query<'_>) -> Result<Command, String> {
    let mut command = Command::new(&config.sources.ssh);
    // No -T: it would count as a RequestTTY.
    command.arg("-G");
    match &config.sources.files {
        // ssh finds it in the password database's home directory, whatever HOME is.
        Files::Usual { user, .. } => {
            let local = &config.sources.local;
            let own = (local.home_of)(&local.user).map(|home| Path::new(&home).join(".ssh/config"));
            if let Some(own) = own.filter(|own| own != user && (own.exists() || user.exists())) {
                return Err(format!(
                    "it would read {} and not {}: HOME is another directory",
                    own.display(),
                    user.display()
                ));
            }
        }
        Files::None => {
            command.args(["-F", "none"]);
        }
        Files::Only(path) => {
            // A pipe was consumed already.
            if !path.is_file() {
                return Err(format!("{} can't be read again", path.display()));
            }
            command.arg("-F").arg(path);
        }
    }
    if let Some(user) = &query.user {
        command.arg("-l").arg(user);
    }
    if let Some(port) = query.port {
        command.arg("-p").arg(port.to_string());
    }
    for option in query.options {
        command.arg("-o").arg(&option.text);
    }
    command.arg("--").arg(query.host);
    Ok(command)
}

/// Returns ssh's output, by keyword.
fn run(mut command: Command) -> Result<Baseline, String> {
    let program = command.get_program().to_owned();
    // A process group of its own, so that all its processes can be ended.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| {
        let reason = crate::text::message::reason(&error);
        format!("{} can't be run: {reason}; install it, or remove the line", program.display())
    })?;
    let (output, complaint) = (gather(child.stdout.take()), gather(child.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    let status = wait(&mut child, deadline).map_err(|error| crate::text::message::reason(&error))?;
    let late = || format!("it took more than {} s", PATIENCE.as_secs());
    if !status.ok_or_else(late)?.success() {
        let complaint = String::from_utf8_lossy(&complaint.recv_timeout(GRACE).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = complaint.lines().map(str::trim_end).filter(|line| !line.starts_with(NOISE)).collect();
        return Err(format!("it said {:?}", lines.join("; ")));
    }
    let output = output.recv_timeout(GRACE).map_err(|_| late())?;
    let output = String::from_utf8_lossy(&output);
    let mut said = Baseline::new();
    for line in output.lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        said.entry(keyword.to_ascii_lowercase()).or_default().push(value.to_owned());
    }
    Ok(said)
}

/// Reads to the end, which may never come: what `Match exec` leaves running has the same standard error.
fn gather(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut text);
        }
        let _ = sender.send(text);
    });
    receiver
}

/// Waits for the end; `None` if it took too long and was ended.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(INTERVAL);
    }
}
