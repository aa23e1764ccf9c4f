//! The examples in examples/engines: a real Slurm and the real GNU parallel run pssh on 2,000 hosts in four shares, of which some are
//! killed; the manifest of Kubernetes and the jobs of GitLab are checked, and their commands run as there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pssh::internal::Program;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bin::{Env, Run, path_of};
use crate::embedded::{self, Behaviour, Config, Server};
use crate::journal::{of_kind, records};

/// Hosts of the runs that are killed.
const HOSTS: usize = 2000;
const SHARES: usize = 4;
/// Hosts at once, in each share.
const PAR: usize = 16;
/// How many hosts of a share have ended when it is killed.
const BEFORE_KILL: usize = 60;
/// How long a command takes.
const WORK: Duration = Duration::from_millis(60);
/// For everything that is waited for: far more than it takes.
const LIMIT: Duration = Duration::from_secs(180);

/// A file of examples/engines.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/engines").join(name)
}

/// Hosts of a server in this process, and a home with what is needed to log in to them.
struct Site {
    env: Env,
    server: Server,
    hosts: Vec<String>,
}

impl Site {
    fn new(hosts: usize, after: Duration) -> Site {
        embedded::raise_files();
        let env = Env::new();
        let address = |host: usize| {
            let [place, last] =
                [host / 200, host % 200 + 1].map(|number| u8::try_from(number).expect("a small number"));
            IpAddr::V4(Ipv4Addr::new(127, 7, place, last))
        };
        let addresses: Vec<IpAddr> = (0..hosts).map(address).collect();
        let server = Server::start(Config {
            addresses: addresses.clone(),
            authorised: env.public_lines(),
            only_curve25519: true,
            behaviour: Behaviour::Name { after },
            ..Config::default()
        });
        env.trust(&server.known_hosts());
        let hosts: Vec<String> = addresses.iter().map(|address| format!("{address}:{}", server.port())).collect();
        env.file("hosts", hosts.join("\n") + "\n");
        Site { env, server, hosts }
    }

    /// A program in the home's directory, with pssh in its PATH and nothing else of the environment.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let of_pssh = Path::new(path_of(Program::Pssh)).parent().expect("a directory").display().to_string();
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.env.path("")).env("PATH", format!("{of_pssh}:{path}"));
        command.current_dir(self.env.path("")).stdin(Stdio::null());
        command
    }

    /// How often each host was told to run something, as the servers have it. The command ends in the host's name.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for command in self.server.commands() {
            let (_, host) = command.rsplit_once(' ').expect("a command with a host");
            *counts.entry(host.to_owned()).or_default() += 1;
        }
        counts
    }

    /// Shows the journals of a directory as one run.
    fn replay(&self, journals: &str) -> Run {
        let mut files: Vec<PathBuf> = fs::read_dir(self.env.path(journals))
            .expect("the directory of journals")
            .map(|entry| entry.expect("a journal").path())
            .collect();
        files.sort();
        assert_eq!(files.len(), SHARES, "a journal for each share: {files:?}");
        self.env.bare_pssh().arg("--json").arg("--replay").args(files).run()
    }

    /// Checks that the journals account for every host: with one end each, no command that ran twice, and the exit status of the
    /// outcomes. What ran when a share was killed is `lost`, and `cancelled` where it was told to stop: that may not have come as far as
    /// the server. Returns how many there are of each.
    #[track_caller]
    fn check(&self, run: &Run) -> BTreeMap<String, usize> {
        let mut ends = BTreeMap::new();
        for line in run.stdout_text().lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            if event["event"] == "end" {
                let text = |name: &str| event[name].as_str().expect("text").to_owned();
                run.check(ends.insert(text("label"), text("outcome")).is_none(), "one end for each host");
            }
        }
        run.check(ends.len() == self.hosts.len(), &format!("{} of {} hosts", ends.len(), self.hosts.len()));
        let counts = self.counts();
        let mut tally: BTreeMap<String, usize> = BTreeMap::new();
        for (label, outcome) in ends {
            let ran = counts.get(&label).copied().unwrap_or_default();
            run.check(ran == 1 || ran == 0 && outcome != "ok", &format!("{label}: {outcome}, after {ran} commands"));
            *tally.entry(outcome).or_default() += 1;
        }
        let of = |outcome: &str| tally.get(outcome).copied().unwrap_or_default();
        let [ok, lost, cancelled] = ["ok", "lost", "cancelled"].map(of);
        run.check(ok + lost + cancelled == self.hosts.len(), &format!("no other outcomes: {tally:?}"));
        // 3 goes before 4.
        run.exits(if cancelled > 0 {
            3
        } else if lost > 0 {
            4
        } else {
            0
        });
        tally
    }

    /// How many hosts a journal has an end for, so far.
    fn ended(&self, journal: &str) -> usize {
        let text = fs::read(self.env.path(journal)).unwrap_or_default();
        String::from_utf8_lossy(&text).matches("\"event\":\"end\"").count()
    }

    /// Fails unless the runs of a journal are one that was killed in the middle and one that continued it.
    #[track_caller]
    fn was_continued(&self, journal: &str) {
        let all = records(&self.env, journal);
        let runs = of_kind(&all, "run");
        assert_eq!(runs.len(), 2, "two runs in {journal}");
        assert_eq!(runs[1]["parent"], runs[0]["id"], "{journal}");
        let place = all.iter().rposition(|record| record["event"] == "run").expect("the second run");
        let sent = of_kind(&all[..place], "sent").len();
        assert!((1..HOSTS / SHARES).contains(&sent), "{journal}: {sent} hosts had begun");
    }
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A Slurm of this test. Dropping it ends it, with its jobs.
struct Slurm<'s> {
    site: &'s Site,
    child: Child,
}

