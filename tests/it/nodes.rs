//! Many hosts named at once: ranges, lists with operators, filters and groups; and the defaults of config.toml.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::bin::{Env, Pssh, Run};
use crate::sshd::{Setup, Sshd};

/// What would be run on.
fn hosts(run: &Run) -> Vec<String> {
    run.exits(0);
    let text = String::from_utf8(run.stdout.clone()).expect("text");
    text.lines().map(|line| line.strip_suffix(": true").expect("a host and its command").to_owned()).collect()
}

/// A run that shows its hosts, and connects to none of them.
fn dry(env: &Env, args: &[&str]) -> Pssh {
    env.pssh().arg("--dry-run").args(args).arg("true")
}

#[track_caller]
fn names(env: &Env, args: &[&str], expected: &str) {
    let run = dry(env, args).run();
    run.check(hosts(&run) == expected.split(' ').collect::<Vec<_>>(), &format!("the hosts are {expected}"));
    run.check(run.stderr.is_empty(), "nothing to complain about");
}

#[track_caller]
fn refused(env: &Env, args: &[&str], words: &[&str]) {
    let run = dry(env, args).run();
    run.exits(2).stdout_is("");
    for words in words {
        run.stderr_has(words);
    }
}

/// Writes the user's config.toml.
fn configure(env: &Env, text: &str) -> String {
    fs::create_dir_all(env.path(".config/pssh")).expect("a directory");
    env.file(".config/pssh/config.toml", text).display().to_string()
}

/// Lists, and what `nodeset --expand` of ClusterShell 1.9.1 makes of them; nothing where that is an error.
const EXPANDED: [(&str, Option<&str>); 62] = [
    ("web1", Some("web1")),
    ("web[1-3]", Some("web1 web2 web3")),
    ("web[01-03]", Some("web01 web02 web03")),
    ("web[1-3,7,9-10]", Some("web1 web2 web3 web7 web9 web10")),
    ("web[08-11]", Some("web08 web09 web10 web11")),
    ("web[098-101]", Some("web098 web099 web100 web101")),
    ("n[98-101]", Some("n98 n99 n100 n101")),
    ("n[0-3]", Some("n0 n1 n2 n3")),
    ("n[00-03]", Some("n00 n01 n02 n03")),
    ("n[1-10/3]", Some("n1 n4 n7 n10")),
    ("n[01-10/4]", Some("n01 n05 n09")),
    ("n[1-10/3,2]", Some("n1 n2 n4 n7 n10")),
    ("n[5,3,1]", Some("n1 n3 n5")),
    ("n[1-3]x", Some("n1x n2x n3x")),
    ("n[1-2]-ib[0-1]", Some("n1-ib0 n1-ib1 n2-ib0 n2-ib1")),
    ("r[1-2]n[01-02]", Some("r1n01 r1n02 r2n01 r2n02")),
    ("r[1-2]n[1-2]s[1-2]", Some("r1n1s1 r1n1s2 r1n2s1 r1n2s2 r2n1s1 r2n1s2 r2n2s1 r2n2s2")),
    ("n1[0-3]", Some("n10 n11 n12 n13")),
    ("n[1-3]5", Some("n15 n25 n35")),
    ("n[01-02]5", Some("n015 n025")),
    ("[1-3]", Some("1 2 3")),
    ("a,b,c", Some("a b c")),
    ("a,a,b", Some("a b")),
    ("n[1-3],m,n[5,7]", Some("m n1 n2 n3 n5 n7")),
    ("n[1-3].example.com", Some("n1.example.com n2.example.com n3.example.com")),
    ("n[1-5]!n[2-3]", Some("n1 n4 n5")),
    ("n[1-5]!n3,n9", Some("n1 n2 n4 n5 n9")),
    ("n[1-5]!x", Some("n1 n2 n3 n4 n5")),
    ("n[1-5]&n[4-9]", Some("n4 n5")),
    ("n[1-5]&x[1-5],y", Some("y")),
    ("n[1-5]^n[4-9]", Some("n1 n2 n3 n6 n7 n8 n9")),
    ("n[1-3]^n[1-3],z", Some("z")),
    ("a,b&b,c", Some("b c")),
    ("a,b!b", Some("a")),
    ("n[1-9]!n[2-8/2]&n[3-9]", Some("n3 n5 n7 n9")),
    ("n1&n[1-2]!n3,n9", Some("n1 n9")),
    ("n[1-3]-[1-2]!n2-[1-2]", Some("n1-1 n1-2 n3-1 n3-2")),
    ("n01,n1!n1", Some("n01")),
    ("n[1-2],n[01-02]&n[01-09]", Some("n01 n02")),
    ("10.0.0.[1-3]", Some("10.0.0.1 10.0.0.2 10.0.0.3")),
    ("10.0.[0-1].[1-2]!10.0.1.1", Some("10.0.0.1 10.0.0.2 10.0.1.2")),
    ("web_[1-2],web-[1-2]", Some("web-1 web-2 web_1 web_2")),
    ("n[18446744073709551614-18446744073709551615]", Some("n18446744073709551614 n18446744073709551615")),
    ("web[1-3", None),
    ("web1-3]", None),
    ("web[]", None),
    ("web[3-1]", None),
    ("web[a-c]", None),
    ("web[1-3/0]", None),
    ("web[1-3/x]", None),
    ("web[01-3]", None),
    ("web[1-03]", None),
    ("web[,1]", None),
    ("web[1,]", None),
    ("a,", None),
    (",a", None),
    ("a,,b", None),
    ("!a", None),
    ("&a", None),
    ("^a", None),
    ("a!", None),
    ("a!&b", None),
];

