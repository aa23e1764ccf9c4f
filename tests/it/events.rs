//! A run as JSON Lines: every line as the schema says, every byte where it belongs.

use pssh::internal::Program;
use serde_json::Value;

use crate::bin::{Env, Run};
use crate::embedded::{Behaviour, Config, Server};
use crate::reports::{Fleet, mask_times, one_sshd, same};
use crate::schema::Schema;
use crate::sshd::{Setup, Sshd, sftp_server};

/// All events of a run, each checked.
fn events(run: &Run) -> Vec<Value> {
    let schema = Schema::events();
    let text = String::from_utf8(run.stdout.clone()).expect("JSON is UTF-8");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    events.iter().for_each(|event| schema.check(event));
    run.check(events.first().is_some_and(|event| event["event"] == "run_start"), "run_start comes first");
    run.check(events.last().is_some_and(|event| event["event"] == "run_end"), "run_end comes last");
    events
}

/// The events of a host in their order.
fn of_label<'a>(events: &'a [Value], label: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["label"] == label).collect()
}

#[test]
fn events_are_json_as_the_schema_says() {
    let fleet = Fleet::new();
    let run = fleet.run(&["--json"]);
    run.exits(3).check(run.stderr.is_empty(), "nothing on stderr");
    let events = events(&run);
    let expected = [
        ("web01", "ok", "\"exit_status\":0"),
        ("web04", "ok", "\"exit_status\":0"),
        ("web05", "exit", "\"exit_status\":3"),
        ("db1", "signal", "\"signal\":\"KILL\""),
        ("db2", "timeout", "\"phase\":\"command\""),
        ("db2", "timeout", "\"may_still_run\":true"),
        ("db3", "lost", "\"exit_status\":null"),
        ("gone1", "connect", "\"address\":\"127.0.0.51\""),
        ("new", "hostkey", "\"connected\":null"),
        ("appliance", "ssh", "\"first_output\":null"),
        ("closed", "auth", "\"user\":\"nobody\""),
        ("behind", "proxy", "\"address\":null"),
        ("unknown", "dns", "\"started\":null"),
    ];
    for (label, outcome, part) in expected {
        let of_host = of_label(&events, label);
        let end = of_host.last().unwrap_or_else(|| panic!("no event of {label}\n{}", run.context()));
        run.check(end["event"] == "end" && end["outcome"] == outcome, &format!("{label} ends in {outcome}: {end}"));
        run.check(end.to_string().contains(part), &format!("{part} of {label}: {end}"));
        let ends = of_host.iter().filter(|event| event["event"] == "end").count();
        run.check(ends == 1, "exactly one end");
        let is_failure = !["ok", "exit", "signal"].contains(&outcome);
        run.check(end["error"].is_string() == is_failure, "an error where there was one");
        run.check(end["hint"].is_string() == (is_failure && label != "appliance"), "a hint where there is one");
    }
    let ends: Vec<&Value> = events.iter().filter(|event| event["event"] == "end").collect();
    let mut numbers: Vec<u64> = ends.iter().filter_map(|end| end["index"].as_u64()).collect();
    numbers.sort_unstable();
    run.check(numbers == (0..16).collect::<Vec<u64>>(), "one end for each host of the list");

    let text = |label: &str, stream: &str| -> String {
        let of_host = of_label(&events, label).into_iter().filter(|event| event["stream"] == stream);
        of_host.map(|event| event["text"].as_str().expect("text")).collect()
    };
    run.check(text("web01", "stdout") == "one\ntwo\nthree\n" && text("web01", "stderr") == "careful\n", "output");
    run.check(text("web04", "stdout") == "one\n2\nthree\nfour", "nothing is added to the output");
    let web01 = of_label(&events, "web01");
    let end = web01[web01.len() - 1];
    let seconds = |name: &str| end["seconds"][name].as_f64().unwrap_or_else(|| panic!("{name} of {end}"));
    let parts: f64 = ["retries", "connect", "handshake", "auth", "command"].map(seconds).iter().sum();
    run.check((seconds("total") - parts).abs() < 0.05, "the parts are the whole");
    run.check(web01[0]["event"] == "start" && web01[0]["time"] == end["started"], "one time of each moment");

    let last = &events[events.len() - 1];
    run.check(last["outcomes"]["ok"] == 4 && last["outcomes"]["connect"] == 2 && last["hosts"] == 16, "the counts");
}

