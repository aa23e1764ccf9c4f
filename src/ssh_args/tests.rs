use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use super::split::{rsync_words, shell_words};
use super::{Program, Protocol, SshArgs, SshArgsError, Word, understand};

fn words(text: &str) -> Vec<Word> {
    let words = shell_words(OsStr::new(text)).expect("words");
    words.into_iter().map(|text| Word { text, option: "-x" }).collect()
}

fn read(program: Program, text: &str) -> Result<SshArgs, SshArgsError> {
    understand(program, &words(text))
}

/// All options in their order, those that beat `-O` before a `|`.
fn options(program: Program, text: &str) -> String {
    let said = read(program, text).unwrap_or_else(|error| panic!("{text}: {error}"));
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
        ("-l ''", "|User=\"\""),
    ] {
        assert_eq!(options(Program::Ssh, text), expected, "{text}");
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
        assert_eq!(options(Program::Scp, text), expected, "{text}");
    }
    let said = read(Program::Scp, "-rpO").expect("good");
    assert!(said.recursive && said.preserve && said.protocol == Some(Protocol::Scp));
    assert_eq!(read(Program::Scp, "-O -s").expect("good").protocol, Some(Protocol::Sftp));
    assert!(!read(Program::Ssh, "-p 1").expect("good").preserve);
}

#[test]
fn another_configuration_is_no_option_in_its_format() {
    for program in [Program::Ssh, Program::Scp] {
        let said = read(program, "-F a -Fnone").expect("good");
        assert_eq!(said, SshArgs { config_file: Some("none".into()), ..SshArgs::default() });
    }
    let bytes = OsString::from_vec(b"/\xff".to_vec());
    let words = ["-F".into(), bytes.clone()].map(|text| Word { text, option: "-X" });
    assert_eq!(understand(Program::Ssh, &words).expect("any bytes").config_file, Some(bytes.clone()));
    let words = ["-i".into(), bytes].map(|text| Word { text, option: "-X" });
    assert!(understand(Program::Ssh, &words).expect_err("not text").to_string().contains("not UTF-8"));
}

#[test]
fn messages_name_the_words_as_they_were_given() {
    let said = read(Program::Ssh, "-C -p2222 -o Foo=1").expect("good");
    let names: Vec<&str> = said.flags.iter().chain(&said.options).map(|option| option.name.as_str()).collect();
    assert_eq!(names, ["-x -C", "-x -p 2222", "-x -o Foo=1"]);
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    for (program, text, complaint) in [
        (Program::Ssh, "-L 80:a:80", "-x \"-L\": ssh's -L: no ports are forwarded here"),
        (Program::Ssh, "-L80:a:80", "-x \"-L80:a:80\": ssh's -L: no ports are forwarded here"),
        (Program::Ssh, "-CR 80:a:80", "-x \"-CR\": ssh's -R: no ports"),
        (Program::Ssh, "-D", "-x \"-D\": ssh's -D: no ports"),
        (Program::Ssh, "-W a:1", "ssh's -W: no ports"),
        (Program::Ssh, "-w 0", "ssh's -w: no ports"),
        (Program::Ssh, "-g", "ssh's -g: no ports"),
        (Program::Ssh, "-N", "there is always a command"),
        (Program::Ssh, "-f", "&"),
        (Program::Ssh, "-M", "ControlMaster"),
        (Program::Ssh, "-S /s", "ssh's -S: no connection is shared"),
        (Program::Ssh, "-O check", "ssh's -O: no connection is shared"),
        (
            Program::Ssh,
            "-O StrictHostKeyChecking=no",
            "-O is an option of its own here, not one of ssh's: -O StrictHost",
        ),
        (Program::Ssh, "'-O StrictHostKeyChecking no'", "ssh's -O: no connection"),
        (Program::Ssh, "-OBatchMode=yes", "-O BatchMode=..."),
        (Program::Ssh, "-I lib", "ssh-add -s"),
        (Program::Ssh, "-X", "X11"),
        (Program::Ssh, "-Y", "X11"),
        (Program::Ssh, "-y", "logger"),
        (Program::Ssh, "-E log", "2>FILE"),
        (Program::Ssh, "-e ^x", "escape"),
        (Program::Ssh, "-G", "--explain"),
        (Program::Ssh, "-Q cipher", "--explain"),
        (Program::Ssh, "-K", "GSSAPI"),
        (Program::Ssh, "-s", "subsystems"),
        (Program::Ssh, "-V", "--version"),
        (Program::Ssh, "-P x", "a port is -p"),
        (Program::Ssh, "-1", "protocol 1"),
        (Program::Ssh, "-r", "-x \"-r\": ssh has no option -r"),
        (Program::Ssh, "-Cz", "ssh has no option -z"),
        (Program::Ssh, "--verbose", "ssh has no long options"),
        (Program::Ssh, "-p", "-x \"-p\": -p needs a value"),
        (Program::Ssh, "-Cp", "-x \"-Cp\": -p needs a value"),
        (Program::Ssh, "-J a -J b", "-J is given twice"),
        (Program::Ssh, "-o StrictHostKeyChecking no", "did you mean -O StrictHostKeyChecking=no?"),
        (Program::Ssh, "sudo", "-x \"sudo\": it is no option of ssh; hosts are named by -H and -h, and what follows"),
        (Program::Ssh, "-p 22 -", "-x \"-\": it is no option of ssh"),
        (Program::Ssh, "-- -p 22", "-x \"-p\": it is no option of ssh"),
        (Program::Ssh, "''", "-x \"\": it is no option of ssh"),
        (Program::Scp, "file", "is the files"),
        (Program::Scp, "-l 100", "not slowed down"),
        (Program::Scp, "-S /bin/ssh", "--proxy-command"),
        (Program::Scp, "-D /x", "sftp-server"),
        (Program::Scp, "-t", "between scp and its other end"),
        (Program::Scp, "-tt", "scp's -t"),
        (Program::Scp, "-m hmac", "scp has no option -m"),
        (Program::Scp, "-a", "scp has no option -a"),
    ] {
        let error = read(program, text).expect_err(text).to_string();
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
        ("a\\", Err("nothing follows the backslash at its end")),
        ("\"a\\", Err("nothing follows the backslash at its end")),
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