#[test]
fn lists_name_the_hosts_that_nodeset_makes_of_them() {
    let env = Env::without_key();
    for (list, expected) in EXPANDED {
        let run = dry(&env, &["-w", list]).run();
        let Some(expected) = expected else {
            run.exits(2).stdout_is("").stderr_has("pssh: -w:");
            continue;
        };
        // In the order in which they were written, not sorted.
        let found = hosts(&run);
        let set: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        run.check(set == expected.split(' ').collect(), &format!("{list} is {expected}"));
        run.check(set.len() == found.len(), "each host is there once");
    }
}

#[test]
fn ranges_stand_wherever_hosts_do() {
    let env = Env::without_key();
    let file = env.file("hosts", "web[01-02]:2222 # some\nroot@db[3,1]-[a,b]\n[::1]:22\n");
    let file = file.to_str().expect("a path");
    names(
        &env,
        &["-h", file, "-H", "n[1-2] ::1 n1 [c,d]", "-H", "[gw-1.example.com]:22 [3-4]:[22-23]"],
        "web01 web02 db3-a db3-b db1-a db1-b [::1]:22 n1 n2 ::1 n1 c d gw-1.example.com 3:22 3:23 4:22 4:23",
    );
    names(&env, &["-w", "root@web[1-2]:2222,web1,[::1]:22", "-w", "fe80::[1-2]"], WITH_USERS);
    // A list is a set, as for pdsh and clush; -h and -H keep what stands twice, as for pssh.
    names(&env, &["-H", "n2 n2", "-w", "n[1-3],n3", "-w", "n4,n1"], "n2 n2 n1 n3 n4");
}

const WITH_USERS: &str = "root@web1:2222 web2 web1 ::1 fe80::1 fe80::2";

