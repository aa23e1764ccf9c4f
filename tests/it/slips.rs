//! Habits from pdsh, clush, ssh, scp or ansible: the error names what does the same here, and nothing is run.

use std::fs;

use pssh::internal::Program;

use crate::bin::{Env, Run};
use crate::cli::{answering, refused};

const ALL: &[Program] = &Program::ALL;
const PSSH: &[Program] = &[Program::Pssh];
const COMMANDS: &[Program] = &[Program::Pssh, Program::Pnuke];
const COPIES: &[Program] = &[Program::Pscp, Program::Pslurp];
const FILES: &[Program] = &[Program::Pscp, Program::Pslurp, Program::Prsync];

#[test]
fn options_of_other_tools_are_answered_with_those_here() {
    let (env, server) = answering();
    let cases: &[(&[Program], &str, &str)] = &[
        (ALL, "-f 5", "-p 5 runs 5 hosts at once"),
        (ALL, "-f5", "-p 5 runs 5 hosts at once"),
        (ALL, "--fanout=5", "-p 5 runs 5 hosts at once"),
        (COMMANDS, "-f", "for the background use the shell's &"),
        (COMMANDS, "-b", "--format gather shows equal output once"),
        (FILES, "-b", "--format gather"),
        (COMMANDS, "-b 192.0.2.1", "-O BindAddress=192.0.2.1 connects from that address"),
        (COMMANDS, "-B", "--format gather"),
        (COPIES, "-B", "for an option of scp use -x: -x -B"),
        (ALL, "-u 10", "-t 10 sets a time limit of 10 seconds"),
        (COMMANDS, "-S", "--max-status exits with the largest exit status"),
        (COPIES, "-S", "--max-status"),
        (COMMANDS, "-S /run/master", "ControlMaster"),
        (PSSH, "-L", "-i --sort shows output in the order of the hosts"),
        (&[Program::Pscp], "-L logs", "pscp --download takes DIR as its last argument"),
        (COMMANDS, "-L 8080:web1:80", "port forwarding is not supported"),
        (&[Program::Prsync], "-L 8080:web1:80", "port forwarding is not supported"),
        (ALL, "-R 8080:web1:80", "port forwarding is not supported"),
        (ALL, "-D 1080", "port forwarding is not supported"),
        (ALL, "-W web1:22", "port forwarding is not supported"),
        (COMMANDS, "-R exec", "SSH is the only transport"),
        (COMMANDS, "-a", "-w @all"),
        (COPIES, "-a", "-r --preserve"),
        (PSSH, "-n", "standard input is read only with -I"),
        (FILES, "-n", "--dry-run"),
        (PSSH, "-N", "--no-prefix"),
        (ALL, "-N", "--no-"),
        (COMMANDS, "-m sudo", "--sudo runs the command as root"),
        (COPIES, "-m sudo", "--sudo reads and writes files as root"),
        (COMMANDS, "-m hmac-sha2-256", "-O MACs=hmac-sha2-256"),
        (COMMANDS, "-c aes128-ctr", "-O Ciphers=aes128-ctr"),
        (COMMANDS, "-c", "pscp copies files to hosts"),
        (COMMANDS, "-k", "--stop-on-errors"),
        (PSSH, "-r", "pscp -r"),
        (COMMANDS, "-E log", "2>FILE"),
        (COMMANDS, "-M", "ControlMaster"),
        (COMMANDS, "-T", "for an option of ssh use -x: -x -T"),
        (COPIES, "-P 2222", "put the port after its host: -H web1:2222"),
        (ALL, "--port=2222", "put the port after its host: -H web1:2222"),
        (COPIES, "-i key", "--identity KEY"),
        (ALL, "--group web", "-w @web selects the hosts of a group"),
        (ALL, "--hostfile web.txt", "-h web.txt reads hosts from a file"),
        (ALL, "--limit web1", "--only web1"),
        (COMMANDS, "--become", "--sudo"),
        (ALL, "--serial 25%", "--batch 25% runs the hosts in batches of this size"),
        (ALL, "--batch-size=5", "--batch 5 runs"),
        (ALL, "--canary", "--batch 1,10%,50% runs on one host first"),
        (ALL, "--rolling", "--batch 1,10%,50%"),
        (ALL, "--max-fail-percentage 20", "--stop-on-errors=20% stops the run"),
        (ALL, "--max-failures=3", "--stop-on-errors=3 stops the run"),
        (ALL, "--fail-fast", "--stop-on-errors, or --stop-on-errors=N%"),
        (ALL, "--throttle 5", "--rate 5/s"),
        (ALL, "--connect-rate 5", "--rate N/s"),
        (ALL, "--delay 30s", "--pause 30s waits between two batches of --batch"),
        (ALL, "--sleep=5", "--pause 5 waits"),
        (ALL, "--wait", "--pause TIME waits"),
        (ALL, "--step", "--confirm=each"),
        (ALL, "--until true", "--check CMD repeats CMD"),
        (ALL, "--health-check true", "--check CMD repeats CMD"),
        (ALL, "--retries 3", "--check CMD repeats CMD for up to --check-timeout"),
        (ALL, "--list-hosts", "--list prints the hosts"),
        (ALL, "--shuffle", "--order shuffle"),
        (ALL, "--random", "--order shuffle"),
        (ALL, "--ok-exit 2", "--success 0,N"),
        (&[Program::Prsync], "-q --progress-bar", "for an option of rsync use -X: -X --progress-bar"),
        (ALL, "-o -p", "for an ssh option use -O KEYWORD=VALUE"),
        (COMMANDS, "-x web2", "to exclude hosts use --exclude"),
        (COMMANDS, "-X web2", "to exclude hosts use --exclude"),
    ];
    for (programs, option, tip) in cases {
        for program in *programs {
            let words = option.split(' ');
            let run = env.run_of(*program).hosts([server.addr()]).args(words).args(["a", "b"]);
            refused(&server, run, &[tip]);
        }
    }
}