impl Slurm<'_> {
    fn start(site: &Site) -> Slurm<'_> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/slurm");
        let mut command = site.command(script);
        command.arg(site.env.path("slurm")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("tests/engines/slurm");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("tests/engines/slurm says something");
        // It has said why.
        assert_eq!(line, "ready\n", "Slurm does not start");
        Slurm { site, child }
    }

    fn output(&self, words: &[&str]) -> Output {
        let mut command = self.site.command(words[0]);
        command.args(&words[1..]).env("SLURM_CONF", self.site.env.path("slurm/slurm.conf"));
        command.output().unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Runs a command of Slurm; gives what it prints.
    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let output = self.output(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {}, {said}", output.status);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Slurm<'_> {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        embedded::wait_or_kill(&mut self.child);
    }
}

#[test]
fn a_slurm_array_sends_each_command_once_although_tasks_are_killed_and_requeued() {
    let site = Site::new(HOSTS, WORK);
    let slurm = Slurm::start(&site);
    let (script, par) = (example("slurm.sbatch").display().to_string(), PAR.to_string());
    let pssh = ["-F", "none", "-h", "hosts", "-p", &par, "--template", "--", "job", "%(host)s"];
    let job = slurm.run(&[&["sbatch", "--parsable", &script], &pssh[..]].concat());
    let journal = |task: usize| format!("journals-{job}/{task}");
    let task = |task: usize| format!("{job}_{task}");

    // One is killed, as with its node; Slurm counts it as failed. Another is told to end, as before a node is drained.
    let (killed, drained) = (1, 2);
    wait_until("two tasks are in the middle", || {
        [killed, drained].iter().all(|task| site.ended(&journal(*task)) >= BEFORE_KILL)
    });
    slurm.run(&["scancel", "--batch", "--signal=KILL", &task(killed)]);
    slurm.run(&["scontrol", "requeue", &task(drained)]);
    wait_until("the killed task has ended", || {
        !["RUNNING", "COMPLETING"].contains(&&*slurm.run(&[
            "squeue",
            "-h",
            "-t",
            "all",
            "-o",
            "%T",
            "-j",
            &task(killed),
        ]))
    });
    slurm.run(&["scontrol", "requeue", &task(killed)]);
    wait_until("all tasks have ended", || slurm.run(&["squeue", "--noheader"]).is_empty());

    let tally = site.check(&site.replay(&format!("journals-{job}")));
    for (number, outcome, failed) in [(killed, "lost", 4), (drained, "cancelled", 3)] {
        site.was_continued(&journal(number));
        let count = tally.get(outcome).copied().unwrap_or_default();
        assert!(count <= PAR, "at most those that ran when the task ended: {tally:?}");
        let status = format!(" ExitCode={}:0 ", if count > 0 { failed } else { 0 });
        let told = slurm.run(&["scontrol", "--oneliner", "show", "job", &task(number)]);
        assert!(told.contains(&status), "Slurm knows the exit status of the share, {status}: {told}");
    }
    let log = |task: usize| fs::read_to_string(site.env.path(&format!("pssh-{job}_{task}.log"))).expect("a log");
    for task in 0..SHARES {
        assert!(log(task).contains("pssh: 500 hosts: "), "the whole share is reported: {}", log(task));
    }
    assert!(log(killed).contains("pssh: --resume: the run of "), "{}", log(killed));
}

