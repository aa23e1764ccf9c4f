//! Sources of hosts, `@NAME:group`: commands of config.toml; and the scripts in examples/inventory, each on its recorded input.

use std::fs;
use std::path::{Path, PathBuf};

use pssh::internal::Program;

use crate::bin::{Env, Run};

/// Writes the user's config.toml.
fn configure(env: &Env, text: &str) -> String {
    fs::create_dir_all(env.path(".config/pssh")).expect("a directory");
    env.file(".config/pssh/config.toml", text).display().to_string()
}

fn list(env: &Env, args: &[&str]) -> Run {
    env.bare(Program::Pssh).arg("--list").args(args).run()
}

#[track_caller]
fn lists(env: &Env, args: &[&str], expected: &str) {
    let run = list(env, args);
    run.exits(0).stdout_is(&expected.split_whitespace().map(|host| format!("{host}\n")).collect::<String>());
    run.check(run.stderr.is_empty(), "nothing to complain about");
}

#[track_caller]
fn refused(env: &Env, args: &[&str], status: i32, words: &[&str]) {
    let run = list(env, args);
    run.exits(status).stdout_is("");
    words.iter().for_each(|words| {
        run.stderr_has(words);
    });
}

/// A configuration whose commands print the files of a directory, and note what they were asked.
fn files(env: &Env) -> String {
    fs::create_dir(env.path("ec2")).expect("a directory");
    fs::create_dir(env.path("other")).expect("a directory");
    env.file("ec2/web", "# today\nweb[1-2] deploy rack=3\nweb3 port=2222\n");
    env.file("ec2/db", "db1\nroot@web1\ndeploy@web1\n@gw\n");
    env.file("ec2/mixed", "x1\n@ec2:web\n@gw\n");
    env.file("other/gw", "gw1\n");
    env.file("other/web", "never\n");
    let home = env.path("").display().to_string();
    configure(
        env,
        &format!(
            "group-command = 'echo %g >>{home}/log; cat {home}/other/%g'\n\
             [groups]\nweb = 'own[1-2]'\nall = '@ec2:*!web3:2222'\n\
             [sources.ec2]\ncommand = 'echo ec2:%g >>{home}/log; cat {home}/ec2/%g'\nlist = 'echo; echo \"# all\"; ls {home}/ec2'\n\
             [sources.no-list]\ncommand = 'echo %g'\n"
        ),
    )
}

#[test]
fn groups_of_sources_are_named_wherever_groups_are() {
    let env = Env::without_key();
    files(&env);
    let web = "deploy@web1 deploy@web2 web3:2222";
    lists(&env, &["-w", "@ec2:web"], web);
    lists(&env, &["-w", "@ec2:mixed"], &format!("x1 {web} gw1"));
    lists(&env, &["-w", "@ec2:web!@ec2:db,@web"], "deploy@web2 web3:2222 own1 own2");
    lists(&env, &["-w", "x,@ec2:db&@ec2:web"], "deploy@web1");
    lists(&env, &["-w", "@ec2:web^@ec2:db"], "deploy@web2 web3:2222 db1 root@web1 gw1");
    lists(&env, &["-H", "a @ec2:web user@host:22 @no-list:y"], &format!("a {web} user@host:22 y"));
    lists(&env, &["-H", "web3 db1 gw1 own1", "--only", "@ec2:*", "--exclude", "@gw"], "db1");
    let file = env.file("hosts", "@ec2:web port=7\nz\n").display().to_string();
    // The port of the line is for those without one.
    refused(&env, &["-h", &file], 2, &["hosts:1:10: \"port\": the port is given twice"]);
    let file = env.file("hosts", "@ec2:db port=7\nz\n").display().to_string();
    lists(&env, &["-h", &file], "db1:7 root@web1:7 deploy@web1:7 gw1:7 z");
    // Once for each group.
    fs::remove_file(env.path("log")).expect("a log");
    lists(&env, &["-w", "@ec2:web,@ec2:mixed", "--only", "@ec2:web"], web);
    assert_eq!(fs::read_to_string(env.path("log")).expect("a log"), "ec2:web\nec2:mixed\ngw\n");
    // A value that this command does not use is no mistake of a source.
    let run = env.pssh().args(["-w", "@ec2:web", "--dry-run", "echo %(port)s"]).run();
    run.exits(0).stdout_is("web1: echo 22\nweb2: echo 22\nweb3: echo 2222\n");
}

