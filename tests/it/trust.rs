//! The file known_hosts: its lines are never lost, whatever other process writes it and whatever happens meanwhile.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::bin::{Env, Pssh};
use crate::embedded::{Behaviour, Config, Server};
use crate::sshd::addresses;

/// A server with so many addresses that answers at once.
fn server(env: &Env, hosts: usize) -> Server {
    let addresses = addresses(hosts).into_iter().map(Into::into).collect();
    let behaviour = Behaviour::Cheap { stdout: Vec::new(), status: 0 };
    Server::start(Config { addresses, behaviour, authorised: env.public_lines(), ..Config::default() })
}

/// A run that accepts the keys of some of its addresses.
fn accepting(env: &Env, server: &Server, hosts: std::ops::Range<usize>) -> Pssh {
    let all = addresses(hosts.end);
    let hosts = all[hosts].iter().map(|address| format!("{address}:{}", server.port()));
    env.pssh().hosts(hosts).args(["-p", "16", "--host-key-check", "accept-new", "true"])
}

fn lines(env: &Env) -> Vec<String> {
    let mut lines: Vec<String> =
        fs::read_to_string(env.known_hosts()).expect("known_hosts").lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn expected(server: &Server, before: &str) -> Vec<String> {
    let mut lines: Vec<String> = (before.to_owned() + &server.known_hosts()).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn known_hosts_stays_the_file_that_it_is() {
    let env = Env::new();
    let server = server(&env, 4);
    // A link to a file elsewhere, with a mode of its own and a second name.
    let real = env.file("real", "# mine\n");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("a mode");
    fs::hard_link(&real, env.path("other")).expect("a second name");
    symlink(&real, env.known_hosts()).expect("a link");
    let before = fs::metadata(&real).expect("a file");
    accepting(&env, &server, 0..4).run().exits(0);
    assert_eq!(lines(&env), expected(&server, "# mine\n"));
    let after = fs::metadata(&real).expect("a file");
    assert_eq!((after.ino(), after.mode(), after.uid()), (before.ino(), before.mode(), before.uid()));
    assert!(fs::symlink_metadata(env.known_hosts()).expect("a link").is_symlink());
    assert_eq!(fs::read(env.path("other")).ok(), fs::read(&real).ok(), "under both names");
}

#[test]
fn known_hosts_of_two_runs_and_another_program_has_all_lines() {
    const EACH: usize = 60;
    let env = Env::new();
    let server = server(&env, 2 * EACH);
    let runs = [0..EACH, EACH..2 * EACH].map(|hosts| accepting(&env, &server, hosts).start());
    // As ssh does it: without a lock, in append mode.
    let mut others = String::new();
    for number in 0..40 {
        let line = format!("# another program {number}\n");
        env.trust(&line);
        others.push_str(&line);
        thread::sleep(Duration::from_millis(5));
    }
    for run in runs {
        run.finish().exits(0);
    }
    assert_eq!(lines(&env), expected(&server, &others));
}

#[test]
fn known_hosts_has_whole_lines_after_a_kill() {
    let env = Env::new();
    let server = server(&env, 120);
    let all = server.known_hosts();
    let mut counts = Vec::new();
    for pause in [20, 40, 60, 90, 130, 200] {
        let _ = fs::remove_file(env.known_hosts());
        env.trust("# mine\n");
        let mut running = accepting(&env, &server, 0..120).start();
        thread::sleep(Duration::from_millis(pause));
        if running.is_running() {
            running.signal(Signal::KILL);
        }
        running.finish();
        let text = fs::read_to_string(env.known_hosts()).expect("known_hosts");
        assert!(text.starts_with("# mine\n") && text.ends_with('\n'), "{text:?}");
        assert!(text.lines().skip(1).all(|line| all.contains(&format!("{line}\n"))), "{text:?}");
        counts.push(text.lines().count());
    }
    // What is there after a kill is used and added to.
    accepting(&env, &server, 0..120).run().exits(0);
    assert_eq!(lines(&env), expected(&server, "# mine\n"), "{counts:?}");
}
