use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use super::split::{rsync_words, shell_words};
use super::{Protocol, SshArgs, SshArgsError, Tool, Word, understand};

fn words(text: &str) -> Vec<Word> {
    let words = shell_words(OsStr::new(text)).expect("words");
    words.into_iter().map(|text| Word { text, option: "-x" }).collect()
}

fn read(tool: Tool, text: &str) -> Result<SshArgs, SshArgsError> {
    let follows = if tool == Tool::Ssh { "command" } else { "files" };
    understand(tool, follows, &words(text))
}

/// All options in their order, those that beat `-O` before a `|`.
fn options(tool: Tool, text: &str) -> String {
    let said = read(tool, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let texts =
        |options: &[super::SshOption]| -> Vec<String> { options.iter().map(|option| option.text.clone()).collect() };
    format!("{}|{}", texts(&said.flags).join(" "), texts(&said.options).join(" "))
}

#[test]
fn what_ssh_is_told_becomes_options() {
    for (text, expected) in [
        ("", "|"),
        ("-p 2222", "|Port=2222"),
        ("-p2222 -lroot", "|Port=2222 User=root"),
        ("-Cp 2222", "Compression=yes|Port=2222"),
        ("-tt", "RequestTTY=force|"),
        ("-t", "RequestTTY=yes|"),
        ("-t -t -T", "RequestTTY=no|"),
        ("-T -tt", "RequestTTY=force|"),
        ("-4", "AddressFamily=inet|"),
        ("-4 -6", "AddressFamily=inet6|"),
        ("-A -a", "ForwardAgent=no|"),
        ("-aA", "ForwardAgent=yes|"),
        ("-q -v", "LogLevel=DEBUG1|"),
        ("-vvvvv", "LogLevel=DEBUG3|"),
        ("-vq", "LogLevel=QUIET|"),
        ("-i ~/.ssh/k -i '/a b'", "|IdentityFile=~/.ssh/k IdentityFile=\"/a b\""),
        ("-i 'a\"b\\c'", "|IdentityFile=\"a\\\"b\\\\c\""),
        ("-o Port=3 -o 'User root' -p 4", "|Port=3 User root Port=4"),
        ("-oBatchMode=yes", "|BatchMode=yes"),
        ("-J a,b@c:3", "|ProxyJump=a,b@c:3"),
        ("-J none", "|ProxyJump=none"),
        ("-c aes128-ctr -m hmac-sha2-256", "Ciphers=aes128-ctr MACs=hmac-sha2-256|"),
        ("-c a -c b", "Ciphers=b|"),
        ("-c ^aes*", "Ciphers=^aes*|"),
        ("-b 127.0.0.9 -B lo", "BindAddress=127.0.0.9 BindInterface=lo|"),
        ("-n -x -k -2", "|"),
        ("-nxk2q", "LogLevel=QUIET|"),
        ("-e none -S none -SNONE", "|"),
        ("-p 22 --", "|Port=22"),
    ] {
        assert_eq!(options(Tool::Ssh, text), expected, "{text}");
    }
}

#[test]
fn the_letters_of_scp_are_others() {
    for (text, expected) in [
        ("-P 2222 -p -r", "|Port=2222"),
        ("-P 1 -P2", "|Port=2"),
        ("-B", "|BatchMode=yes"),
        ("-3RT", "|"),
        ("-X nrequests=9", "|"),
        ("-46ACqv", "AddressFamily=inet6 ForwardAgent=yes Compression=yes LogLevel=DEBUG1|"),
        ("-c a -i k -J j -o User=u", "Ciphers=a|IdentityFile=k ProxyJump=j User=u"),
    ] {
        assert_eq!(options(Tool::Scp, text), expected, "{text}");
    }
    let said = read(Tool::Scp, "-rpO").expect("good");
    assert!(said.recursive && said.preserve && said.protocol == Some(Protocol::Scp));
    assert_eq!(read(Tool::Scp, "-O -s").expect("good").protocol, Some(Protocol::Sftp));
    assert!(!read(Tool::Ssh, "-p 1").expect("good").preserve);
}

#[test]
fn another_configuration_is_no_option_in_its_format() {
    for tool in [Tool::Ssh, Tool::Scp] {
        let said = read(tool, "-F a -Fnone").expect("good");
        assert_eq!(said, SshArgs { config_file: Some("none".into()), ..SshArgs::default() });
    }
    let bytes = OsString::from_vec(b"/\xff".to_vec());
    let words = ["-F".into(), bytes.clone()].map(|text| Word { text, option: "-X" });
    assert_eq!(understand(Tool::Ssh, "command", &words).expect("any bytes").config_file, Some(bytes.clone()));
    let words = ["-i".into(), bytes].map(|text| Word { text, option: "-X" });
    assert!(understand(Tool::Ssh, "command", &words).expect_err("not text").to_string().contains("not UTF-8"));
}

#[test]
fn messages_name_the_words_as_they_were_given() {
    let said = read(Tool::Ssh, "-C -p2222 -o Foo=1").expect("good");
    let names: Vec<&str> = said.flags.iter().chain(&said.options).map(|option| option.name.as_str()).collect();
    assert_eq!(names, ["-x -C", "-x -p 2222", "-x -o Foo=1"]);
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    for (tool, text, complaint) in [
        (Tool::Ssh, "-L 80:a:80", "-x \"-L\": ssh's -L: port forwarding is not supported"),
        (Tool::Ssh, "-L80:a:80", "-x \"-L80:a:80\": ssh's -L: port forwarding is not supported"),
        (Tool::Ssh, "-CR 80:a:80", "-x \"-CR\": ssh's -R: port forwarding"),
        (Tool::Ssh, "-D", "-x \"-D\": ssh's -D: port forwarding"),
        (Tool::Ssh, "-W a:1", "ssh's -W: port forwarding"),
        (Tool::Ssh, "-w 0", "ssh's -w: port forwarding"),
        (Tool::Ssh, "-g", "ssh's -g: port forwarding"),
        (Tool::Ssh, "-N", "every login here runs a command"),
        (Tool::Ssh, "-f", "&"),
        (Tool::Ssh, "-M", "ControlMaster"),
        (Tool::Ssh, "-S /s", "ssh's -S: connections are not shared"),
        (Tool::Ssh, "-O check", "ssh's -O: connections are not shared"),
        (Tool::Ssh, "-O StrictHostKeyChecking=no", "use -O directly, not as an option of ssh: -O StrictHost"),
        (Tool::Ssh, "'-O StrictHostKeyChecking no'", "ssh's -O: connections are not shared"),
        (Tool::Ssh, "-OBatchMode=yes", "-O BatchMode=..."),
        (Tool::Ssh, "-I lib", "ssh-add -s"),
        (Tool::Ssh, "-X", "X11"),
        (Tool::Ssh, "-Y", "X11"),
        (Tool::Ssh, "-y", "logger"),
        (Tool::Ssh, "-E log", "2>FILE"),
        (Tool::Ssh, "-e ^x", "escape"),
        (Tool::Ssh, "-G", "--explain"),
        (Tool::Ssh, "-Q cipher", "--explain"),
        (Tool::Ssh, "-K", "GSSAPI"),
        (Tool::Ssh, "-s", "subsystems"),
        (Tool::Ssh, "-V", "--version"),
        (Tool::Ssh, "-P x", "for a port use -p"),
        (Tool::Ssh, "-1", "protocol 1"),
        (Tool::Ssh, "-l ''", "-x \"-l\": \"\": "),
        (Tool::Ssh, "'-la;b'", "-x \"-la;b\": \"a;b\": "),
        (Tool::Ssh, "-r", "-x \"-r\": ssh has no option -r"),
        (Tool::Ssh, "-Cz", "ssh has no option -z"),
        (Tool::Ssh, "--verbose", "ssh has no long options"),
        (Tool::Ssh, "-p", "-x \"-p\": -p needs a value"),
        (Tool::Ssh, "-Cp", "-x \"-Cp\": -p needs a value"),
        (Tool::Ssh, "-J a -J b", "-J is given twice"),
        (Tool::Ssh, "-o StrictHostKeyChecking no", "did you mean -O StrictHostKeyChecking=no?"),
        (
            Tool::Ssh,
            "sudo",
            "-x \"sudo\": not an ssh option; to exclude hosts use --exclude; name hosts with -H and -h, and",
        ),
        (Tool::Ssh, "-p 22 -", "-x \"-\": not an ssh option"),
        (Tool::Ssh, "-- -p 22", "-x \"-p\": not an ssh option"),
        (Tool::Ssh, "''", "-x \"\": not an ssh option"),
        (Tool::Scp, "file", "put the files after all options"),
        (Tool::Scp, "-l 100", "bandwidth limits are not supported"),
        (Tool::Scp, "-S /bin/ssh", "--proxy-command"),
        (Tool::Scp, "-D /x", "sftp-server"),
        (Tool::Scp, "-t", "it is internal to scp"),
        (Tool::Scp, "-tt", "scp's -t"),
        (Tool::Scp, "-m hmac", "scp has no option -m"),
        (Tool::Scp, "-a", "scp has no option -a"),
    ] {
        let error = read(tool, text).expect_err(text).to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}

#[test]
fn words_are_those_of_pythons_shlex() {
    for (text, expected) in [
        ("", Ok(&[][..])),
        (" \t\r\n", Ok(&[])),
        ("a  b", Ok(&["a", "b"])),
        ("-o 'Port 3' \"x y\"", Ok(&["-o", "Port 3", "x y"])),
        ("a # b", Ok(&["a", "#", "b"])),
        ("#a", Ok(&["#a"])),
        ("a'b'\"c\"d", Ok(&["abcd"])),
        ("'' \"\"", Ok(&["", ""])),
        ("a\\ b", Ok(&["a b"])),
        ("'a\\'", Ok(&["a\\"])),
        ("\"a\\\"b\\\\c\\d\\$\"", Ok(&["a\"b\\c\\d\\$"])),
        ("a\\\nb", Ok(&["a\nb"])),
        ("\"a\\\nb\"", Ok(&["a\\\nb"])),
        ("é\\é", Ok(&["éé"])),
        ("a;b|c>d `e` $(f)", Ok(&["a;b|c>d", "`e`", "$(f)"])),
        ("a\u{b}b\u{c}", Ok(&["a\u{b}b\u{c}"])),
        ("'a", Err("a quote is not closed")),
        ("a\"", Err("a quote is not closed")),
        ("a\\", Err("the text ends with a backslash")),
        ("\"a\\", Err("the text ends with a backslash")),
    ] {
        let expected = expected.map(|words| words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(shell_words(OsStr::new(text)), expected, "{text:?}");
    }
}

#[test]
fn words_of_prsync_are_those_of_rsync() {
    for (text, expected) in [
        ("", Ok(&[][..])),
        (" -p  22 ", Ok(&["-p", "22"])),
        ("-o 'Port 3' \"x\ty\"", Ok(&["-o", "Port 3", "x\ty"])),
        ("'a''b' \"c\"\"d\" 'e\"f'", Ok(&["a'b", "c\"d", "e\"f"])),
        ("a\\ b", Ok(&["a\\", "b"])),
        ("x'y z'w ''", Ok(&["xy zw", ""])),
        ("'a", Err("a quote is not closed")),
    ] {
        let expected = expected.map(|words| words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(rsync_words(OsStr::new(text)), expected, "{text:?}");
    }
}