#[test]
fn every_letter_of_pdsh_and_clush_has_an_answer() {
    let (env, server) = answering();
    for program in ALL {
        for letter in "fbuSLanNm".chars() {
            let is_there = program.command().get_arguments().any(|arg| arg.get_short() == Some(letter));
            if !is_there {
                let run = env.run_of(*program).hosts([server.addr()]).args([&format!("-{letter}"), "a", "b"]);
                refused(&server, run, &["\n  tip: "]);
            }
        }
    }
}

#[test]
fn hosts_without_an_option() {
    let env = Env::new();
    for (line, meant) in [
        ("pssh web1 uptime -p", "pssh -H web1 uptime -p"),
        ("pssh root@web1 uptime", "pssh -H root@web1 uptime"),
        ("pssh web1:2222 uptime", "pssh -H web1:2222 uptime"),
        ("pssh web1,web2 uptime", "pssh -w web1,web2 uptime"),
        ("pssh web[1-3] uptime", "pssh -w 'web[1-3]' uptime"),
        ("pssh @web uptime", "pssh -w @web uptime"),
        ("pssh web1 web2 root@db ls", "pssh -H 'web1 web2 root@db' ls"),
        ("pssh web1 web[2-3] uptime", "pssh -w 'web1,web[2-3]' uptime"),
        ("pssh -l root -p 5 web1 uptime", "pssh -l root -p 5 -H web1 uptime"),
        ("pssh --host-arg web1=secret web1 uptime", "pssh -H web1 uptime"),
        ("prsync -a d web1:/tmp", "prsync -a -H web1 d /tmp"),
        ("pssh web[1-3]", "pssh -w 'web[1-3]' COMMAND"),
        ("pnuke web1 java", "pnuke -H web1 java"),
        ("pscp f web1:/tmp/", "pscp -H web1 f /tmp/"),
        ("pscp f g root@web1:", "pscp -H root@web1 f g ."),
        ("pscp f [::1]:/tmp", "pscp -H '[::1]' f /tmp"),
        ("pscp web1:/etc/motd .", "pscp -H web1 --download /etc/motd ."),
        ("pscp web1:/etc/motd web1:/etc/hosts d", "pscp -H web1 --download /etc/motd /etc/hosts d"),
        ("pslurp web1:/etc/motd .", "pslurp -H web1 -L . /etc/motd motd"),
        ("prsync d web1:/tmp", "prsync -H web1 d /tmp"),
        ("prsync web1:/srv/d .", "prsync -H web1 --download /srv/d ."),
    ] {
        let (program, words) = line.split_once(' ').expect("words");
        let program = ALL.iter().find(|other| other.name() == program).expect("a program");
        let run = env.bare(*program).args(words.split(' ')).run();
        run.exits(2);
        assert_eq!(run.stderr_text(), format!("{}: there are no hosts; did you mean: {meant}\n", program.name()));
    }
    for line in [
        "pssh ls -l",
        "pssh uptime",
        "pssh -- web1 uptime",
        "pscp f g",
        "pscp a/b:c d",
        "pscp a:f b:g c",
        "pscp a:f b:g",
    ] {
        let (program, words) = line.split_once(' ').expect("words");
        let program = ALL.iter().find(|other| other.name() == program).expect("a program");
        let run = env.run_of(*program).args(words.split(' ')).run();
        run.exits(2).stderr_has("there are no hosts: name them with -H").stderr_lacks("did you mean");
    }
}

