//! `--failed-to` over the hosts file that the hosts come from.

use std::fs;

use crate::bin::Env;
use crate::sshd::hosts;

#[test]
fn a_list_that_is_written_over_keeps_its_comments() {
    let (env, sshd) = hosts(4);
    let hosts = sshd.hosts();
    let port = sshd.port();
    let text = format!(
        "# The web servers.\n\n{} arg.rack=r1  # first\n  {}\t# second\n#{}\n127.0.1.[3-4]:{port}\n# The end.\n",
        hosts[0], hosts[1], hosts[1]
    );
    let list = env.file("list", &text);
    let rerun = |args: &[&str], failing: &str| {
        let line = format!("case $SSH_CONNECTION in *' 127.0.1.'[{failing}]' '*) exit 1;; esac");
        env.pssh().arg("-h").arg(&list).args(["--failed-to", "./list"]).args(args).args(["--", &line]).run()
    };
    let now = || fs::read_to_string(&list).expect("the list");
    rerun(&[], "1-4").exits(5);
    assert_eq!(now(), text, "all of it has failed");
    // Of a range some have failed; a host of another list comes behind.
    let other = env.file("other", "127.0.1.2:1 # elsewhere\n");
    rerun(&["-h", &other.display().to_string(), "--num-retries", "1"], "13").exits(4);
    let expected = format!(
        "# The web servers.\n\n{} arg.rack=r1  # first\n#{}\n127.0.1.3:{port}\n# The end.\n127.0.1.2:1\n",
        hosts[0], hosts[1]
    );
    assert_eq!(now(), expected);
    // Hosts without a part in the run are still to be done.
    let run = rerun(&["--only", "127.0.1.3"], "9");
    run.exits(0).stderr_lacks("--failed-to");
    let expected = expected.replace(&format!("127.0.1.3:{port}\n"), "");
    assert_eq!(now(), expected);
    // With nothing left, it says so.
    rerun(&["--exclude", "127.0.1.2"], "9").exits(0);
    env.file("list", now().replace("127.0.1.2:1\n", &format!("{}\n", hosts[3])));
    let run = rerun(&[], "9");
    run.exits(0).stderr_has("pssh: --failed-to ./list: no host has failed: the list has no hosts any more\n");
    assert_eq!(now(), format!("# The web servers.\n\n#{}\n# The end.\n", hosts[1]));
    // By way of standard input it is the same file.
    let text = format!("# By stdin.\n{}\n", hosts[0]);
    for name in ["-", "/dev/stdin"] {
        env.file("list", &text);
        let pssh = env.pssh().args(["-h", name, "--failed-to", "list", "true"]).shell("exec \"$@\" <list");
        pssh.run().exits(0).stderr_has("the list has no hosts any more");
        assert_eq!(now(), "# By stdin.\n");
    }
}

#[test]
fn hosts_that_are_left_out_are_not_lost() {
    let env = Env::new();
    for (list, options) in [
        ("127.0.0.[1-3]:1\n", &["--exclude", "127.0.0.[2-3]"][..]),
        ("# of the team\n@web\n", &["--only", "127.0.0.1"]),
        ("web[1-2]\n", &["--host-glob", "*1"]),
    ] {
        fs::create_dir_all(env.path(".config/pssh")).expect("a directory");
        env.file(".config/pssh/config.toml", "[groups]\nweb = \"127.0.0.[1-3]\"\n");
        let file = env.file("list", list);
        let run = env.pssh().variable("XDG_CONFIG_HOME", env.path(".config")).arg("-h").arg(&file).args(options);
        let run = run.arg("--failed-to").arg(&file).args(["--num-retries", "1", "--", "true"]).run();
        run.stderr_has("would be lost: name another file");
        run.exits(1).stderr_lacks("Connection refused");
        assert_eq!(fs::read_to_string(&file).expect("the list"), list);
    }
}

#[test]
fn lines_are_counted_by_the_ends_that_they_have() {
    let (env, sshd) = hosts(3);
    let [one, two, three] = <[String; 3]>::try_from(sshd.hosts()).expect("three hosts");
    let file = env.path("list");
    for end in ["\r", "\r\n", "\n"] {
        let last = format!("# the last{end}");
        fs::write(&file, format!("{one}{end}{two}{end}{three}{end}{last}")).expect("a file");
        let command = "case $SSH_CONNECTION in *' 127.0.1.1 '*) ;; *) exit 1;; esac";
        let run = env.pssh().arg("-h").arg(&file).arg("--failed-to").arg(&file).args(["--", command]).run();
        run.exits(5);
        let left = fs::read_to_string(&file).expect("the list");
        assert_eq!(left, format!("{two}{end}{three}{end}{last}"), "ends by {end:?}");
    }
}
