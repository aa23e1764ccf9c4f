//! Per-host arguments: rows of files and single values, filled into the command of each host.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Config, Server};
use crate::sshd::{Sshd, hosts};

/// Fails unless each host printed what is expected of it.
#[track_caller]
fn said(run: &Run, sshd: &Sshd, expected: &[&str]) {
    run.exits(0);
    for (label, expected) in sshd.labels().iter().zip(expected) {
        run.check(run.stdout_of(label) == format!("{expected}\n").as_bytes(), &format!("{label}: {expected}"));
    }
    run.check(run.outcomes().len() == expected.len(), "one for each host");
}

#[test]
fn rows_of_each_format() {
    let (env, sshd) = hosts(3);
    let labels = sshd.labels();
    let pssh = |name: &str, text: &str, command: &str| {
        let file = env.file(name, text);
        env.pssh().hosts(sshd.hosts()).arg("--host-args").arg(file).args(["--", command]).run()
    };
    let values = ["a  b; echo no'", "$(id)", ""];
    let all = ["a  b; echo no'-1", "$(id)-2", "-3"];
    let command = "printf '%%s-%%s\\n' %q %d";
    said(&pssh("a.csv", "a  b; echo no',1\n\"$(id)\",2\r\n\"\",3\n", command), &sshd, &all);
    said(&pssh("a.tsv", "a  b; echo no'\t1\n$(id)\t2\n\t3\n", command), &sshd, &all);
    said(&pssh("a.json", &format!("[[{:?},1],\n[{:?},2],[\"\",3]]", values[0], values[1]), command), &sshd, &all);
    said(&pssh("rows", &format!("[{:?},1]\n[{:?},2]\n[\"\",3]\n", values[0], values[1]), command), &sshd, &all);
    let named = "printf '%%s-%%s\\n' %(v)q %(n)d";
    said(&pssh("b.csv", "n,v\n1,a  b; echo no'\n2,$(id)\n3,\n", named), &sshd, &all);
    let (first, second, third) = (&labels[0], &labels[1], &labels[2]);
    let by_host = format!("v,host,n\n,{third},3\n\"$(id)\",{second},2\nx,other,0\na  b; echo no',{first},1\n");
    said(&pssh("c.csv", &by_host, named), &sshd, &all);
    let lines = format!(
        "{{\"host\":\"{third}\",\"v\":\"\",\"n\":3}}\n{{\"host\":\"{first}\",\"v\":{:?},\"n\":1}}\n\
         {{\"host\":\"{second}\",\"v\":{:?},\"n\":2}}\n",
        values[0], values[1]
    );
    said(&pssh("rows2", &lines, named), &sshd, &all);
}

#[test]
fn values_as_they_are_are_the_shells() {
    let (env, sshd) = hosts(2);
    let run =
        env.pssh().hosts(sshd.hosts()).args(["--host-args", "-", "--", "echo 100%% %s"]).stdin("a  b\nx; echo y\n");
    said(&run.run(), &sshd, &["100% a b", "100% x\ny"]);
}

#[test]
fn without_host_arguments_a_percent_sign_is_one() {
    let (env, sshd) = hosts(1);
    let run = env.pssh().hosts(sshd.hosts()).args(["--", "echo %s %% '%(host)s' %q; date +%Y >/dev/null"]).run();
    said(&run, &sshd, &["%s %% %(host)s %q"]);
}

#[test]
fn single_values_and_what_is_known_of_every_host() {
    let (env, sshd) = hosts(2);
    let labels = sshd.labels();
    let (first, second) = (&labels[0], &labels[1]);
    let run = env
        .pssh()
        .hosts(sshd.hosts())
        .args(["--host-arg", &format!("{first}=a b"), "--host-arg", &format!("{second}:{}=it's", sshd.port())])
        .args(["--host-arg", &format!("{first}:role=db=1"), "--host-arg", &format!("{second}:role=")])
        .args(["--", "echo %q %(role)q; [ %(user)q = \"$USER\" ] && echo %(host)s %(port)d %(index)s"])
        .run();
    let port = sshd.port();
    said(&run, &sshd, &[&format!("a b db=1\n{first} {port} 0"), &format!("it's \n{second} {port} 1")]);
}