#[test]
fn all_groups_of_a_source_and_all_groups_are_stars() {
    let env = Env::without_key();
    let config = files(&env);
    let all = "db1 root@web1 deploy@web1 gw1 x1 deploy@web2 web3:2222";
    lists(&env, &["-w", "@ec2:*"], all);
    lists(&env, &["-H", "@ec2:*"], all);
    lists(&env, &["-w", "@all"], "db1 root@web1 deploy@web1 gw1 x1 deploy@web2");
    refused(
        &env,
        &["-w", "a,@no-list:*"],
        2,
        &[&format!(
            "pssh: -w:3: \"@no-list:*\": source no-list does not say which groups it has; add list = \"COMMAND\" under \
             [sources.no-list] in {config}, a command that prints their names\n"
        )],
    );
    // A part would look like all.
    refused(
        &env,
        &["-w", "@*"],
        2,
        &[&format!(
            "\"@*\": group-command does not say which groups it has; add group-list = \"COMMAND\" in {config}, a"
        )],
    );
    let text = fs::read_to_string(&config).expect("the file");
    configure(&env, &format!("group-list = 'ls {}'\n{text}", env.path("other").display()));
    // [groups] in the order of their names, then those of group-command that are not there; sources with names only where they are named.
    lists(&env, &["-w", "@*"], "db1 root@web1 deploy@web1 gw1 x1 deploy@web2 own1 own2");
    lists(&env, &["-H", "own2 zz", "--only", "@*"], "own2");
    configure(&env, "[groups]\na = 'a1'\nb = ['b1', 'a1']\n[sources.s]\ncommand = 'echo %g'\nlist = 'echo x'\n");
    lists(&env, &["-w", "@*"], "a1 b1");
    lists(&env, &["-w", "@s:*,@*"], "x a1 b1");
    configure(&env, "");
    refused(&env, &["-w", "@*"], 2, &["pssh: -w:1: \"@*\": there are no groups in [groups] of "]);
}

#[test]
fn a_source_without_groups_is_a_single_list() {
    let env = Env::without_key();
    let text = "group-command = 'echo never %g'\n[sources.cmdb]\ncommand = 'echo c1; echo root@c2:7 proxy-command=x; date +%%F >&2'\n\
                trusted = true\n[sources.bad]\ncommand = 'echo b1 identity=k'\n[sources.own]\ncommand = 'echo never'\n[groups]\nown = 'o1'\n";
    configure(&env, text);
    for list in ["@cmdb", "@cmdb:*", "@cmdb,@cmdb:*"] {
        let run = list_of(&env, list);
        run.exits(0).stdout_is("c1\nroot@c2:7\n").stderr_lacks("%");
    }
    list_of(&env, "@own").exits(0).stdout_is("o1\n");
    list_of(&env, "@own:*").exits(0).stdout_is("never\n");
    refused(
        &env,
        &["-w", "a,@cmdb:web"],
        2,
        &[
            "pssh: -w:3: \"@cmdb:web\": source cmdb has no groups, as its command has no %g; @cmdb:* names all its hosts\n",
        ],
    );
    refused(
        &env,
        &["-w", "@bad"],
        2,
        &["pssh: source bad, line 1, column 4: \"identity=k\": the output of a source may not "],
    );
    configure(&env, "[sources.cmdb]\nlist = 'echo x'\ncommand = 'echo c1'\n");
    refused(
        &env,
        &["-H", "a"],
        2,
        &[
            "\"command\": in [sources.cmdb]: expected a command with %g where the group's name belongs, as list names groups\n",
        ],
    );
}

fn list_of(env: &Env, nodes: &str) -> Run {
    list(env, &["-w", nodes])
}

#[test]
fn misspelt_groups_and_sources_are_told_what_they_may_mean() {
    let env = Env::without_key();
    let source = "[sources.ansible]\ncommand = 'test %g = web && echo w1'\nlist = 'echo web; echo db'\n";
    configure(
        &env,
        &format!("group-command = ': %g; exit 1'\ngroup-list = 'echo nginx'\n[groups]\ncanary = 'c1'\n{source}"),
    );
    for (list, status, words) in [
        ("@canaryy", 1, "failed: it ended with exit status: 1; did you mean @canary of [groups]?\n"),
        ("@ngimx", 1, "failed: it ended with exit status: 1; did you mean @nginx?\n"),
        ("@nginx", 1, "failed: it ended with exit status: 1\n"),
        (
            "@ansible",
            1,
            "exit status: 1; ansible is a source: @ansible:GROUP names a group of it, @ansible:* all its hosts\n",
        ),
        ("@ansible:wbe", 1, "failed: it ended with exit status: 1; did you mean @ansible:web?\n"),
        ("@ansible:db", 1, "failed: it ended with exit status: 1\n"),
        ("ansible:web", 2, "the port \"web\" is not a number from 1 to 65535; did you mean @ansible:web?\n"),
        ("other:web", 2, "the port \"web\" is not a number from 1 to 65535\n"),
    ] {
        refused(&env, &["-w", list], status, &[words]);
    }
    configure(&env, source);
    let all =
        "pssh: -w:1: \"@ansible\": ansible is a source: @ansible:GROUP names a group of it, @ansible:* all its hosts\n";
    refused(&env, &["-w", "@ansible"], 2, &[all]);
}

