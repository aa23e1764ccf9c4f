use super::*;
use crate::command::Wrapping;
use crate::command::template::Values;
use crate::hosts::gather as hosts;

/// Returns the commands of three hosts with the rows in `text`, or the problems.
fn filled(name: &str, text: &[u8], options: &[&str], command: &str) -> Result<Vec<String>, String> {
    let hosts = hosts(&[], &["web1 root@web2:2222 ::1".to_owned()]).expect("good hosts");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(if name.is_empty() { "unused" } else { name });
    std::fs::write(&path, text).expect("a file");
    let line = CommandLine::with_places(&[command.into()], Wrapping::default()).map_err(|error| error.to_string())?;
    let options: Vec<OsString> = options.iter().map(OsString::from).collect();
    let file = (!name.is_empty()).then_some(path.as_path());
    let names = ArgumentNames { single: "--host-arg", column: "--host-column" };
    let arguments = gather(file, None, &options, &hosts, &line, names)
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))?;
    let fill = |(index, (host, arguments)): (usize, (&HostSpec, &Arguments))| {
        let values = ForHost { arguments, host: &host.name, user: "me", port: 22, index };
        String::from_utf8_lossy(&line.for_host(&values).expect("checked")).into_owned()
    };
    Ok(hosts.iter().zip(&arguments).enumerate().map(fill).collect())
}

#[track_caller]
fn fills(name: &str, text: &str, options: &[&str], command: &str, expected: [&str; 3]) {
    let got = filled(name, text.as_bytes(), options, command);
    assert_eq!(got.as_deref(), Ok(&expected.map(str::to_owned)[..]), "{name} {text:?}");
}

#[test]
fn rows_in_the_order_of_the_hosts() {
    fills("a.csv", "a,1\n\"b,c\",2\n\n,3\r\n", &[], "x %q %d", ["x 'a' 1", "x 'b,c' 2", "x '' 3"]);
    fills("a.tsv", "a\tb\nc d\te\nf\tg\n", &[], "%s-%s", ["a-b", "c d-e", "f-g"]);
    fills("rows", "\u{feff}a\nb\nc", &[], "%s", ["a", "b", "c"]);
    fills("rows", " \n[\"a\", 2.50,\n true]", &[], "%s%%", ["a%", "2.50%", "true%"]);
    fills("rows", "[\"a\",1]\n[\"b\",2]\n[\"c\",3]\n", &[], "%s=%s", ["a=1", "b=2", "c=3"]);
    fills("a.jsonl", "1\n\"x\"\n[\"y\"]\n", &[], "%s", ["1", "x", "y"]);
    fills("rows", "{\"v\":1}\n{\"v\":2,\"more\":0}\n{\"v\":3}", &[], "%(v)s", ["1", "2", "3"]);
}

#[test]
fn the_command_says_whether_csv_has_a_header() {
    let text = "v,w\n1,2\n3,4\n5,6\n";
    fills("a.csv", text, &[], "%(w)s%(v)s", ["21", "43", "65"]);
    fills("a.csv", "v\n1\n2", &[], "%(host)s %s", ["web1 v", "web2 1", "::1 2"]);
    let problem = filled("a.csv", text.as_bytes(), &[], "%s %s").expect_err("4 rows");
    assert!(problem.starts_with("FILE:4: no host is left for this row; 4 rows for 3"), "{problem}");
    assert!(problem.contains("header only if"), "{problem}");
}

#[test]
fn rows_that_name_their_hosts() {
    let text = "v,host\n1,::1\n2,other\n3,web2\n4,web1\n";
    fills("a.csv", text, &[], "%(host)s=%(v)s", ["web1=4", "web2=3", "::1=1"]);
    let text = "[{\"host\":\"web1\",\"v\":1},{\"host\":\"root@web2:2222\",\"v\":2},{\"host\":\"web2\",\"v\":0},\n{\"host\":\"::1\",\"v\":3}]";
    fills("a.json", text, &[], "%(v)s", ["1", "2", "3"]);
    let problem = filled("a.csv", b"host,v\nweb1,1\nweb1,2\nweb2,3\n", &[], "%(v)s").expect_err("two and none");
    assert_eq!(
        problem,
        "FILE:3: a second row for \"web1\", after line 2\nFILE: no row has ::1 as its \"host\" (hosts)"
    );
    let problem = filled("rows", b"{\"host\":\"web1\"}\n{\"v\":1}", &[], "%(v)s").expect_err("no host");
    assert!(problem.starts_with("FILE:2: the row has no \"host\", which others have"), "{problem}");
}