#[test]
fn gnu_parallel_sends_each_command_once_although_a_share_is_killed() {
    let site = Site::new(HOSTS, WORK);
    let (par, shares) = (PAR.to_string(), SHARES.to_string());
    let mut command = site.command(example("parallel.sh"));
    command.args(["journals", &shares, "-F", "none", "-h", "hosts", "-p", &par, "--template"]);
    // Not a placeholder of parallel, nor words for a shell here.
    command.args(["--", "job", "'{}' $HOME", "%(host)s"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("parallel.sh");
    wait_until("a share is in the middle", || site.ended("journals/2") >= BEFORE_KILL);
    let pid = of_kind(&whole_lines(&site.env, "journals/2"), "run")[0]["pid"].as_i64().expect("a process");
    let pid = Pid::from_raw(pid.try_into().expect("a small number")).expect("a process");
    kill_process(pid, Signal::KILL).expect("the share still runs");
    let output = child.wait_with_output().expect("parallel.sh ends");
    let run = site.replay("journals");
    let tally = site.check(&run);
    site.was_continued("journals/2");
    assert!(tally.get("lost").is_none_or(|lost| *lost <= PAR) && !tally.contains_key("cancelled"), "{tally:?}");
    // The script ends as the whole does, and has said so.
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), run.status.code(), "{said}");
    assert!(said.contains(&format!("pssh: {HOSTS} hosts: ")), "{said}");
    let commands = site.server.commands();
    assert!(commands.iter().all(|command| command.starts_with("job '{}' $HOME 127.7.")), "{:?}", commands.first());
}

/// The records that a journal has so far.
fn whole_lines(env: &Env, journal: &str) -> Vec<Value> {
    let text = fs::read_to_string(env.path(journal)).expect("a journal");
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The documents of a YAML file.
fn yaml(path: &Path) -> Vec<Value> {
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1], encoding='utf-8')))))";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().expect("python3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\nThis needs PyYAML: apt-get install python3-yaml");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// All names of fields in a document, and in what they are.
fn fields(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = format!("{path}.{name}");
                fields(value, &path, found);
                found.push(path);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| fields(value, &format!("{path}[]"), found)),
        _ => {}
    }
}

/// The fields of a Job that the manifest has, each as batch/v1 and core/v1 of Kubernetes 1.33 have it.
const JOB: &str = "apiVersion kind metadata metadata.name spec \
    spec.completionMode spec.completions spec.parallelism spec.backoffLimitPerIndex spec.podReplacementPolicy spec.podFailurePolicy \
    spec.podFailurePolicy.rules \
    spec.podFailurePolicy.rules[].action spec.podFailurePolicy.rules[].onPodConditions spec.podFailurePolicy.rules[].onPodConditions[].type \
    spec.podFailurePolicy.rules[].onPodConditions[].status spec.podFailurePolicy.rules[].onExitCodes \
    spec.podFailurePolicy.rules[].onExitCodes.containerName spec.podFailurePolicy.rules[].onExitCodes.operator \
    spec.podFailurePolicy.rules[].onExitCodes.values \
    spec.template spec.template.spec spec.template.spec.restartPolicy spec.template.spec.terminationGracePeriodSeconds \
    spec.template.spec.automountServiceAccountToken spec.template.spec.securityContext spec.template.spec.securityContext.runAsNonRoot \
    spec.template.spec.securityContext.runAsUser spec.template.spec.securityContext.runAsGroup spec.template.spec.securityContext.fsGroup \
    spec.template.spec.containers spec.template.spec.containers[].name spec.template.spec.containers[].image \
    spec.template.spec.containers[].command spec.template.spec.containers[].args spec.template.spec.containers[].resources \
    spec.template.spec.containers[].resources.requests spec.template.spec.containers[].resources.requests.cpu \
    spec.template.spec.containers[].resources.requests.memory spec.template.spec.containers[].resources.limits \
    spec.template.spec.containers[].resources.limits.memory spec.template.spec.containers[].securityContext \
    spec.template.spec.containers[].securityContext.allowPrivilegeEscalation \
    spec.template.spec.containers[].securityContext.readOnlyRootFilesystem spec.template.spec.containers[].securityContext.capabilities \
    spec.template.spec.containers[].securityContext.capabilities.drop \
    spec.template.spec.containers[].volumeMounts spec.template.spec.containers[].volumeMounts[].name \
    spec.template.spec.containers[].volumeMounts[].mountPath spec.template.spec.containers[].volumeMounts[].readOnly \
    spec.template.spec.containers[].volumeMounts[].subPath \
    spec.template.spec.volumes spec.template.spec.volumes[].name spec.template.spec.volumes[].configMap \
    spec.template.spec.volumes[].configMap.name spec.template.spec.volumes[].secret spec.template.spec.volumes[].secret.secretName \
    spec.template.spec.volumes[].secret.defaultMode spec.template.spec.volumes[].persistentVolumeClaim \
    spec.template.spec.volumes[].persistentVolumeClaim.claimName";

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().expect("a list");
    all.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