/// A run's events in exactly the text that programs get, but for times and ports.
#[test]
fn the_text_of_events_stays_as_it_is() {
    let fleet = Fleet::new();
    let list = fleet.env.file("one", format!("127.0.0.1:{} alias=web01\n", fleet.server.port()));
    let run = fleet.env.pssh().args(["-l", "me", "--json", "-h"]).arg(list).args(["--", "do fail"]).run();
    run.exits(5);
    let text = mask_times(&fleet.mask(&run.stdout).replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    // With OpenSSL 3.5 or newer it is mlkem768x25519-sha256.
    let text = ["mlkem768x25519-sha256", "curve25519-sha256"]
        .iter()
        .fold(text, |text, name| text.replace(&format!("{name:?}"), "\"KEX\""));
    let expected = r#"{"event":"run_start","version":1,"pssh":"VERSION","time":"TIME","hosts":1,"order":"list"}
{"event":"start","time":"TIME","index":0,"host":"127.0.0.1","label":"web01","user":"me","port":PORT}
{"event":"output","time":"TIME","index":0,"host":"127.0.0.1","label":"web01","stream":"stderr","text":"no such thing\nnowhere"}
{"event":"end","time":"TIME","index":0,"host":"127.0.0.1","label":"web01","user":"me","port":PORT,"address":"127.0.0.1","key_exchange":"KEX","host_key_type":"ssh-ed25519","cipher":"chacha20-poly1305@openssh.com","mac":"<implicit>","compression":"none","outcome":"exit","success":false,"exit_status":3,"signal":null,"phase":null,"attempts":1,"may_still_run":false,"message":"exit 3","error":null,"hint":null,"warning":null,"check":null,"started":"TIME","connected":"TIME","first_output":"TIME","ended":"TIME","seconds":{"waiting":N,"retries":N,"connect":N,"handshake":N,"auth":N,"command":N,"total":N}}
{"event":"run_end","time":"TIME","hosts":1,"seconds":N,"outcomes":{"exit":1},"stopped":null}
"#;
    same(&text, expected, &run);
}

#[test]
fn bytes_that_are_no_text_are_base64_and_a_cut_character_is_not() {
    let (env, sshd) = one_sshd();
    let line =
        "printf 'caf\\303'; sleep 0.5; printf '\\251\\n'; sleep 0.5; printf '\\377\\000' ; printf 'x\\342\\202' >&2";
    let run = env.pssh().hosts(sshd.hosts()).args(["--json", "--", line]).run();
    run.exits(0);
    let events = events(&run);
    let outputs = |stream: &str| -> Vec<String> {
        let outputs = events.iter().filter(|event| event["stream"] == stream);
        outputs.map(|event| format!("{}{}", event["text"], event["base64"])).collect()
    };
    assert_eq!(outputs("stdout"), ["\"caf\"null", "\"\u{e9}\\n\"null", "null\"/wA=\""], "{}", run.context());
    assert_eq!(outputs("stderr"), ["\"x\"null", "null\"4oI=\""], "{}", run.context());
}

#[test]
fn the_schema_takes_no_wrong_events() {
    let schema = Schema::events();
    let good = r#"{"event":"start","time":"2026-11-23T16:20:46.123456Z","index":0,"host":"a","label":"a","user":"u","port":22}"#;
    assert!(schema.takes(&serde_json::from_str(good).expect("JSON")));
    for (from, to) in [
        ("\"start\"", "\"begin\""),
        ("\"index\":0,", ""),
        ("\"index\":0", "\"index\":-1"),
        ("\"index\":0", "\"index\":\"0\""),
        ("22}", "0}"),
        ("22}", "65536}"),
        ("T16", " 16"),
        ("\"a\"", "null"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(!schema.takes(&serde_json::from_str(&bad).expect("JSON")), "{bad}");
    }
    // As output/json.rs writes it.
    let good = r#"{"event":"progress","time":"2026-11-23T16:20:46.123456Z","index":0,"host":"a","label":"a","done":0,"total":1152921504606846976}"#;
    schema.check(&serde_json::from_str(good).expect("JSON"));
    for (from, to) in
        [("\"done\":0", "\"done\":-1"), ("\"done\":0,", ""), ("\"total\":1", "\"total\":1."), ("\"a\"", "1")]
    {
        let bad = good.replacen(from, to, 1);
        assert!(!schema.takes(&serde_json::from_str(&bad).expect("JSON")), "{bad}");
    }
}

#[test]
fn a_thousand_hosts_are_events_that_the_schema_takes() {
    const HOSTS: usize = 1000;
    let env = Env::new();
    let answer = Behaviour::Cheap { stdout: b"up\n".to_vec(), status: 0 };
    let server = Server::start(Config { authorised: env.public_lines(), behaviour: answer, ..Config::default() });
    env.trust(&server.known_hosts());
    let line = |number: usize| format!("127.0.0.1:{} alias=n{number:04}\n", server.port());
    let list = env.file("hosts", (0..HOSTS).map(line).collect::<String>());
    let run = env.pssh().limit(240).args(["--json", "-p", "32", "-h"]).arg(list).args(["--", "uptime"]).run();
    run.exits(0);
    let events = events(&run);
    run.check(events.len() == 2 + 3 * HOSTS, "a start, an output and an end for each");
    let mut state = [0; HOSTS];
    for event in &events[1..events.len() - 1] {
        let number = usize::try_from(event["index"].as_u64().expect("a number")).expect("small");
        let expected = ["start", "output", "end"][state[number]];
        run.check(
            event["event"] == expected && event["label"] == format!("n{number:04}"),
            "the order of a host's events",
        );
        state[number] += 1;
    }
    run.check(events[events.len() - 1]["outcomes"]["ok"] == HOSTS, "all are ok");
}

/// What the SFTP server hears comes slowly for about two seconds, so that there is something to tell.
const SLOW_SFTP: &str = "{ for n in $(seq 40); do dd bs=65536 count=1 status=none; sleep 0.05; done; cat; } | exec ";

#[test]
fn a_copy_tells_how_far_it_is() {
    const SIZE: u64 = 8_000_000;
    let env = Env::new();
    let slow = env.file("slow", format!("{SLOW_SFTP}{}\n", sftp_server().display()));
    let config = format!("Subsystem sftp /bin/sh {}", slow.display());
    let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
    env.file("big", vec![b'x'; SIZE as usize]);
    let target = env.path("there");
    let pscp = |format: &str| env.run_of(Program::Pscp).hosts(sshd.hosts()).arg(format).arg("big").arg(&target);
    let run = pscp("--json").run();
    run.exits(0);
    let events = events(&run);
    let told: Vec<&Value> = events.iter().filter(|event| event["event"] == "progress").collect();
    let seconds = events[events.len() - 1]["seconds"].as_f64().expect("a number");
    run.check(told.len() >= 2 && told.len() as f64 <= seconds + 1.0, "at most one a second");
    let done: Vec<u64> = told.iter().map(|event| event["done"].as_u64().expect("a number")).collect();
    run.check(done.is_sorted() && done[done.len() - 1] <= SIZE, "it goes on");
    run.check(told.iter().all(|event| event["total"] == SIZE && event["label"] == sshd.label()), "of all there is");
    let end = events.iter().find(|event| event["event"] == "end").expect("an end");
    run.check(end["seconds"]["command"].as_f64().is_some_and(|time| time > 1.0), "the time of the copy");
    let run = pscp("--progress=always").run();
    run.exits(0)
        .stderr_has("0/1 1 running, ")
        .stderr_has(" MB of 8.0 MB, ")
        .stderr_has("MB/s, 0:0")
        .stderr_has(" left");
}