#[test]
fn the_login_name_and_port_are_those_of_ssh_config() {
    let env = Env::new();
    let server = Server::start(Config { authorised: env.public_lines(), ..Config::default() });
    env.trust(&(server.known_hosts_line("127.0.0.1") + "\n"));
    let addr = server.addr();
    let config = format!("Host web1\n  HostName {}\n  Port {}\n  User deploy\n", addr.ip(), addr.port());
    let file = env.file("config", config);
    let pssh = || env.pssh().args(["-H", "web1", "-F"]).arg(&file).args(["--host-arg", "web1=x"]);
    let run = pssh().args(["--", "echo %s %(user)q@%(host)q:%(port)q $USER"]).run();
    run.exits(0).stdout_is(&format!("web1: x deploy@web1:{} deploy\n", addr.port()));
    let before = server.connections();
    pssh().args(["--", "echo %s %(user)d"]).run().exits(2).stderr_has("\"deploy\" is not a whole number");
    assert_eq!(server.connections(), before);
}

#[test]
fn values_pass_through_every_way_to_run_a_command() {
    let (env, sshd) = hosts(1);
    let label = sshd.label();
    let value = b"it's a\\b \"$HOME\" `id` !! %s\n\xff *";
    let option = [label.as_bytes(), b"=", value].concat();
    let pssh = || env.pssh().hosts(sshd.hosts()).arg("--host-arg").arg(OsStr::from_bytes(&option));
    let expected = [&b"["[..], value, b"]\n"].concat();
    for (args, what) in [
        (&["--", "printf '[%%s]' %q"][..], "the login shell"),
        (&["--shell", "sh -c", "--", "printf '[%%s]' %q"], "another shell"),
        (&["--no-shell", "printf", "[%%s]", "%s"], "no shell"),
        (&["--no-shell", "sh", "-c", "printf '[%%s]' \"$1\"", "sh", "%s"], "an argument of a shell's text"),
    ] {
        let run = pssh().args(args).run();
        run.exits(0).check(run.stdout_of(&label) == expected, what);
    }
    let run = pssh().args(["--no-shell", "echo", "%q"]).run();
    run.exits(2).stderr_has("%q does not work with --no-shell");
}

/// Fails unless it is refused as bad usage with exactly these lines, without a connection.
#[track_caller]
fn refused(sshd: &Sshd, pssh: Pssh, lines: &[&str]) {
    let run = pssh.run();
    let expected: String = lines.iter().map(|line| format!("pssh: {line}\n")).collect();
    run.exits(2).stdout_is("").check(run.stderr_text() == expected, &expected);
    run.check(sshd.connections() == 0, "nothing was connected to");
}

