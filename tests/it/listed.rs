//! `--list`: the hosts of a run, as text that the lists read back, without a run.

use std::collections::BTreeSet;
use std::fs;

use pssh::internal::Program;

use crate::bin::{Env, Run};

fn lines(run: &Run) -> Vec<String> {
    run.exits(0);
    run.stdout_text().lines().map(str::to_owned).collect()
}

const ENTRIES: &str = "web2 web[1-3] root@web1 root@web1:2222 web1:2222 ::1 [::1]:22 me@[fe80::1%eth0]:22 me@fe80::1%eth0 a.b-c_d \
                       web2 u1@n1 u2@n1 r[1-2]n[01-03] 10.0.0.[8-11] [3-4]:[22-23] name@domain@n7 n007";

#[test]
fn lists_are_read_back_by_every_program() {
    let env = Env::without_key();
    for program in Program::ALL {
        let list = |format: &str, args: &[&str]| env.bare(program).arg(format).args(args).run();
        let first = list("--list", &["-H", ENTRIES]);
        let hosts = lines(&first);
        assert_eq!(hosts.len(), 31, "in the list's order, duplicates included: {hosts:?}");
        assert_eq!(hosts[..4], ["web2", "web1", "web2", "web3"]);
        assert!(hosts.contains(&"me@[fe80::1%eth0]:22".to_owned()), "{hosts:?}");
        let file = env.file("hosts", first.stdout_text()).display().to_string();
        assert_eq!(list("--list=lines", &["-h", &file]).stdout_text(), first.stdout_text());
        let folded = list("--list=folded", &["-h", &file]);
        let text = folded.stdout_text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let set: BTreeSet<String> = hosts.into_iter().collect();
        let again = lines(&list("--list", &["-w", text.trim_end()]));
        assert_eq!(again.len(), set.len(), "each once: {text}");
        assert_eq!(again.into_iter().collect::<BTreeSet<String>>(), set, "{text}");
        assert_eq!(list("--list=folded", &["-w", text.trim_end()]).stdout_text(), text);
    }
    let run = env.bare_pssh().args(["--list=folded", "-w", "web[01-20],root@db[1-3]:2222,u[7-8]"]).run();
    run.exits(0).stdout_is("u[7-8],web[01-20],root@db[1-3]:2222\n");
    // What a list cannot name has a line.
    let run = env.bare_pssh().args(["--list=folded", "-H", "web1 a!b"]).run();
    run.exits(2)
        .stdout_is("")
        .stderr_has("-H: \"a!b\" cannot be in a list of -w; --list prints it on a line of its own\n");
    let file = env
        .file("hosts", "web1 user='a b' rack=3\nweb2 user=\"c#d\"\nssh://ssh%3A%2F%2Fx@web3\na!b\n")
        .display()
        .to_string();
    let first = env.bare_pssh().args(["--list", "-h", &file]).run();
    first.exits(0).stdout_is("web1 user=\"a b\"\nweb2 user=\"c#d\"\nweb3 user=ssh://x\na!b\n");
}

#[test]
fn a_list_has_what_the_run_would_have() {
    let env = Env::without_key();
    let file = env.file("hosts", "web[1-3]\ndb1\ndb1\n").display().to_string();
    let run = env.bare_pssh().args(["--list", "-h", &file, "-g", "*[1-2]", "-w", "gw,web1", "--exclude", "web2"]).run();
    run.exits(0).stdout_is("web1\ndb1\ndb1\ngw\n");
    let run = env.bare_pssh().args(["--list", "-h", "-", "--only", "w*"]).stdin("a\nw1 timeout=3\n").run();
    run.exits(0).stdout_is("w1\n");
    let run = env.bare_pssh().args(["--list", "-w", "a", "--only", "b"]).run();
    run.exits(2).stderr_has("pssh: the list of hosts is empty: --only and --exclude leave none of 1\n");
    let run = env.bare_pssh().args(["--list", "-h", "/dev/null"]).run();
    run.exits(2).stderr_has("pssh: the list of hosts is empty: no hosts in /dev/null\n");
    let run = env.bare_pssh().arg("--list").run();
    run.exits(2).stderr_has("pssh: there are no hosts: name them with -H");
    let run = env.bare_pssh().args(["--list", "-H", "a,b"]).run();
    run.exits(2).stderr_has("hosts are separated by blanks, not commas");
    let run = env.bare_pssh().args(["--list", "web1", "web2"]).run();
    run.exits(2).stderr_has("did you mean: pssh --list -H 'web1 web2'\n");
}

#[test]
fn a_list_reads_no_configuration_and_asks_nothing() {
    let env = Env::without_key();
    fs::create_dir_all(env.ssh_dir()).expect("a directory");
    env.file(".ssh/config", "This is nonsense\n");
    env.file(".ssh/known_hosts", "");
    // -A would ask on the terminal, which there is none of.
    let args = ["--list", "-A", "--sudo", "-F", "/nonexistent", "--known-hosts", "/", "--host-args", "/nonexistent"];
    let run = env.bare_pssh().args(args).args(["-I", "-H", "a b", "web[1-2]"]).run();
    run.exits(0).stdout_is("a\nb\n").within(5);
    run.check(run.stderr.is_empty(), "nothing to complain about");
    let run = env.bare(Program::Pscp).args(["--list", "-H", "a", "/nonexistent", "there"]).run();
    run.exits(0).stdout_is("a\n");
}

