//! Runs of the real binary.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::plan::{Options, Plan, Ports};

/// One run by `plan`.
pub(super) fn run(pssh: &Path, directory: &Path, options: &Options, plan: &Plan, ports: Ports) -> Result<String> {
    let list = directory.join("hosts");
    fs::write(&list, plan.list(ports)).context("cannot write the list of hosts")?;
    let begun = Instant::now();
    let mut command = Command::new(pssh);
    command.arg("-h").arg(list).args(["-F", "none", "--json", "-l", "soak", "--no-agent", "--connect-timeout", "60"]);
    command.args(["--num-retries", "2", "--retry-delay", "0.2", "-p", &options.pool.to_string()]);
    command.arg("--identity").arg(directory.join("key")).arg("--known-hosts").arg(directory.join("known_hosts"));
    command.args(["--", "uptime"]).env_clear().env("HOME", directory);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot run {}", pssh.display()))?;
    let mut stderr = child.stderr.take().context("it has no standard error")?;
    let complaints = thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });

    let mut printed = vec![String::new(); plan.hosts()];
    let mut ended: Vec<Option<String>> = vec![None; plan.hosts()];
    for line in BufReader::new(child.stdout.take().context("it has no output")?).lines() {
        let event: Value = serde_json::from_str(&line.context("its output cannot be read")?).context("no JSON")?;
        let Some(host) = event["index"].as_u64().map(|index| index as usize) else { continue };
        ensure!(event["label"] == format!("h{host}"), "host {host} is called {}", event["label"]);
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        match text("event") {
            "output" => printed[host] += text("text"),
            "end" => {
                let before = ended[host].replace(text("outcome").to_owned());
                ensure!(before.is_none(), "host {host} has ended twice");
            }
            _ => {}
        }
    }
    let status = child.wait().context("it cannot be waited for")?;
    let complaints = complaints.join().unwrap_or_default();
    for (host, (outcome, printed)) in ended.iter().zip(&printed).enumerate() {
        let outcome = outcome.as_deref().with_context(|| format!("host {host} is lost from the report"))?;
        plan.check(host, outcome, printed)?;
    }
    ensure!(status.code() == Some(plan.status()), "{status} instead of {}: {complaints}", plan.status());
    Ok(plan.summary(begun.elapsed().as_secs_f64()))
}