#[test]
fn everything_wrong_is_told_before_the_first_connection() {
    let (env, sshd) = hosts(3);
    let hosts = sshd.hosts();
    let (first, second, third) = (&hosts[0], &hosts[1], &hosts[2]);
    let list = env.file("hosts.txt", hosts.join("\n"));
    let pssh = |name: &str, text: &str, command: &str| {
        let file = env.file(name, text);
        let args = env.pssh().arg("-h").arg(&list).arg("--host-args").arg(&file).args(["--", command]);
        (args, file.display().to_string())
    };
    let (few, file) = pssh("few.csv", "a\nb\n", "echo %q");
    let third_line = format!("{}:3:1", list.display());
    refused(&sshd, few, &[&format!("{file}: 2 rows for 3 hosts; the first without one is {third} ({third_line})")]);
    let (many, file) = pssh("many.jsonl", "1\n2\n3\n4\n", "echo %q");
    refused(&sshd, many, &[&format!("{file}:4: no host is left for this row; 4 rows for 3")]);
    let (values, file) = pssh("values.csv", "a\nb,c\n\"d\n\",e,f\n", "echo %q");
    refused(
        &sshd,
        values,
        &[
            &format!("{file}:2: {second}: expected 1 positional value, found 2 (write %% for a literal %)"),
            &format!("{file}:3: {third}: expected 1 positional value, found 3 (write %% for a literal %)"),
        ],
    );
    let (unknown, file) = pssh("unknown.json", "[{\"a\":1},\n{\"b\":1},\n{\"a\":\"x\"}]", "echo %(a)d");
    refused(
        &sshd,
        unknown,
        &[
            &format!(
                "{file}:2: {second}: there is no value named \"a\"; known names: b, host, user, port, index (write %% for a literal %)"
            ),
            &format!("{file}:3: {third}: \"x\" is not a whole number, which %d requires"),
        ],
    );
    let (syntax, file) = pssh("syntax.json", "[1,\n2,,3]", "echo %q");
    refused(&sshd, syntax, &[&format!("{file}:2:3: not JSON: expected value")]);
    let (other, _) = pssh("good.csv", "a\nb\nc\n", "date +%F %q");
    let run = other.run();
    run.exits(2).stderr_has("\"%F\" in the command is not supported; placeholders are %s, %q and %d");
    run.check(sshd.connections() == 0, "nothing was connected to");
    let single = |option: &str| env.pssh().hosts(&hosts).args(["--host-arg", option, "--", "echo %q"]);
    refused(&sshd, single("web9=x"), &["--host-arg \"web9\": no such host in this run"]);
    let named = |option: &str| env.pssh().hosts(&hosts).args(["--host-arg", option, "--", "echo %(role)q"]);
    let unused = format!("{first}:rolle=x");
    let problem = "the command does not use it as %(rolle)s; did you mean role?";
    refused(&sshd, named(&unused), &[&format!("--host-arg \"{first}:rolle\": {problem}")]);
    refused(
        &sshd,
        single(&format!("{first}=x")),
        &[
            &format!("host arguments: {second}: expected 1 positional value, found 0 (write %% for a literal %)"),
            &format!("host arguments: {third}: expected 1 positional value, found 0 (write %% for a literal %)"),
        ],
    );
    let both = env.pssh().args(["-h", "-", "--host-args", "-", "true"]);
    refused(&sshd, both, &["-h - and --host-args - both read standard input"]);
    let run = env.pssh().hosts(&hosts).args(["--host-args", "missing.csv", "--", "echo %q"]).run();
    run.exits(1).stderr_has("pssh: missing.csv: cannot read the host arguments: No such file or directory\n");
    let run = env.pssh().hosts(&hosts).args(["--host-args", "web1=x", "--", "echo %q"]).run();
    run.exits(1).stderr_has("(for a value for one host use --host-arg)");
    let long = format!("{}={}", sshd.labels()[1], "x".repeat(34_000));
    let run = env
        .pssh()
        .hosts(&hosts)
        .args(["--host-arg", &format!("{}=a", sshd.labels()[0]), "--host-arg", &long])
        .args(["--host-arg", &format!("{}=c", sshd.labels()[2]), "-I", "--", "echo %s"])
        .run();
    run.exits(2).stderr_has(&format!("pssh: {second}: the command has 34005 bytes: beyond 34000 bytes"));
    run.check(sshd.connections() == 0, "nothing was connected to");
}

#[test]
fn a_dry_run_shows_each_hosts_own_command() {
    let (env, sshd) = hosts(2);
    let labels = sshd.labels();
    let file = env.file("rows.csv", "version\n1.10\n\"a\nb\"\n");
    let run = env
        .pssh()
        .hosts(sshd.hosts())
        .args(["--dry-run", "--host-args"])
        .arg(file)
        .args(["--", "deploy %(version)q on %(host)s"])
        .run();
    let (first, second) = (&labels[0], &labels[1]);
    let shown = run.exits(0).stdout_text();
    let lines: Vec<&str> = shown.lines().collect();
    run.check(lines.len() == 2 && lines[0] == format!("{first}: deploy '1.10' on {first}"), "the first");
    // Before what has a newline stands what keeps csh from it.
    let begins = lines[1].starts_with(&format!("{second}: $'test \""));
    let ends = lines[1].ends_with(&format!("\\ndeploy \\'a\\nb\\' on {second}'"));
    run.check(begins && ends, "the second").check(sshd.connections() == 0, "nothing was connected to");
}