#[test]
fn a_line_of_a_file_speaks_of_all_its_hosts() {
    let env = Env::without_key();
    let config = configure(&env, "[groups]\nweb = 'web[1-2],root@web3'\n");
    let file = env.file("hosts", "n[1-2] deploy port=2222 rack=r1\n@web port=22 rack=r2\n");
    let run = env.pssh().arg("-h").arg(&file).args(["--dry-run", "--host-arg", "n1:rack=r9", "echo %(user)s %(rack)q"]);
    let run = run.run();
    run.exits(0).stdout_is(&format!(
        "n1: echo deploy 'r9'\nn2: echo deploy 'r1'\nweb1: echo {me} 'r2'\nweb2: echo {me} 'r2'\nweb3: echo root 'r2'\n",
        me = crate::sshd::current_user()
    ));
    let file = env.file("bad", "n[1-3\n  é@n[1,x-2] deploy\n@web ops\n@db\nr@n[1-2]:[22,0]\nn[1-2],n3\n");
    let at = |place: &str| format!("pssh: {}:{place}: ", file.display());
    refused(
        &env,
        &["-h", file.to_str().expect("a path")],
        &[
            &(at("1:2") + "\"n[1-3\": unmatched ["),
            &(at("2:9") + "\"é@n[1,x-2]\": \"x-2\" is not a number, range"),
            &(at("3:6") + "\"ops\": the user is given twice"),
            &(at("4:1") + &format!("\"@db\": no such group in [groups] of {config}")),
            &(at("5:1") + "\"r@n[1-2]:[22,0]\": n1:0: the port \"0\" is not a number"),
            &(at("6:1") + "\"n[1-2],n3\": n1,n3: hosts are separated by blanks, not commas; -w takes a list"),
        ],
    );
}

#[test]
fn slips_in_lists_are_told_with_their_place() {
    let env = Env::without_key();
    for (args, words) in [
        (["-w", "a,web[1-3"], "pssh: -w:6: \"web[1-3\": unmatched [\n"),
        (
            ["-w", "a, !b"],
            "pssh: -w:4: \"a, !b\": expected a host, a range such as web[1-9], an @group or a pattern after",
        ),
        (["-w", "a b"], "pssh: -w:2: \"a b\": hosts are separated by commas here, not blanks\n"),
        (["-w", "a,b:0"], "pssh: -w:3: \"b:0\": the port \"0\" is not a number from 1 to 65535\n"),
        (["-w", "^hosts"], "for the hosts of a file use -h hosts\n"),
        (["-w", "!a"], "--exclude leaves hosts out of the whole run\n"),
        (
            ["-w", "a,web*"],
            "pssh: -w:3: \"web*\": a pattern names no hosts, it chooses among them; use it with --only, --exclude, ! or &\n",
        ),
        (["-w", "/x/"], "pssh: -w:1: \"/x/\": a pattern names no hosts"),
        (["-w", "a!/(/"], "pssh: -w:3: \"a!/(/\": invalid regular expression: "),
        (["-w", "n[1-1000000000000]"], "pssh: -w:1: \"n[1-1000000000000]\": more than 1000000 names\n"),
        (["-w", "n[1-600000],m[1-600000]"], "pssh: -w:13: \"m[1-600000]\": more than 1000000 hosts\n"),
        (["-H", "n[1-600000] m[1-600000]"], "pssh: -H: \"m[1-600000]\": more than 1000000 hosts\n"),
        (["-H", "web*"], "pssh: -H: \"web*\": a host name cannot contain '*'; --only and --exclude take patterns\n"),
        (["-H", "a,b"], "hosts are separated by blanks, not commas; -w takes a list with commas\n"),
        (["--only", "a!b"], "pssh: --only:3: \"b\": --only takes items separated by commas, without ! & ^\n"),
        (["--exclude", "a,"], "pssh: --exclude:3: \"a,\": expected a host"),
        (["--exclude", "u@w*"], "pssh: --exclude:2: \"u@w*\": a pattern matches host names only"),
    ] {
        refused(&env, &[&["-H", "x"][..], &args].concat(), &[words]);
    }
    let run = dry(&env, &["-w", "n[1-600000],m[1-600000]"]).run();
    run.check(run.stderr_text().lines().count() == 1, "one slip is told once");
    let long = format!("{},x y", (0..500).map(|n| format!("n{n}")).collect::<Vec<_>>().join(","));
    let run = dry(&env, &["-w", &long]).run();
    run.exits(2).stderr_has("pssh: -w:2392: \" y\": hosts are separated by commas here");
}

