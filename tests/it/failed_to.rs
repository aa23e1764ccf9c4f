//! `--failed-to` over the hosts file that the hosts come from.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

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
        run.stderr_has("rewriting it would lose the hosts that").stderr_has("leave out: name another file");
        run.exits(1).stderr_lacks("Connection refused");
        assert_eq!(fs::read_to_string(&file).expect("the list"), list);
    }
}

#[test]
fn what_is_added_to_the_list_meanwhile_is_kept() {
    let (env, sshd) = hosts(3);
    let [one, two, three] = <[String; 3]>::try_from(sshd.hosts()).expect("three hosts");
    let list = env.file("list", format!("# All.\n{one}\n{two}\n{three}\n"));
    let command = "case $SSH_CONNECTION in *' 127.0.1.1 '*) exit 1;; esac; while [ ! -e go ]; do sleep 0.05; done";
    let command = command.replace("go", &env.path("go").display().to_string());
    let pssh = env.pssh().arg("-h").arg(&list).arg("--failed-to").arg(&list);
    let mut running = pssh.args(["-p", "3", "--", &command]).start();
    running.wait_for("127.0.1.1: exit 1");
    // Added on top and below, one taken away, and one that was there before once more.
    let edited = format!("new1 # soon\n{one}\n# All.\n@group\n{three}\nnew[2-3]\n{three}\n");
    fs::write(&list, edited).expect("the list");
    env.file("go", "");
    running.finish().exits(5);
    let expected = format!("new1 # soon\n{one}\n# All.\n@group\nnew[2-3]\n{three}\n");
    assert_eq!(fs::read_to_string(&list).expect("the list"), expected);
    // One that is gone is made again.
    let pssh = env.pssh().arg("-h").arg(env.file("list", &one)).arg("--failed-to").arg(&list);
    pssh.args(["--", &format!("rm '{}'; exit 1", list.display())]).run().exits(5);
    assert_eq!(fs::read_to_string(&list).expect("the list"), format!("{one}\n"));
}

#[test]
fn the_new_list_is_whose_the_old_one_was() {
    assert!(nix::unistd::getuid().is_root(), "only root can give files away");
    let (env, sshd) = hosts(1);
    let list = env.file("list", format!("{}\n", sshd.hosts()[0]));
    let junit = env.file("junit", "");
    for (mode, owner, group) in [(0o666, 0, 65_532), (0o640, 65_533, 65_532), (0o600, 65_533, 0)] {
        for file in [&list, &junit] {
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("the mode");
            chown(file, Some(owner), Some(group)).expect("the owner");
        }
        let pssh = env.pssh().arg("-h").arg(&list).arg("--failed-to").arg(&list).arg("--junit").arg(&junit);
        pssh.args(["--", "false"]).shell("umask 077; exec \"$@\"").run().exits(5);
        for file in [&list, &junit] {
            let about = fs::metadata(file).expect("a file");
            assert_eq!((about.mode() & 0o7777, about.uid(), about.gid()), (mode, owner, group), "{}", file.display());
        }
    }
}

#[test]
fn a_host_of_several_lists_is_told_once() {
    let (env, sshd) = hosts(2);
    let [one, two] = <[String; 2]>::try_from(sshd.hosts()).expect("two hosts");
    let list = env.file("list", format!("{one}  # mine\n"));
    let other = env.file("other", format!("{one}\n{two}\n{two}\n"));
    for failed_to in ["list", "new"] {
        let pssh = env.pssh().arg("-h").arg(&list).arg("-h").arg(&other).args(["-H", &one, "--failed-to", failed_to]);
        pssh.args(["--", "false"]).run().exits(5);
        let mine = if failed_to == "list" { "  # mine" } else { "" };
        let expected = format!("{one}{mine}\n{two}\n{two}\n");
        assert_eq!(fs::read_to_string(env.path(failed_to)).expect("the list"), expected);
        fs::write(&list, format!("{one}  # mine\n")).expect("the list");
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