#[test]
fn sources_that_fail_name_the_place_and_the_reason() {
    let env = Env::without_key();
    let home = env.path("").display().to_string();
    let config = configure(
        &env,
        &format!(
            "[sources.ec2]\ncommand = 'cat {home}/%g'\nlist = 'cat {home}/list'\n[sources.big]\ncommand = 'yes %g'\n\
             [sources.many]\ncommand = 'echo %g >>{home}/log'\nlist = 'seq 10001'\n\
             [sources.fails]\ncommand = 'echo %g >>{home}/log; exit 3'\nlist = 'echo a; echo b'\n"
        ),
    );
    for (list, status, words) in [
        (
            "@ec3:web",
            2,
            format!("pssh: -w:1: \"@ec3:web\": no such source in [sources] of {config}; did you mean ec2?"),
        ),
        ("@ec3:*", 2, format!("pssh: -w:1: \"@ec3:*\": no such source in [sources] of {config}; did you mean ec2?")),
        ("a,@ec2:", 2, "pssh: -w:3: \"@ec2:\": the name of the group is missing after the :\n".to_owned()),
        ("@:web", 2, "pssh: -w:1: \"@:web\": the name of the source is missing after the @\n".to_owned()),
        ("@e/c:web", 2, "the name of a source has letters, digits, _ . and - only, not '/'\n".to_owned()),
        ("@ec2:w*", 2, "the name of a group has letters, digits, _ . and - only, not '*'\n".to_owned()),
        ("@ec2:web:22", 2, "the name of a group has letters, digits, _ . and - only, not ':'\n".to_owned()),
        ("@ec2:-x", 2, "the name of a group starts with a letter, a digit or _\n".to_owned()),
        (
            "@ec2:gone",
            1,
            format!("\"@ec2:gone\": the command of source ec2 at {config}:2:1 failed: it ended with exit status: 1\n"),
        ),
        (
            "@ec2:*",
            1,
            format!("\"@ec2:*\": the list of source ec2 at {config}:3:1 failed: it ended with exit status: 1\n"),
        ),
        ("@big:x", 1, format!("the command of source big at {config}:5:1 failed: it prints more than ")),
        ("@many:*", 2, "pssh: source many, list, line 10001, column 1: \"10001\": more than 10000 groups\n".to_owned()),
    ] {
        refused(&env, &["-w", list], status, &[&words]);
    }
    assert!(!env.path("log").exists(), "no command ran for a list that is refused");
    // The first command that fails is the last one.
    refused(&env, &["-w", "@fails:*,@fails:c"], 1, &["\"@fails:a\": the command of source fails at "]);
    assert_eq!(fs::read_to_string(env.path("log")).expect("a log"), "a\n");
    for (file, text, words) in [
        (
            "list",
            "web\na;b\n../x\n",
            "pssh: source ec2, list, line 2, column 1: \"a;b\": the name of a group has letters",
        ),
        (
            "list",
            "loop\n",
            "pssh: source ec2, group loop2, line 2, column 1: \"@ec2:loop\": the group contains itself: @ec2:loop has @ec2:loop2 has @ec2:loop\n",
        ),
        ("list", "star\n", "\"@ec2:*\": the group contains itself: @ec2:* has @ec2:star has @ec2:*\n"),
        (
            "list",
            "json\n",
            "pssh: source ec2, group json, line 1, column 1: \"{\": this looks like JSON, not like a hosts file with [user@]host[:port] on each line\n",
        ),
        ("list", "slip\n", "pssh: source ec2, group slip, line 2, column 5: \"b\": expected [user@]host"),
    ] {
        env.file(file, text);
        env.file("web", "w\n");
        env.file("loop", "@ec2:loop2\n");
        env.file("loop2", "x\n@ec2:loop\n");
        env.file("star", "@ec2:*\n");
        env.file("json", "{\n}\n");
        env.file("slip", "\na u b\n");
        refused(&env, &["-w", "@ec2:*"], 2, &[words]);
    }
    refused(&env, &["-w", "@ec2:*"], 2, &["\"b\""]);
}