#[test]
fn filters_leave_some_of_the_hosts() {
    let env = Env::without_key();
    let file = env.file("hosts", "web[1-3]\ndb[01-12]\nroot@web1\n");
    let file = file.to_str().expect("a path");
    let pick = |args: &[&str], expected: &str| names(&env, &[&["-h", file, "-w", "gw"], args].concat(), expected);
    pick(&["--only", "web*"], "web1 web2 web3 root@web1");
    pick(&["--only", "/^db\\d[12]$/"], "db01 db02 db11 db12");
    pick(&["--only", "web[1-2],gw"], "web1 web2 root@web1 gw");
    pick(&["--only", "root@web1"], "web1");
    pick(&["--only", "web*", "--only", "gw", "--exclude", "web[2-3]*", "--exclude", "root@web1"], "web1 gw");
    pick(&["--exclude", "web*,/b/"], "gw");
    pick(&["--exclude", "db[01-12]", "--exclude", "web?"], "gw");
    names(&env, &["-w", "n[1-9]!/[2468]/&n?!n[7-9]"], "n1 n3 n5");
    // What means nothing may be a slip, and a host that was to be left out would run.
    let run = dry(&env, &["-w", "n[1-2]", "--exclude", "n2,n3", "--only", "n*,m*"]).run();
    run.check(hosts(&run) == ["n1"], "one is left");
    run.stderr_has("pssh: --exclude:4: \"n3\" matches no host\n");
    run.stderr_has("pssh: --only:4: \"m*\" matches no host\n").stderr_lacks("n2").stderr_lacks("n*");
    let none = "pssh: the list of hosts is empty: --only and --exclude leave none of 2\n";
    refused(&env, &["-w", "n[1-2]", "--exclude", "n*"], &[none]);
    refused(&env, &["-w", "n[1-2]", "--only", "m"], &[none]);
    refused(&env, &["--only", "m"], &["pssh: there are no hosts: name them with -H"]);
    refused(&env, &["-w", "a!a"], &["pssh: the list of hosts is empty\n"]);
}

#[test]
fn groups_are_lists_that_may_name_groups() {
    let env = Env::without_key();
    let config = configure(
        &env,
        "[groups]\nweb = 'web[1-4]'\nold = ['web3', \"db1\"]\nall = ['@web!@old', 'root@gw:2222']\n\
         loop = 'a,@loop2'\nloop2 = ['b', 'c,@loop']\nslip = 'x[1-'\n'1' = 'one'\n",
    );
    names(&env, &["-w", "@all,@web"], "web1 web2 web4 gw web3");
    names(&env, &["-H", "x @old @old @1", "-w", "@old"], "x web3 db1 web3 db1 one");
    names(&env, &["-w", "@web&@old,@all^@web"], "gw");
    names(&env, &["-w", "@web", "--exclude", "@old"], "web1 web2 web4");
    names(&env, &["-w", "n1,web1", "--only", "@web"], "web1");
    refused(
        &env,
        &["-w", "@loop"],
        &[&format!("{config}:6:18: \"@loop\": the group contains itself: @loop has @loop2 has @loop\n")],
    );
    refused(&env, &["-w", "@slip"], &[&format!("pssh: {config}:7:10: \"x[1-\": unmatched [\n")]);
    refused(&env, &["-w", "a,@wep"], &["pssh: -w:3: \"@wep\": no such group in [groups] of", "; did you mean web?"]);
    refused(&env, &["-w", "@"], &["pssh: -w:1: \"@\": the name of the group is missing after the @\n"]);
    refused(&env, &["-w", "@a/b"], &["\"@a/b\": the name of a group has letters, digits, _ . and - only, not '/'\n"]);
    // Elsewhere, by the variable; and no file is no groups.
    fs::create_dir_all(env.path("xdg/pssh")).expect("a directory");
    let other = env.file("xdg/pssh/config.toml", "[groups]\nweb = 'other'\n");
    let run = dry(&env, &["-w", "@web"]).variable("XDG_CONFIG_HOME", env.path("xdg")).run();
    run.check(hosts(&run) == ["other"], "the group of the other file");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o666)).expect("a mode");
    let run = dry(&env, &["-H", "a"]).variable("XDG_CONFIG_HOME", env.path("xdg")).run();
    run.exits(2)
        .stderr_has(&format!("pssh: {}: bad owner or permissions: mode 0666 lets others write it", other.display()));
    let run = dry(&env, &["-w", "@web"]).variable("XDG_CONFIG_HOME", env.path("none")).run();
    run.exits(2).stderr_has("none/pssh/config.toml; for a host, the user before the @ is missing");
}