#[test]
fn values_of_list_that_are_wrong_are_refused() {
    let env = Env::without_key();
    for (args, words) in [
        (&["--list=all", "-H", "a"][..], "[possible values: lines, full, folded]"),
        (&["--list=", "-H", "a"], "[possible values: lines, full, folded]"),
        (&["--list", "--dry-run", "-H", "a"], "'--list[=<FORMAT>]' cannot be used with '--dry-run'"),
        (&["--list", "--explain", "-H", "a"], "'--list[=<FORMAT>]' cannot be used with '--explain'"),
        (&["-H", "a", "--list", "folded"], "pssh: the format of --list follows =: --list=folded\n"),
        (&["--list", "full", "-H", "a"], "pssh: the format of --list follows =: --list=full\n"),
        (&["--list", "lines", "-H", "a"], "pssh: the format of --list follows =: --list=lines\n"),
    ] {
        env.bare_pssh().args(args).run().exits(2).stdout_is("").stderr_has(words);
    }
}

#[test]
fn a_list_ends_with_its_reader() {
    let env = Env::without_key();
    let run = env.bare_pssh().args(["--list", "-w", "n[1-90000]"]);
    let run = run.shell("exec bash -c '\"$@\" | head -n 2; echo ${PIPESTATUS[0]}' bash \"$@\"").run();
    run.exits(0).stdout_is("n1\nn2\n141\n");
    run.check(run.stderr.is_empty(), "nothing to complain about");
    let run = env.bare_pssh().args(["--list", "-H", "a"]).shell("exec \"$@\" >&-").run();
    run.exits(1).stderr_has("standard output is closed");
}

#[test]
fn filters_match_aliases_as_well_as_names() {
    let env = Env::without_key();
    let hosts = "10.0.0.1 alias=web1\n10.0.0.2:2222 user=root alias=web2\n10.0.0.3 alias=db1\nplain\n10.0.0.5\n";
    let hosts = env.file("hosts", hosts).display().to_string();
    // The alias of the host's own line wins; the first table wins.
    let config =
        "[host.'10.0.0.[3-3]']\nalias = 'web9'\n[host.'*.5']\nalias = 'web5'\n[host.'10.0.0.5']\nalias = 'db5'\n";
    let config = env.file("hosts.toml", config).display().to_string();
    let list = |args: &[&str]| {
        let run = env.bare_pssh().args(["--list", "-h", &hosts, "--host-config", &config]).args(args).run();
        let names = lines(&run).join(" ").replace("10.0.0.", ".");
        (names, run.stderr_text())
    };
    for (args, expected) in [
        (&["--only", "web1"][..], ".1"),
        (&["--only", "web[1-2],plain"], ".1 root@.2:2222 plain"),
        (&["--only", "root@web2:2222"], "root@.2:2222"),
        (&["--only", "web*"], ".1 root@.2:2222 .5"),
        (&["--only", "/^(db|pl)/"], ".3 plain"),
        (&["--only", "10.0.0.1,db1"], ".1 .3"),
        (&["--exclude", "web1,db*"], "root@.2:2222 plain .5"),
        (&["--exclude", "10.0.0.*"], "plain"),
        (&["-g", "web?"], ".1 root@.2:2222 .5"),
        (&["-g", "10.*"], ".1 root@.2:2222 .3 .5"),
    ] {
        assert_eq!(list(args), (expected.to_owned(), String::new()), "{args:?}");
    }
    let (names, warning) = list(&["--exclude", "web9,other@web1"]);
    assert_eq!(names, ".1 root@.2:2222 .3 plain .5");
    assert!(warning.contains("\"web9\" matches no host") && warning.contains("\"other@web1\" matches"), "{warning}");
}

#[test]
fn a_full_list_loses_nothing_and_lists_follow_the_order() {
    let env = Env::without_key();
    let text = "10.0.0.1:2222 me alias=web1 arg.rack=3 timeout=5\nweb[2-3] arg.x=\"a b\"\nplain\n";
    let file = env.file("hosts", text).display().to_string();
    let list = |args: &[&str]| env.bare_pssh().args(["-h", &file]).args(args).run();
    let full = "me@10.0.0.1:2222 alias=web1 arg.rack=3 timeout=5\nweb2 arg.x=\"a b\"\nweb3 arg.x=\"a b\"\nplain\n";
    list(&["--list=full"]).exits(0).stdout_is(full);
    let copy = env.file("copy", full).display().to_string();
    env.bare_pssh().args(["--list=full", "-h", &copy]).run().exits(0).stdout_is(full);
    list(&["--list"]).exits(0).stdout_is("me@10.0.0.1:2222\nweb2\nweb3\nplain\n");
    let run = list(&["--list", "--order", "reverse"]);
    run.exits(0).stdout_is("plain\nweb3\nweb2\nme@10.0.0.1:2222\n").stderr_lacks("order");
    list(&["--list=folded", "--order", "reverse"]).exits(0).stdout_is("plain,web[2-3],me@10.0.0.1:2222\n");
    // The order in which a run would start them.
    for seed in ["shuffle:42", "shuffle:7"] {
        let listed = list(&["--list", "--order", seed]);
        let dry = list(&["--order", seed, "--dry-run", "x"]);
        let place = |run: &Run| {
            lines(run)
                .iter()
                .filter(|line| !line.starts_with('#'))
                .map(|line| line.chars().take(4).collect())
                .collect::<Vec<String>>()
        };
        let (listed_at, run_at) = (place(&listed), place(&dry));
        let label = |entry: &String| if entry == "me@1" { "web1".to_owned() } else { entry.clone() };
        assert_eq!(listed_at.iter().map(label).collect::<Vec<_>>(), run_at, "{seed}");
    }
    let random = list(&["--list", "--order", "shuffle"]);
    random.exits(0).stderr_has("pssh: order shuffle:").stderr_has("; give this to --order to repeat it\n");
}