#[test]
fn a_first_word_that_can_only_be_hosts_is_not_run() {
    let (env, server) = answering();
    for word in ["web2,web3", "web[2-3]", "root@web2", "web2:22", "192.0.2.7", "@web", "[::1]:22"] {
        let run = env.pssh().hosts([server.addr()]).args([word, "uptime"]);
        refused(
            &server,
            run,
            &[&format!("pssh: the command begins with {word:?}, which looks like hosts: -w "), " -- "],
        );
    }
    // Words in a script, or after an explicit command, are not slips.
    let words = |words: &[&str]| env.pssh().hosts([server.addr()]).args(words).run();
    words(&["--", "web2,web3", "uptime"]).exits(0).stderr_lacks("looks like");
    let script = env.file("script", "true\n");
    words(&["--script", script.to_str().expect("text"), "web2,web3"]).stderr_lacks("looks like");
    for word in ["[ -f x ]", "[", "a[1]=x", "{a,b}", "./x,y", "A=1,2", ":", "echo a,b", "ls[ab]c;"] {
        words(&[word]).exits(0).stderr_lacks("looks like");
    }
}

#[test]
fn a_first_word_that_is_known_as_a_host_is_told() {
    let (env, server) = answering();
    env.file(".ssh/more", "Host web2 db*\n");
    fs::write(env.ssh_dir().join("config"), "Include more\nHost * !web5 sh\n").expect("a file");
    env.trust("web3,web4 ssh-ed25519 AAAA\n|1|web5= ssh-ed25519 AAAA\n");
    let run = |words: &[&str]| env.pssh().hosts([server.addr()]).args(words).run();
    let told = |run: Run, word: &str, place: &str| {
        run.exits(0).stderr_has(&format!(
            "pssh: {word} runs as a command, but {place}: to run on it use -w {word}, to run the \
             command use -- {word}\n"
        ));
    };
    told(run(&["web2", "uptime"]), "web2", "is also a host in ~/.ssh/config");
    told(run(&["web4", "uptime"]), "web4", "is also a host in ~/.ssh/known_hosts");
    let dry = |word: &str| env.pssh().args(["-H", "web8 web9", "--dry-run", word, "uptime"]).run();
    told(dry("web9"), "web9", "is also a host of this run");
    told(dry("web10"), "web10", "looks like a host next to web8");
    // Unknown, a pattern, hashed, said to be a command, and a program of this machine.
    for words in [&["web1", "uptime"][..], &["db1"], &["web5"], &["--", "web2"], &["sh"]] {
        run(words).exits(0).stderr_lacks("runs as a command");
    }
}

#[test]
fn a_glob_is_no_group() {
    let (env, server) = answering();
    refused(
        &server,
        env.pssh().args(["-g", "web", "uptime"]),
        &["pssh: there are no hosts: -g web chooses among the hosts of files (-h FILE); for a group use -w @web\n"],
    );
    let file = env.file("hosts", "web1\nweb2\n");
    refused(
        &server,
        env.pssh().arg("-h").arg(&file).args(["-g", "web", "uptime"]),
        &["pssh: the list of hosts is empty: --host-glob leaves none of 2; for a group use -w @web\n"],
    );
    let run = env.pssh().hosts([server.addr()]).args(["-g", "web", "uptime"]).run();
    run.exits(0).stderr_has(
        "pssh: -g web has no effect: it chooses among the hosts of files (-h); --only chooses among all hosts, and for a \
         group use -w @web\n",
    );
}