#[test]
fn a_command_prints_the_hosts_of_groups() {
    let env = Env::without_key();
    let groups = env.path("groups");
    fs::create_dir(&groups).expect("a directory");
    env.file("groups/web", "# of today\nweb[1-2] deploy port=2222 rack=3\n@db rack=7\n");
    env.file("groups/db", "root@db1 rack=1\n");
    env.file("groups/slip", "a b c\n");
    env.file("groups/none", "");
    let command = format!("echo %g >>{dir}/log; cat {dir}/%g", dir = groups.display());
    let config = configure(&env, &format!("group-command = \"{command}\"\n[groups]\nall = '@web,@mine'\nmine = 'm'\n"));
    names(&env, &["-w", "@all,@web!m", "-H", "@db", "--only", "@all"], "db1 web1 web2");
    let log = fs::read_to_string(env.path("groups/log")).expect("a log");
    assert_eq!(log, "db\nweb\n", "each is asked for once, and not for those of the file");
    let file = env.file("hosts", "@web\n");
    let run = env.pssh().arg("-h").arg(file).args(["--dry-run", "echo %(user)s %(port)s %(rack)s"]).run();
    run.exits(0).stdout_is("web1: echo deploy 2222 3\nweb2: echo deploy 2222 3\ndb1: echo root 22 1\n");
    refused(
        &env,
        &["-w", "@slip"],
        &["pssh: group-command, group slip, line 1, column 5: \"c\": expected [user@]host"],
    );
    refused(&env, &["-w", "@none"], &["pssh: the list of hosts is empty\n"]);
    let run = dry(&env, &["-w", "a,@nobody"]).run();
    run.exits(1).stdout_is("").stderr_has(&format!(
        "pssh: -w:3: \"@nobody\": the group-command at {config}:1:1 failed: it ended with exit status: 1\n"
    ));
    run.stderr_has("nobody: No such file or directory");
}