#[test]
fn the_manifest_of_kubernetes_retries_only_what_a_new_pod_can_help() {
    let documents = yaml(&example("kubernetes.yaml"));
    let [claim, job] = &documents[..] else { panic!("a claim and a Job, not {documents:?}") };
    let mut found = Vec::new();
    fields(job, "", &mut found);
    for field in &found {
        assert!(JOB.split_whitespace().any(|known| format!(".{known}") == *field), "Kubernetes has no field {field}");
    }
    assert_eq!((&job["apiVersion"], &job["kind"]), (&"batch/v1".into(), &"Job".into()));
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    assert_eq!(spec["parallelism"], spec["completions"]);
    // A limit for each index needs Never, and no limit for all of them.
    assert!(spec["backoffLimitPerIndex"].as_u64().is_some_and(|limit| limit > 0) && spec["backoffLimit"].is_null());
    assert_eq!(spec["podReplacementPolicy"], "Failed", "no second writer of a journal");
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    let [container] = &pod["containers"].as_array().expect("containers")[..] else { panic!("one container") };
    let rules = spec["podFailurePolicy"]["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0]["action"], "Ignore", "evictions do not count");
    assert_eq!(
        rules[0]["onPodConditions"],
        serde_json::json!([{"type": "DisruptionTarget", "status": "True"}]),
        "evictions"
    );
    assert_eq!(rules[1]["action"], "FailIndex");
    let codes = serde_json::json!({"containerName": container["name"], "operator": "In", "values": [2, 3, 4, 5]});
    assert_eq!(rules[1]["onExitCodes"], codes);

    // Each volume is mounted, and each mount has a volume.
    let volumes = pod["volumes"].as_array().expect("volumes");
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    let names = |all: &[Value]| all.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(volumes), names(mounts));
    let kinds = [
        ("hosts", "configMap"),
        ("known-hosts", "configMap"),
        ("key", "secret"),
        ("journals", "persistentVolumeClaim"),
    ];
    for (volume, (name, kind)) in volumes.iter().zip(kinds) {
        assert!(volume["name"] == name && volume[kind].is_object(), "{name} is a {kind}, not {volume}");
    }
    assert_eq!(volumes[2]["secret"]["defaultMode"], 0o440, "the key is not for everybody");
    assert_eq!(volumes[3]["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
    assert_eq!(mounts.iter().filter(|mount| mount["readOnly"] == true).count(), 3, "all but the journals");

    run_pods(job, container, mounts);
}

/// Runs the command of the Job's container for each index, where its mounts are directories of the test.
fn run_pods(job: &Value, container: &Value, mounts: &[Value]) {
    let site = Site::new(30, Duration::from_millis(10));
    let name = |value: &Value| value.as_str().expect("a text").to_owned();
    fs::rename(site.env.path("hosts"), site.env.path("list")).expect("the list of hosts");
    for mount in mounts {
        fs::create_dir(site.env.path(&name(&mount["name"]))).expect("a directory");
    }
    let copies = [
        ("list", "hosts/hosts"),
        (".ssh/known_hosts", "known-hosts/known_hosts"),
        (".ssh/id_ed25519", "key/id_ed25519"),
    ];
    for (from, to) in copies {
        fs::copy(site.env.path(from), site.env.path(to)).expect("a file");
    }
    let words = [texts(&container["command"]), texts(&container["args"])].concat();
    let completions = job["spec"]["completions"].as_u64().expect("a number");
    assert!(words.contains(&format!("k8s/{completions}")), "as many shares as completions");
    let pod = |index: Option<u64>| {
        let mut words = words.clone();
        for word in &mut words {
            for mount in mounts {
                let directory = site.env.path(&name(&mount["name"])).display().to_string();
                *word = word.replace(&name(&mount["mountPath"]), &directory);
            }
            if let Some(index) = index {
                // As Kubernetes does.
                *word = word.replace("$(JOB_COMPLETION_INDEX)", &index.to_string());
            }
        }
        // What the hosts are told, so that they can be counted.
        assert_eq!(words.pop().as_deref(), Some("uptime"));
        words.retain(|word| word != "--");
        let mut command = site.command(&words[0]);
        command.args(&words[1..]).args(["--template", "--", "uptime", "%(host)s"]);
        command.envs(index.map(|index| ("JOB_COMPLETION_INDEX", index.to_string())));
        let output = command.output().expect("pssh");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for index in 0..completions {
        let (status, said) = pod(Some(index));
        assert_eq!(status, Some(0), "index {index}: {said}");
    }
    assert_eq!(site.check(&site.replay("journals")), BTreeMap::from([("ok".to_owned(), 30)]));
    // A pod that takes over one that had ended.
    let (status, said) = pod(Some(2));
    assert_eq!(status, Some(0), "{said}");
    site.check(&site.replay("journals"));
    // 2 is final.
    for (index, words) in
        [(None, "JOB_COMPLETION_INDEX is not set"), (Some(4), "JOB_COMPLETION_INDEX=4 is out of range")]
    {
        let (status, said) = pod(index);
        assert!(status == Some(2) && said.contains(words), "{status:?}: {said}");
    }
}

#[test]
fn the_jobs_of_gitlab_run_shares_and_report_the_whole() {
    let [file] = &yaml(&example("gitlab-ci.yml"))[..] else { panic!("one document") };
    assert_eq!(file["stages"], serde_json::json!(["run", "report"]));
    let (run, report) = (&file["run"], &file["report"]);
    assert_eq!((&run["stage"], &report["stage"], &report["when"]), (&"run".into(), &"report".into(), &"always".into()));
    let shares = run["parallel"].as_u64().expect("a number");
    assert_eq!(run["retry"]["when"], serde_json::json!(["runner_system_failure", "stuck_or_timeout_failure"]));
    assert!(run["retry"]["max"].as_u64().is_some_and(|max| max <= 2), "GitLab's limit");
    let reports = [&report["artifacts"]["reports"]["junit"], &report["artifacts"]["paths"][0]];

    let site = Site::new(30, Duration::from_millis(10));
    let journals = site.env.path("journals").display().to_string();
    let place = file["variables"]["JOURNALS"].as_str().expect("a text");
    assert!(place.contains("$CI_PIPELINE_ID") && !place.contains("$CI_JOB_ID"), "the same for a retried job: {place}");
    let job = |job: &Value, index: Option<u64>| {
        let script = texts(&job["script"]).join("\n").replace(" -- uptime", " --template -- uptime '%(host)s'");
        let mut command = site.command("sh");
        command.args(["-e", "-c", &script]).env("GITLAB_CI", "true").env("JOURNALS", &journals);
        command.env("SSH_PRIVATE_KEY", site.env.path(".ssh/id_ed25519")).env("SSH_KNOWN_HOSTS", site.env.known_hosts());
        command.env("CI_NODE_TOTAL", shares.to_string()).envs(index.map(|index| ("CI_NODE_INDEX", index.to_string())));
        let output = command.output().expect("sh");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // GitLab's mode of a file in a variable.
    let key = site.env.path(".ssh/id_ed25519");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("the mode of the key");
    for index in 1..=shares {
        let (status, said) = job(run, Some(index));
        assert_eq!(status, Some(0), "job {index}: {said}");
    }
    assert_eq!(site.check(&site.replay("journals")), BTreeMap::from([("ok".to_owned(), 30)]));
    // A job that is retried sends nothing again.
    let (status, said) = job(run, Some(3));
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = job(report, None);
    assert!(status == Some(0) && said.contains("pssh: 30 hosts: 30 ok\n"), "{said}");
    for report in reports {
        let path = site.env.path(report.as_str().expect("a name"));
        assert!(path.exists(), "{} is written", path.display());
    }
    site.check(&site.replay("journals"));
    // A job that is missing makes the report fail.
    fs::remove_file(site.env.path("journals/4")).expect("a journal");
    let (status, said) = job(report, None);
    assert!(status == Some(1) && said.contains("pssh: --replay: shard 4/4 is missing\n"), "{status:?}: {said}");
}