#[test]
fn fields_of_the_hosts_file_are_filled_in_where_the_command_names_them() {
    let (env, sshd) = hosts(2);
    let [one, two] = <[String; 2]>::try_from(sshd.hosts()).expect("two hosts");
    let list = env.file("hosts", format!("{one} role=db unit='a b'\n{two} role=\"web $HOME\" unit=c\n"));
    let run = env.pssh().arg("-h").arg(&list).args(["--", "echo %(role)q %(unit)q %(index)s"]).run();
    run.exits(0);
    let labels = sshd.labels();
    run.check(run.stdout_of(&labels[0]) == b"db a b 0\n", "the fields of the first");
    run.check(run.stdout_of(&labels[1]) == b"web $HOME c 1\n", "the fields of the second");
    // Unused ones: perhaps they were meant as options.
    let run = env.pssh().arg("-h").arg(&list).args(["--", "printf '%s %%\\n' x"]).run();
    run.exits(2)
        .stderr_has("hosts:1:")
        .stderr_has("\"role\": not an option, and the command does not use it as %(role)s");
    run.stderr_has("write arg.role=");
    // A command that names none is left as it is.
    let marked =
        env.file("marked", format!("{one} arg.role=db arg.unit='a b'\n{two} arg.role=\"web $HOME\" arg.unit=c\n"));
    let run = env.pssh().arg("-h").arg(&marked).args(["--", "printf '%s %%\\n' x"]).run();
    run.exits(0).check(run.stdout_of(&labels[0]) == b"x %\n", "a percent sign is a percent sign");
    let run = env.pssh().arg("-h").arg(&list).args(["--", "echo %(rolle)q"]).run();
    run.exits(2).stderr_has("\"role\": not an option").stderr_has("did you mean rolle?");
    let run = env.pssh().arg("-h").arg(&marked).args(["--", "echo %(rolle)q"]).run();
    run.exits(2).stderr_has("marked:1:1: ").stderr_has("known names: role, unit, host, user, port, index");
}

#[test]
fn rows_that_seem_to_name_their_host_are_not_taken_in_order() {
    let (env, sshd) = hosts(2);
    let [one, two] = <[String; 2]>::try_from(sshd.labels()).expect("two hosts");
    let run = |text: &str, more: &[&str]| {
        let file = env.file("rows.csv", text);
        env.pssh().hosts(sshd.hosts()).arg("--host-args").arg(file).args(more).args(["--", "echo %(v)q"]).run()
    };
    for column in ["Host", "HOST", "hostname", "name", "fqdn", "ip"] {
        let text = format!("{column},v\n{two},2\n{one},1\n");
        let refused = run(&text, &[]);
        refused.exits(2).stderr_has(&format!("rows.csv: the column \"{column}\" has names of hosts of this run"));
        refused.stderr_has(&format!("--host-column {column}"));
        let taken = run(&text, &["--host-column", column]);
        taken.exits(0).check(taken.stdout_of(&one) == b"1\n" && taken.stdout_of(&two) == b"2\n", "each its own row");
    }
    assert_eq!(sshd.connections(), 12, "nobody connects where rows are refused");
    // The list in another order is what it is, whatever its column is called.
    for column in ["server", "machine", "inventory_hostname", "ansible_host", "host name", "addr", "dns", "x"] {
        let refused = run(&format!("{column},v\n{two} ,2\n {one},1\n"), &[]);
        refused.exits(2).stderr_has(&format!("rows.csv: the column \"{column}\" has names of hosts of this run"));
        let word = if column.contains(' ') { format!("'{column}'") } else { column.to_owned() };
        refused.stderr_has(&format!("use --host-column {word} with"));
        run(&format!("{column},v\n{one},1\n{two},2\n"), &[]).exits(0);
    }
    // So are names that differ in capitals, blanks and domains.
    let named = |hosts: &str, text: &str, command: &str| {
        let file = env.file("rows.csv", text);
        env.pssh().args(["-H", hosts, "--dry-run", "--host-args"]).arg(file).arg(command).run()
    };
    for (hosts, text) in [
        ("w1 w2", "hostname,v\nW2,2\nW1,1\n"),
        ("w1 w2", "hostname,v\nw2 ,2\nw1 ,1\n"),
        ("w1 w2", "hostname,v\nw2.ex.com,2\nw1.ex.com,1\n"),
        ("w1.ex.com w2.ex.com", "server,v\nw2,2\nW1.ex.com.,1\n"),
        ("me@w1:22 w2", "x,v\nw2,2\nw1:22,1\n"),
    ] {
        named(hosts, text, "echo %(v)s").exits(2).stderr_has("has names of hosts of this run");
    }
    // Each row has its own host, or the command says that the column is a value.
    let run_of = named("w1.ex.com w2.ex.com", "hostname,v\nw1,1\nw2,2\n", "%(hostname)s %(v)s");
    run_of.exits(0).stdout_is("w1.ex.com: w1 1\nw2.ex.com: w2 2\n");
    named("w1 w2", "peer,v\nw2,1\nw1,2\n", "%(peer)s %(v)s").exits(0).stdout_is("w1: w2 1\nw2: w1 2\n");
    named("w1 w2", "server,v\nw3,1\nw3,2\n", "%(server)s %(v)s").exits(0).stdout_is("w1: w3 1\nw2: w3 2\n");
    // Without names, the first of several values may say it too, or the first row is a header.
    for text in ["w2,2\nw1,1\n", "host,version\nw1,1\n"] {
        named("w1 w2", text, "%q %q")
            .exits(2)
            .stderr_has("rows.csv: the first values of the rows are hosts of this run");
    }
    let json = env.file("rows.json", "[[\"w2\",\"2\"],[\"w1\",\"1\"]]");
    let run_of = env.pssh().args(["-H", "w1 w2", "--dry-run", "--host-args"]).arg(json).arg("%q %q").run();
    run_of.exits(2).stderr_has("rows.json: the first values of the rows are hosts of this run");
    named("w1 w2", "w1,1\nw2,2\n", "%q %q").exits(0).stdout_is("w1: 'w1' '1'\nw2: 'w2' '2'\n");
    named("w1 w2", "w2\nw1\n", "%q").exits(0).stdout_is("w1: 'w2'\nw2: 'w1'\n");
    // Other values there are values.
    run("name,v\na,1\nb,2\n", &[]).exits(0);
    run("name,v\na,1\nb,2\n", &["--host-column", "host"]).exits(2).stderr_has("no row has the column \"host\"");
    run("name,v\na,1\nb,2\n", &["--host-column", ""]).exits(2);
    env.pssh().hosts(sshd.hosts()).args(["--host-column", "name", "true"]).run().exits(2).stderr_has("--host-args");
}