#[test]
fn options_have_defaults_in_the_file() {
    let env = Env::without_key();
    let config = configure(&env, "[defaults]\nuser = 'ops'\nconnect-timeout = '7s'\nhost-key-check = 'accept-new'\n");
    fs::write(env.ssh_dir().join("config"), "Host *\n User other\n ConnectTimeout 3\n").expect("a file");
    let explained = |args: &[&str], variable: &str| {
        let run = env.pssh().args(["-H", "web1", "--explain"]).args(args).variable("PSSH_USER", variable).run();
        run.exits(0);
        let text = String::from_utf8(run.stdout.clone()).expect("text");
        let line = |keyword: &str| {
            let line = text.lines().find(|line| line.split(' ').next() == Some(keyword));
            line.expect("a line").to_owned()
        };
        [line("user"), line("connecttimeout"), line("stricthostkeychecking")]
    };
    let [user, timeout, check] = explained(&[], "");
    assert_eq!(user, format!("user ops\t# {config}:2:8"));
    assert_eq!(timeout, format!("connecttimeout 7\t# {config}:3:19"));
    assert_eq!(check, format!("stricthostkeychecking accept-new\t# {config}:4:18"));
    let [user, timeout, _] = explained(&["--connect-timeout", "9"], "me");
    assert_eq!((user.as_str(), timeout.as_str()), ("user me\t# PSSH_USER", "connecttimeout 9\t# --connect-timeout"));
    assert_eq!(explained(&["-l", "root"], "me")[0], "user root\t# -l");
    configure(&env, "[defaults]\npar = 0\nnum_retries = 3\n[group]\n");
    refused(
        &env,
        &["-H", "a"],
        &[
            &format!("pssh: {config}:2:7: \"par\": at least one host must run at a time\n"),
            &format!("{config}:3:1: \"num_retries\": there is no such key; did you mean num-retries?\n"),
            &format!("{config}:4:2: \"group\": there is no such key; did you mean groups?\n"),
        ],
    );
}

#[test]
fn a_range_is_run_on() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 4, ..Setup::default() });
    configure(&env, &format!("[groups]\nall = '127.0.1.[1-4]:{}'\n", sshd.port()));
    let run = env.pssh().args(["-w", "@all", "--exclude", "127.0.1.[2-3]", "echo ${SSH_CONNECTION% *}"]).run();
    run.exits(0);
    for place in [1, 4] {
        let label = format!("127.0.1.{place}");
        let said = String::from_utf8(run.stdout_of(&label)).expect("text");
        run.check(said.trim_end().ends_with(&label), &format!("{label} has run it, not {said}"));
    }
    run.check(sshd.connections() == 2, "only two hosts were connected to");
}

#[test]
fn ten_thousand_hosts_are_named_at_once() {
    let env = Env::without_key();
    let each: Vec<String> = (0..10_000).map(|number| format!("h{number}")).collect();
    let list = env.file("list", each.join(","));
    let file = env.file("hosts", each.join("\n"));
    let script = format!("exec \"$@\" -w \"$(cat {})\" --exclude 'h[0-9998]' --dry-run true", list.display());
    let run = env.pssh().arg("-h").arg(file).shell(&script).run();
    run.exits(0).stdout_is("h9999: true\n").within(10);
}

#[test]
fn lists_of_other_programs_are_told_what_they_are() {
    let env = Env::new();
    for (text, place, what) in [
        ("web1\n[db]\ndb1\n", "2:1: \"[db]\"", "inventory of Ansible"),
        ("web1 ansible_host=10.0.0.1\n", "1:1: \"web1 ansible_host\"", "inventory of Ansible"),
        ("ansible_user=root\n", "1:1: \"ansible_user\"", "inventory of Ansible"),
        ("all:\n  hosts:\n    web1:\n", "1:1: \"all:\"", "YAML"),
        ("[\"web1\"]\n", "1:1: ", "JSON"),
        ("web1 ssh-ed25519 AAAA\n", "1:1: ", "known_hosts"),
        ("Host web1\n  User root\n", "1:1: \"Host web1\"", "ssh_config"),
        ("hostname,ip\nweb1,10.0.0.1\n", "1:1: \"hostname,ip\"", "table with a header"),
    ] {
        let file = env.file("list", text);
        let run = env.pssh().arg("-h").arg(&file).arg("true").run();
        run.exits(2).stderr_has(&format!("list:{place}")).stderr_has(what).stderr_has("pssh -h - ");
        run.check(run.stderr_text().lines().count() == 1, "one line says it");
    }
}