#[test]
fn hosts_where_a_file_belongs_and_files_where_hosts_belong() {
    let (env, server) = answering();
    for (args, words) in [
        (&["--hosts=a,b", "x"][..], "pssh: -h a,b: there is no such file; to name hosts use -w a,b\n"),
        (&["-h", "web[1-3]", "x"], "pssh: -h web[1-3]: there is no such file; to name hosts use -w web[1-3]\n"),
        (&["-h", "me@web1", "x"], "pssh: -h me@web1: there is no such file; to name hosts use -H me@web1\n"),
        (&["-w", "^web.txt", "x"], "there are no hosts before the ^; for the hosts of a file use -h web.txt\n"),
        (&["-w", "web1,^web.txt", "x"], "a ^ follows hosts; for the hosts of a file use -h FILE\n"),
        (&["-w", "-", "x"], "pssh: -w:1: \"-\": not a host; -h - reads hosts from standard input\n"),
        (&["-H", "a,b", "x"], "-w takes a list with commas\n"),
    ] {
        refused(&server, env.pssh().args(args), &[words]);
    }
    let run = env.pssh().args(["-h", "^web.txt", "x"]).run();
    run.exits(1).stderr_has("No such file or directory; -h takes the file name without ^\n");
}

#[test]
fn a_second_host_on_a_line() {
    let (env, server) = answering();
    let run = |text: &str, words: &[&str]| {
        let file = env.file("hosts.txt", text);
        env.pssh().arg("-h").arg(&file).args(words)
    };
    let dry = |text: &str| run(text, &["--dry-run", "x"]).run();
    // What pssh's format cannot mean.
    for (text, place, word) in [
        ("web1 web2:22", "1:6", "web2:22"),
        ("web1 10.0.0.2", "1:6", "10.0.0.2"),
        ("web1 web[2-3]", "1:6", "web[2-3]"),
        ("web1 web2,web3", "1:6", "web2,web3"),
    ] {
        let words = format!(
            "{place}: {word:?}: not a user: expected [user@]host[:port] [user] [key=value]..., one host per line"
        );
        refused(&server, run(text, &["x"]), &[&words]);
    }
    refused(
        &server,
        run("web1 web2 web3", &["x"]),
        &["1:11: \"web3\": expected [user@]host[:port]", "one host per line"],
    );
    // What it can mean, and what is probably not meant.
    let told = |text: &str, words: &str| {
        dry(text).exits(0).stderr_has(words).stderr_has("; a line has one host: host[:port] [user]\n");
    };
    told("web1 web2\nweb3", "hosts.txt:1:6: \"web2\" is read as the user on web1, but looks like another host");
    told("db mail\nmail\n", "hosts.txt:1:4: \"mail\" is read as the user on db, but is also a host of the list");
    told("db me@mail\nmail\n", "\"me@mail\" is read as the user on db, but is also a host of the list");
    let many: String = (0..9).map(|n| format!("web{n} web{n}1\n")).collect();
    dry(&many).exits(0).stderr_has("pssh: ... and 6 more users like these\n");
    for text in
        ["web1 deploy\nweb2 deploy", "git git\nweb1 root", "web1 web1", "web1 u2", "db me@corp.example", "web1 # web2"]
    {
        dry(text).exits(0).stderr_lacks("a line has one host");
    }
}

#[test]
fn a_number_is_no_command() {
    let env = Env::new();
    let pssh = |words: &[&str]| env.pssh().hosts(["127.0.0.1:1"]).args(["--dry-run"]).args(words).run();
    // `--max` is short for --max-status, which takes no value.
    for words in [&["--max", "5", "id"][..], &["-P", "22", "id"]] {
        pssh(words).exits(2).stderr_has("the command begins with the number ");
    }
    for words in [&["--", "5", "id"][..], &["5x"], &["2to3", "a.py"], &["echo", "5"]] {
        pssh(words).exits(0);
    }
}

#[test]
fn an_assignment_before_a_command_is_no_host() {
    let env = Env::new();
    for line in
        ["http_proxy=proxy:3128 env", "DISPLAY=localhost:10 x", "MAILTO=me@example.org ./run", "x=1:2", "a=b,c d"]
    {
        let run = env.pssh().hosts(["127.0.0.1:1"]).arg("--dry-run").args(line.split(' ')).run();
        run.exits(0).stdout_is(&format!("127.0.0.1: {line}\n"));
    }
}

#[test]
fn a_second_name_of_the_same_domain_is_told() {
    let env = Env::new();
    let list = env.file("list", "web1.example.com db1.example.com\nweb2.example.com ops\n");
    let run = env.pssh().arg("-h").arg(&list).args(["--dry-run", "true"]).run();
    run.exits(0).stderr_has("\"db1.example.com\" is read as the user on web1.example.com, but looks like another host");
    run.stderr_lacks("\"ops\"");
}
