//! Runs of the library's client in one process, which tells what it holds after each.

use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pssh::{AgentChoice, Client, RetryPolicy, Settings};
use serde_json::{Value, json};

use super::plan::{Options, Plan, Ports};
use super::say;

/// How long the last threads of a run may take to go.
const SETTLING: Duration = Duration::from_secs(5);

/// Runs until it is told to stop.
pub(super) fn main(directory: &Path, options: &Options) -> Result<()> {
    let mut told = std::io::stdin().lock().lines();
    let mut hear = || -> Result<Value> {
        let line = told.next().context("nobody says what to do")?.context("cannot read what to do")?;
        serde_json::from_str(&line).context("no JSON")
    };
    let first = hear()?;
    let ports = Ports::of(&first).context("no ports")?;
    let mut run = first["first"].as_u64().unwrap_or_default() as usize;
    let threads = count("/proc/self/task")?;
    loop {
        let answer = match once(directory, options, run, ports) {
            Ok(summary) => {
                let (kib, files, threads) = held(threads)?;
                json!({"summary": summary, "kib": kib, "files": files, "threads": threads})
            }
            Err(error) => json!({"problem": format!("{error:#}")}),
        };
        say(&answer)?;
        if hear()?["go_on"] != true {
            return Ok(());
        }
        run += 1;
    }
}

fn once(directory: &Path, options: &Options, run: usize, ports: Ports) -> Result<String> {
    let plan = Plan::new(options, run);
    let list = directory.join("library-hosts");
    fs::write(&list, plan.list(ports)).context("cannot write the list of hosts")?;
    let mut settings = Settings::for_library()?;
    settings.user = Some("soak".to_owned());
    settings.pool_size = options.pool;
    settings.identities = vec![directory.join("key")];
    settings.known_hosts = vec![directory.join("known_hosts")];
    settings.agent = AgentChoice::Nobody;
    settings.config_files = pssh::internal::Files::of("", Some("none".as_ref()));
    settings.connect_timeout = Some(Duration::from_secs(60));
    settings.retry = RetryPolicy { attempts: 2, delay: Duration::from_millis(200) };
    settings.attempts_given = true;
    let begun = Instant::now();
    let client = Client::of(pssh::gather(&[list], &[])?, settings)?;
    let run = client.run_command("uptime")?;
    run.join(None)?;
    let seconds = begun.elapsed().as_secs_f64();
    for host in &run {
        let outcome = host.outcome().with_context(|| format!("host {} has no outcome", host.number()))?;
        let mut printed = String::new();
        for line in host.stdout() {
            printed += &String::from_utf8_lossy(&line?);
        }
        plan.check(host.number(), outcome.class().word(), &printed).with_context(|| outcome.to_string())?;
    }
    Ok(plan.summary(seconds))
}

/// What this process holds once the threads of its last run are gone: resident memory in KiB, descriptors, threads.
fn held(threads_before: usize) -> Result<(u64, usize, usize)> {
    let until = Instant::now() + SETTLING;
    while count("/proc/self/task")? > threads_before && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    let status = fs::read_to_string("/proc/self/status").context("proc(5) is needed")?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in proc(5)")?;
    let kib = kib.trim().trim_end_matches(" kB").parse().context("VmRSS is not a number")?;
    Ok((kib, count("/proc/self/fd")?, count("/proc/self/task")?))
}

/// Entries of a directory.
fn count(directory: &str) -> Result<usize> {
    Ok(fs::read_dir(directory).with_context(|| format!("{directory} is needed"))?.count())
}