/// Lines of a hosts file with a word of another format, and the hosts that they are.
const ODD_HOSTS: [(&str, &str); 13] = [
    ("web1 ssh-admin\n", "ssh-admin@web1"),
    ("web1 ssh-user # ssh-rsa AAAA\n", "ssh-user@web1"),
    ("web1 # was ansible_host=10.0.0.1\n", "me@web1"),
    ("web1 # primary, node\n", "me@web1"),
    ("web1 #note; host\n", "me@web1"),
    ("web1\tnode\n", "node@web1"),
    ("web1 arg.note=\"a, name\"\n", "me@web1"),
    ("hostname user=joe\n", "joe@hostname"),
    ("host joe\n", "joe@host"),
    ("hostname\n", "me@hostname"),
    ("host port=22\nweb1\n", "me@host me@web1"),
    ("match joe\nhost\n", "joe@match me@host"),
    ("name ip\nweb1 joe\n", "ip@name joe@web1"),
];

#[test]
fn no_hosts_file_is_taken_for_another_list() {
    let env = Env::new();
    for (text, hosts) in ODD_HOSTS {
        let file = env.file("list", text);
        let mut pssh = env.pssh().arg("-h").arg(&file).args(["-l", "me", "--dry-run"]);
        let mut expected = String::new();
        for host in hosts.split(' ') {
            let (_, name) = host.split_once('@').expect("a user and a host");
            pssh = pssh.arg("--host-arg").arg(format!("{name}:x=y"));
            writeln!(expected, "{name}: echo {host} y").expect("a line");
        }
        pssh.arg("echo %(user)s@%(host)s %(x)s").run().exits(0).stdout_is(&expected);
    }
    let file = env.file("list", "web1 note=\"a, name\"\n");
    let run = env.pssh().arg("-h").arg(file).args(["--host-arg", "web1:x=1", "--dry-run", "echo %(note)q %(x)s"]).run();
    run.exits(0).stdout_is("web1: echo 'a, name' 1\n");
    let file = env.file("list", "web1 =1\n");
    let run = env.pssh().arg("-h").arg(file).args(["--dry-run", "true"]).run();
    run.exits(2).stderr_has("list:1:6: \"=\": expected key=value, without a blank before the =");
}

#[test]
fn what_is_said_to_make_a_hosts_file_of_a_list_does_so() {
    let env = Env::new();
    for (name, text, format) in [
        ("c", "hostname,ip\nweb1,10.0.0.1\nweb2,10.0.0.2\n", "table"),
        ("c", "\n# all\nrole;host name\ndb;web1\ndb;web2\n", "table"),
        ("c;id.csv", "\"user\",\"host\"\n\"joe\",\"web1\"\n\"joe\",\"web2\"\n", "table"),
        ("c", "hostname\tip\nweb1\t10.0.0.1\nweb2\t10.0.0.2\n", "table"),
        ("c", "host port\nweb1 22\nweb2 22\n", "table"),
        ("it's", "hostname\nweb1\nweb2\n", "table"),
        ("c", "Compression yes\nHost web1\n  User joe\nhost = \"web2\"\n", "ssh_config"),
        ("-c", "web1 ssh-ed25519 AAAA\n[web2]:22,x ssh-ed25519 AAAA\n", "known_hosts"),
    ] {
        let file = env.file(name, text);
        let run = env.pssh().arg("-h").arg(&file).arg("true").run();
        run.exits(2).stderr_has(format);
        let words = run.stderr_text();
        let advice = words.split_once("on each line; for ").and_then(|(_, advice)| advice.split_once(" use "));
        let recipe = advice.and_then(|(_, recipe)| recipe.strip_suffix(" | pssh -h - ...\n")).expect("a recipe");
        let made = Command::new("sh").args(["-c", recipe]).output().expect("sh");
        let hosts = String::from_utf8_lossy(&made.stdout).replace("[web2]:22", "web2");
        run.check(hosts == "web1\nweb2\n", &format!("{recipe} prints the hosts, not {hosts:?}"));
        // Standard input has no name.
        let run = env.pssh().args(["-h", "-", "true"]).stdin(text).run();
        run.exits(2).stderr_has(format).stderr_has("FILE").stderr_lacks("-i -");
    }
}