#[test]
fn single_values() {
    let all = ["web1=a=b", "web1=c", "root@web2:2222=d", "web2=", "::1=e", "::1=f"];
    fills("", "", &all, "%s+%s", ["a=b+c", "d+", "e+f"]);
    fills("", "", &["web1:v=a", "web2:v=b", "::1:v=c", "::1:v=d"], "%(v)s", ["a", "b", "d"]);
    // One host of a file's rows.
    fills("a.csv", "1\n2\n3\n", &["web2=x"], "%s", ["1", "x", "3"]);
    fills("a.csv", "v\n1\n2\n3\n", &["::1:v=x"], "%(v)s", ["1", "2", "x"]);
    // Built-in values, unless a host has its own.
    fills(
        "",
        "",
        &["web1:port=80"],
        "%(user)s@%(host)s:%(port)s %(index)d",
        ["me@web1:80 0", "me@web2:22 1", "me@::1:22 2"],
    );
    for (option, problem) in [
        ("web1", "--host-arg \"web1\": expected HOST=VALUE or HOST:NAME=VALUE"),
        ("web9=x", "--host-arg \"web9\": no such host in this run"),
        ("web9:v=x", "--host-arg \"web9:v\": no such host in this run"),
        ("web1:=x", "--host-arg \"web1:\": the name is missing, or not UTF-8 text"),
    ] {
        assert_eq!(filled("", b"", &[option], "x").expect_err("bad"), problem);
    }
}

#[test]
fn too_few_and_too_many_and_unknown_are_all_named() {
    let wrong = |name: &str, text: &str, command: &str| {
        let problem = filled(name, text.as_bytes(), &[], command).expect_err("wrong");
        problem.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(wrong("a.csv", "a\nb\n", "%s"), ["FILE: 2 rows for 3 hosts; the first without one is ::1 (hosts)"]);
    assert_eq!(wrong("a.csv", "", "%s"), ["FILE: 0 rows for 3 hosts; the first without one is web1 (hosts)"]);
    assert_eq!(
        wrong("a.csv", "a,b\nc,d\ne\n", "%s"),
        [
            "FILE:1: web1: expected 1 positional value, found 2 (write %% for a literal %)",
            "FILE:2: root@web2:2222: expected 1 positional value, found 2 (write %% for a literal %)",
        ]
    );
    assert_eq!(
        wrong("a.csv", "a\nb\nc\n", "uptime")[2],
        "FILE:3: ::1: found 1 positional value, but the command uses none (%s, %q, %d)"
    );
    assert_eq!(
        wrong("a.json", "[{\"a\":1},{\"b\":1},{\"a\":1}]", "%(a)s %(c)s"),
        [
            "FILE:1: web1: there is no value named \"c\"; known names: a, host, user, port, index (write %% for a literal %)",
            "FILE:1: root@web2:2222: there is no value named \"a\"; known names: b, host, user, port, index (write %% for a literal %)",
            "FILE:1: root@web2:2222: there is no value named \"c\"; known names: b, host, user, port, index (write %% for a literal %)",
            "FILE:1: ::1: there is no value named \"c\"; known names: a, host, user, port, index (write %% for a literal %)",
        ]
    );
    assert_eq!(
        wrong("a.csv", "1\nx\n3\n", "%d"),
        ["FILE:2: root@web2:2222: \"x\" is not a whole number, which %d requires"]
    );
    assert!(wrong("a.json", "[{},{},{}]", "%s")[0].starts_with("FILE:1: web1: expected 1 positional value"));
    let problem = filled("", b"", &["web1=a"], "%s").expect_err("others have none");
    assert!(problem.starts_with("host arguments: root@web2:2222: expected 1 positional value"), "{problem}");
}

#[test]
fn files_that_are_wrong() {
    let wrong = |name: &str, text: &[u8], command: &str| filled(name, text, &[], command).expect_err("wrong");
    assert_eq!(wrong("a.csv", b"a\n\"b\nc\n", "%s"), "FILE:2:1: the quote that opens a field is never closed");
    assert_eq!(
        wrong("a.csv", b"a\nb\0\nc\n", "%s"),
        "FILE:2: a value contains a NUL byte, which a command cannot contain"
    );
    assert_eq!(wrong("a.csv", b"a,a\n1,2\n", "%(a)s"), "FILE:1: two columns have the name \"a\"");
    assert_eq!(wrong("a.csv", b"a,b\n1\n", "%(a)s"), "FILE:2: expected 2 fields, as the header has, and found 1");
    assert_eq!(wrong("a.csv", b"", "%(a)s"), "FILE:1: the header with the names of the columns is missing");
    assert!(wrong("a.json", b"{", "%s").starts_with("FILE:1:1: not JSON: EOF while parsing"));
    let many = "null\n".repeat(50);
    assert!(wrong("a.jsonl", many.as_bytes(), "%s").ends_with("\n... and 40 more like these"));
}

#[test]
fn what_a_host_entry_says_comes_last() {
    let fields =
        [("role", "db"), ("rack", "r1"), ("user", "app")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut arguments = Arguments::of_entry(&fields, &Origin::Text("hosts"));
    assert_eq!(arguments.place, ArgumentSource::Entry(Origin::Text("hosts")));
    let named = vec![("role".into(), b"web".to_vec()), ("host".into(), b"web1".to_vec())];
    arguments.take(Row { line: 7, given: Given::Named(named) }, &Path::new("a.csv").into());
    let values = ForHost { arguments: &arguments, host: "web1.example", user: "me", port: 22, index: 4 };
    let value = |name| values.named(name).map(|value| String::from_utf8_lossy(&value).into_owned());
    for (name, expected) in
        [("role", "web"), ("rack", "r1"), ("user", "app"), ("host", "web1.example"), ("port", "22"), ("index", "4")]
    {
        assert_eq!(value(name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(value("other"), None);
    assert_eq!(arguments.place.to_string(), "a.csv:7");
}