/// A host is named as in the lists of hosts, in whatever form.
#[test]
fn a_single_value_is_for_a_host_in_any_form_of_its_name() {
    let env = Env::new();
    for (host, named) in [
        ("ssh://me@web1:22", "ssh://me@web1:22"),
        ("ssh://me@web1:22", "ssh://web1"),
        ("me@web1", "ssh://me@web1/"),
        ("web1", "ssh://web1"),
        ("[::1]", "[::1]"),
        ("::1", "[::1]"),
        ("[::1]:22", "[::1]:22"),
        ("[fe80::1%lo]:22", "[fe80::1%lo]"),
    ] {
        for (option, command) in [(format!("{named}=v w"), "echo %q"), (format!("{named}:x=v w"), "echo %(x)q")] {
            let run = env.pssh().args(["-H", host, "--dry-run", "--host-arg", &option, "--", command]).run();
            run.exits(0).check(run.stdout_text().ends_with(": echo 'v w'\n"), &option);
        }
    }
    for other in ["ssh://you@web1", "web1:23", "ssh://web1:23", "you@web1", "[web2]"] {
        let option = format!("{other}=v");
        let run = env.pssh().args(["-H", "me@web1:22", "--dry-run", "--host-arg", &option, "--", "echo %q"]).run();
        run.exits(2).stdout_is("");
    }
}

/// Fails unless it is refused as bad usage with these words, without a connection.
#[track_caller]
fn names(sshd: &Sshd, pssh: Pssh, words: &[&str]) {
    let run = pssh.run();
    run.exits(2).stdout_is("");
    for words in words {
        run.stderr_has(words);
    }
    run.check(sshd.connections() == 0, "nothing was connected to");
}