/// Every option of a host, as a source prints it, and what it may not do.
const OPTIONS: [(&str, Option<&str>); 21] = [
    ("user=u", None),
    ("port=22", None),
    ("address=10.0.0.1", None),
    ("alias=x", None),
    ("identity=/etc/hostname", Some("choose a private key")),
    ("password-file=/etc/hostname", Some("choose a password file")),
    ("proxy=bastion", None),
    ("proxy-command=\"touch planted\"", Some("run a command here")),
    ("proxy-command=none", None),
    ("connect-timeout=5", None),
    ("timeout=5", None),
    ("channel-timeout=5", None),
    ("num-retries=1", None),
    ("retry-delay=1", None),
    ("host-key-check=strict", None),
    ("host-key-check=accept-new", Some("weaken the check of host keys")),
    ("host-key-check=off", Some("weaken the check of host keys")),
    ("known-hosts=/etc/hostname", Some("choose the known host keys")),
    ("agent=/etc/hostname", Some("choose an agent")),
    ("no-agent=true", None),
    ("arg.rack=3", None),
];

#[test]
fn a_source_runs_nothing_and_names_no_local_files_unless_it_is_trusted() {
    let env = Env::without_key();
    for key in pssh::internal::HOST_KEYS {
        assert!(OPTIONS.iter().any(|(option, _)| option.split('=').next() == Some(key)), "{key} is not decided");
    }
    let command = |trusted: &str, key: &str| {
        let text = format!("group-command = 'cat %g'\n{key}[sources.ec2]\ncommand = 'cat %g'\n{trusted}");
        configure(&env, &text)
    };
    for (option, doing) in OPTIONS {
        env.file("web", format!("# all\nw {option}\n"));
        let shown = option.replace('"', "");
        for (named, title, group_key, table) in [
            ("@ec2:web", "source ec2", "trusted", " under [sources.ec2]"),
            ("@web", "group-command", "group-trusted", ""),
        ] {
            let config = command("", "");
            let run = list(&env, &["-w", named]);
            match doing {
                None => drop(run.exits(0).check(run.stdout_text().contains('w'), "the host")),
                Some(doing) => {
                    run.exits(2).stderr_has(&format!(
                        "pssh: {title}, group web, line 2, column 3: \"{shown}\": the output of a source may not {doing}; \
                         {group_key} = true{table} in {config} allows it\n"
                    ));
                }
            }
            command("trusted = true\n", "group-trusted = true\n");
            list(&env, &["-w", named]).exits(0);
            command("trusted = false\n", "group-trusted = false\n");
            list(&env, &["-w", named]).exits(if doing.is_some() { 2 } else { 0 });
        }
    }
    // Options that a line gives to a group are those of the line's place.
    env.file("web", "@own identity=/etc/hostname\n");
    configure(&env, "[groups]\nown = 'o'\n[sources.ec2]\ncommand = 'cat %g'\n");
    refused(
        &env,
        &["-w", "@ec2:web"],
        2,
        &["source ec2, group web, line 1, column 6: \"identity=/etc/hostname\": the output"],
    );
    let file = env.file("hosts", "@ec2:db identity=/etc/hostname\n").display().to_string();
    env.file("db", "d\n");
    lists(&env, &["-h", &file], "d");
    assert!(!env.path("planted").exists(), "nothing was run");
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory")
}

/// Groups and their hosts.
type Groups = &'static [(&'static str, &'static str)];

/// The scripts, what names their input, and what pssh makes of their groups.
const SCRIPTS: [(&str, &str, Groups); 5] = [
    (
        "ansible.py --from",
        "recorded/ansible-inventory.json",
        &[
            ("web", "web1.example.com web2.example.com"),
            ("prod", "web1.example.com web2.example.com postgres@db1.example.com:2222"),
            ("*", "bastion.example.com web1.example.com web2.example.com postgres@db1.example.com:2222"),
        ],
    ),
    (
        "terraform.py --from",
        "recorded/terraform-show.json",
        &[("web", "web-1 web-2"), ("db", "10.0.2.21"), ("*", "web-1 web-2 10.0.2.21")],
    ),
    (
        "consul.py",
        "recorded/consul",
        &[("web", "node-a node-b"), ("postgres", "node-b"), ("*", "node-c node-b node-a")],
    ),
    (
        "ssh-config.sh --from",
        "recorded/ssh_config",
        &[
            ("web", "web1 web-2.example.com"),
            ("all", "web1 web-2.example.com db01 bastion 10.0.0.7"),
            ("other", "10.0.0.7"),
        ],
    ),
    (
        "known-hosts.sh --from",
        "recorded/known_hosts",
        &[
            ("web", "web1 web-2.example.com:2222"),
            ("*", "web1 web-2.example.com:2222 db01 [2001:db8::7]:22022 192.0.2.8"),
        ],
    ),
];