#[test]
fn urls_line_ends_and_comments_of_any_kind_are_read() {
    let env = Env::new();
    let listed = |file: &[u8]| {
        let file = env.file("list", file);
        env.pssh()
            .arg("-h")
            .arg(&file)
            .args(["--dry-run", "--host-arg", "web1=", "echo %(host)s %(user)s %(port)s%s"])
            .run()
    };
    let run = listed(b"ssh://deploy@web1:2222\n");
    run.exits(0).stdout_is("web1: echo web1 deploy 2222\n");
    listed(b"sftp://deploy@web1:2222/ # B\xfcro\n").exits(0).stdout_is("web1: echo web1 deploy 2222\n");
    let lines = env.file("mac", "web1\rroot@web2:22\r\nweb3\n");
    let run = env.pssh().arg("-h").arg(lines).args(["--dry-run", "true"]).run();
    run.exits(0).stdout_is("web1: true\nweb2: true\nweb3: true\n");
    let run = listed(b"web1\nw\xe9b2\n");
    run.exits(2).stderr_has("list:2:2: ").stderr_has("not UTF-8 text");
    let run = listed(b"ssh://web1/etc\n");
    run.exits(2).stderr_has("list:1:1: \"ssh://web1/etc\": expected ssh://[user@]host[:port], without a path");
    env.pssh().args(["-H", "ssh://a%4@web1", "--dry-run", "true"]).run().exits(2).stderr_has("hexadecimal");
    env.pssh()
        .args(["-H", "ssh://a%FF@web1", "--dry-run", "true"])
        .run()
        .exits(2)
        .stderr_has("user of the URL, decoded, is not UTF-8");
    env.pssh().args(["-w", "ssh://me@web1:22", "--dry-run", "true"]).run().exits(0).stdout_is("web1: true\n");
    env.pssh().args(["-J", "ssh://me@gate:22", "-H", "web1", "--explain"]).run().exits(0);
}

#[test]
fn an_empty_command_is_none() {
    let env = Env::new();
    for words in [&[""][..], &["  "], &["", "\n"]] {
        let run = env.pssh().args(["-H", "web1", "--"]).args(words).run();
        run.exits(2).stderr_has("the command is empty: is a variable in it not set?");
        let run = env.pssh().args(["-H", "web1", "--shell", "sh -c", "--"]).args(words).run();
        run.exits(2).stderr_has("the command is empty: is a variable in it not set?");
    }
    // A value may be the name of an unset variable; it is known for each host.
    for (args, problem) in [
        (&["--host-arg", "web1=", "%s"][..], "web1: the command is empty: is a variable or a value in it not set?"),
        (&["--host-arg", "web1= ", "--shell", "sh -c", "%s", ""], "web1: the command is empty: "),
        (&["--host-arg", "web1=", "--no-shell", "%s"], "web1: the command's first word is empty"),
        (&["--script", "/dev/null"], "--script /dev/null: it is empty: nothing would be run"),
        (&["--script", "/dev/null", "word"], "--script /dev/null: it is empty: nothing would be run"),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            env.pssh().args(["-H", "web1"]).args(dry).args(args).run().exits(2).stdout_is("").stderr_has(problem);
        }
    }
    env.pssh().args(["-H", "web1", "--host-arg", "web1=", "--dry-run", "%q"]).run().exits(0).stdout_is("web1: ''\n");
    let run = env.run_of(pssh::internal::Program::Pnuke).args(["-H", "web1", ""]).run();
    run.exits(2).stderr_has("the pattern is empty");
    let run = env.pssh().args(["-H", "web1", "--env", "A B=1", "true"]).run();
    run.exits(2).stderr_has("--env \"A B\": the name of a variable cannot have blanks");
}