#[test]
fn a_template_needs_no_other_values() {
    let (env, sshd) = hosts(2);
    let labels = sshd.labels();
    let pssh = |words: &[&str]| env.pssh().hosts(sshd.hosts()).args(words);
    let port = sshd.hosts()[0].rsplit_once(':').expect("a port").1.to_owned();
    let command = "echo %(host)q %(port)s %(index)d '%%(x)' $(test %(user)q = \"$(id -un)\" && echo ok)";
    let run = pssh(&["--template", "--", command]).run();
    let host = |place: usize| labels[place].split(':').next().expect("a name").to_owned();
    let expected = [0, 1].map(|place| format!("{} {port} {place} %(x) ok", host(place)));
    said(&run, &sshd, &expected.each_ref().map(String::as_str));
    // The same with others; and without it a percent sign is one.
    let first = format!("{}:v=a", sshd.hosts()[0]);
    let second = format!("{}:v=b", sshd.hosts()[1]);
    let run = pssh(&["--template", "--host-arg", &first, "--host-arg", &second, "--", "echo %(v)q%(index)s"]).run();
    said(&run, &sshd, &["a0", "b1"]);
    said(&pssh(&["echo", "'%(host)q'"]).run(), &sshd, &["%(host)q", "%(host)q"]);
    let script = env.file("script", "echo \"$@\"\n");
    let run = pssh(&["--template", "--script", script.to_str().expect("text"), "%(host)s", "a b"]).run();
    said(&run, &sshd, &[&format!("{} a b", host(0)), &format!("{} a b", host(1))]);
}

#[test]
fn a_template_with_places_that_nothing_fills_is_refused() {
    let (env, sshd) = hosts(2);
    let known = "there are %(host)s, %(user)s, %(port)s, %(index)s, and --host-arg HOST:";
    for (word, words) in [
        ("%(name)q", format!("pssh: --template: no value is named \"name\"; {known}name=VALUE sets others\n")),
        ("%(hots)q", format!("no value is named \"hots\"; did you mean host?; {known}")),
        (
            "%q",
            "pssh: --template: %s, %q and %d need a name here: %(host)s, %(user)s, %(port)s, %(index)s; write %% for a percent sign\n".to_owned(),
        ),
        ("%h", "\"%h\" in the command is not supported; placeholders are %s, %q and %d".to_owned()),
        ("100%", "\"%\" in the command is incomplete".to_owned()),
        ("'%(host)q'", "%q inside quotes would end them".to_owned()),
        ("%(host)d", "is not a whole number, which %d requires".to_owned()),
    ] {
        let run = env.pssh().hosts(sshd.hosts()).args(["--template", "--", "echo", word]);
        names(&sshd, run, &[&words]);
    }
    let run = env.pssh().hosts(sshd.hosts()).args(["--template=x", "--", "true"]);
    names(&sshd, run, &["unexpected value 'x' for '--template'"]);
}

#[test]
fn a_table_with_other_separators_is_told() {
    let (env, sshd) = hosts(1);
    let hosts = sshd.hosts();
    let pssh = |name: &str, text: &str, command: &str| {
        let file = env.file(name, text);
        let run = env.pssh().hosts(&hosts).arg("--host-args").arg(&file).args(["--", command]);
        (run, file.display().to_string())
    };
    let row = |separator: &str| format!("host{separator}v\n{}{separator}3\n", hosts[0]);
    let (run, file) = pssh("v.csv", &row(";"), "echo %(v)q");
    let advice = format!(
        "pssh: {file}: the fields seem to be separated by \";\", so \"host;v\" is a single field; expected commas: tr ';' ',' <{file} converts it\n"
    );
    names(&sshd, run, &[&advice, "there is no value named \"v\"; known names: host;v, host,"]);
    let (run, _) = pssh("t.csv", &row("\t"), "echo %(v)q");
    names(&sshd, run, &["the fields seem to be separated by tabs", "expected commas: give it the ending .tsv\n"]);
    let (run, _) = pssh("t.tsv", &row(","), "echo %(v)q");
    names(
        &sshd,
        run,
        &[
            "separated by commas, so \"host,v\" is a single field; expected tabs, as in all files with the ending .tsv: give it",
        ],
    );
    let (run, _) = pssh("two.csv", "a;b\n", "echo %q %q");
    names(&sshd, run, &["separated by \";\"", "expected 2 positional values, found 1 (write %% for a literal %)"]);
    // What would work does.
    let (run, _) = pssh("t.tsv", &row("\t"), "echo %(v)q");
    said(&run.run(), &sshd, &["3"]);
    // One value with a semicolon is one.
    let (run, _) = pssh("one.csv", "a;b\n", "echo %q");
    said(&run.run(), &sshd, &["a;b"]);
}