#[test]
fn the_scripts_of_examples_print_lists() {
    let env = Env::without_key();
    for (script, input, groups) in SCRIPTS {
        let path = examples().join(input).display().to_string();
        let script = examples().join(script).display().to_string();
        let call = if script.ends_with("consul.py") {
            format!("CONSUL_HTTP_ADDR=file://{path} {script}")
        } else {
            format!("{script} {path}")
        };
        configure(&env, &format!("[sources.x]\ncommand = \"{call} %g\"\nlist = \"{call} --groups\"\n"));
        for (group, expected) in groups {
            lists(&env, &["-w", &format!("@x:{group}")], expected);
        }
        if !script.contains("consul") {
            let from = call.strip_suffix(&path).expect("the input");
            configure(&env, &format!("[sources.x]\ncommand = \"cat {path} | {from} - %g\"\n"));
            lists(&env, &["-w", &format!("@x:{}", groups[0].0)], groups[0].1);
        }
    }
    // What the inventory knows of its hosts beyond their names.
    let path = examples().join("recorded/ansible-inventory.json").display().to_string();
    let script = examples().join("ansible.py").display().to_string();
    configure(&env, &format!("[sources.x]\ncommand = \"{script} --from {path} %g\"\n"));
    let run = env.pssh().args(["-w", "@x:db", "--explain"]).run();
    let from = "hostname 10.0.2.1\t# source x, group db, line 1, column 17: address\n";
    run.exits(0).check(run.stdout_text().contains(from), from);
    refused(&env, &["-w", "@x:nothing"], 1, &["ansible.py: the inventory has no group nothing\n", "exit status: 1"]);
}

#[test]
fn each_script_is_short_and_shows_its_lines_of_config_toml() {
    let env = Env::without_key();
    let mut count = 0;
    for entry in fs::read_dir(examples()).expect("the scripts") {
        let path = entry.expect("a script").path();
        if path.is_dir() {
            continue;
        }
        count += 1;
        let text = fs::read_to_string(&path).expect("a script");
        assert!(text.lines().count() < 60, "{}", path.display());
        let of_config = text.lines().map(|line| line.trim_start_matches("# ").trim_start());
        let of_config = of_config.skip_while(|line| !line.starts_with("[sources.")).take(3);
        configure(&env, &of_config.map(|line| format!("{line}\n")).collect::<String>());
        // It is read before the missing source is.
        refused(&env, &["-w", "@none:x"], 2, &["no such source in [sources] of "]);
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(text.contains(&format!("Usage: {name} ")) && text.contains(&format!("/{name} %g\"")), "{name}");
    }
    assert_eq!(count, SCRIPTS.len());
}

/// Hosts of a trusted list keep their address: their password would go elsewhere.
#[test]
fn what_is_not_trusted_changes_no_hosts_of_others() {
    let env = Env::without_key();
    env.file("un", "@tr:x address=127.0.7.1\n");
    env.file("plain", "@tr:x\n");
    let command = env.path("").display().to_string();
    configure(
        &env,
        &format!(
            "[sources.tr]\ncommand = 'echo db password-file=/etc/hostname # %g'\ntrusted = true\n\
             [sources.un]\ncommand = 'cat {command}/%g'\n"
        ),
    );
    let problem = "source un, group un, line 1, column 1: \"@tr:x\": these hosts may have options of their own";
    refused(&env, &["-w", "@un:un"], 2, &[problem, "name the group without options"]);
    list(&env, &["-w", "@un:plain"]).exits(0).stdout_is("db\n");
}

#[test]
fn groups_that_never_end_are_refused() {
    let env = Env::without_key();
    configure(&env, "[sources.s]\ncommand = 'echo @s:%gx'\n");
    refused(&env, &["-w", "@s:a"], 2, &["groups are nested in more than 64 others"]);
}
