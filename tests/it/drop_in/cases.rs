//! The table.

use super::Difference::*;
use super::{Row, row};

/// All rows.
pub(super) fn rows() -> Vec<Row> {
    [hosts(), output(), options(), for_ssh(), environment(), failures(), copies_up(), copies_down(), rsync(), nuke()]
        .into_iter()
        .flatten()
        .collect()
}

/// Lists of hosts.
fn hosts() -> Vec<Row> {
    vec![
        row("pssh -i -H n1 echo hi"),
        row("pssh -i -p 1 -H 'n1 n2' -H n3 echo hi"),
        row("pssh -i -p 1 -h hosts echo hi").file("hosts", "n1\nn2\nn3\n"),
        row("pssh -i -p 1 -H n3 -h hosts -h more echo hi").file("hosts", "n1\n").file("more", "n2\n"),
        row("pssh -i -p 1 -h hosts echo hi").file("hosts", "# all\n\n  n1  \t\n\tn2 # the second\nn3#x\n#n1\n\n"),
        row("pssh -i -p 1 -h hosts echo hi").file("hosts", "n1\r\nn2\r\n"),
        row("pssh -i -p 1 -h hosts echo hi").file("hosts", "n1"),
        row("pssh -i -p 1 -h hosts 'echo $USER'").file("hosts", "@ME@@n1\nn2 @ME@\nn3:@PORT@ @ME@\n@ME@@n1:@PORT@\n"),
        row("pssh -i -p 1 -l @ME@ -h hosts 'echo $USER'").file("hosts", "@ME@@n1\nn2 @ME@\nn3\n"),
        row("pssh -i -p 1 -l nobody -H '@ME@@n1 @ME@@n2:@PORT@' echo hi"),
        row("pssh -i -p 1 -H 'n1 n1 n1' echo hi"),
        row("pssh -i -p 1 -h hosts -h hosts echo hi").file("hosts", "n1\n"),
        row("pssh -i -p 1 -g 'n[12]' -h hosts -H n3 echo hi").file("hosts", "n1\nn2:@PORT@\nn3\n"),
        row("pssh -i -p 1 --host-glob='n?' -h hosts echo hi").file("hosts", "n1\n@ME@@n2\n127.0.1.1\n"),
        row("pssh -i -p 1 -g '[!n]*' -h hosts -H n1 echo hi").file("hosts", "n1\nn2\nn3\n"),
        row("pssh -i -g N1 -h hosts echo hi").file("hosts", "n1\n").differs(EmptyListIsError).exit(2),
        row("pssh -i -h /dev/null echo hi").differs(EmptyListIsError).exit(2),
        row("pssh -i -H ' ' echo hi").differs(EmptyListIsError).exit(2),
        row("pssh -i -h missing echo hi"),
        row("pssh -i -p 1 -h hosts echo hi").file("hosts", "n1 a b\nn2\n").differs(BadInputIsError).stdout("").exit(2),
        row("pssh -i -p 1 -h hosts echo hi").file("hosts", "x@n1 y\nn2\n").differs(BadInputIsError).stdout("").exit(2),
        row("pssh -i -p 1 -H 'n[1-2]' echo hi")
            .differs(RangesAndGroups)
            .stdout("[1] 00:00:00 [SUCCESS] n1\nhi\n[2] 00:00:00 [SUCCESS] n2\nhi\n")
            .exit(0),
        row("pssh -P -H ::1 -O HostName=127.0.1.1 echo hi")
            .differs(Ipv6WithoutBrackets)
            .stdout("::1: hi\n[1] 00:00:00 [SUCCESS] [::1]\n")
            .exit(0),
    ]
}

/// What is printed, and into files.
fn output() -> Vec<Row> {
    vec![
        row("pssh -H n1 'echo a; echo b'").differs(LinesByDefault).stdout("n1: a\nn1: b\n"),
        row("pssh -H n1 true").differs(LinesByDefault).stdout(""),
        row("pssh -p 1 -H 'n1 n2' 'echo a; exit 3'")
            .file("pssh/config.toml", "[defaults]\nformat = \"status\"\n")
            .variable("XDG_CONFIG_HOME", "@HERE@"),
        row("pssh -i -H 'n1 n2 n3' hostname").any_order(),
        row("pssh -i -p 1 -H 'n1 n2' 'echo out; echo err >&2'"),
        row("pssh --inline -H n1 'echo err >&2'"),
        row("pssh -i -H n1 true"),
        row("pssh -i -H n1 'printf abc'").differs(BlocksEndWithNewline).stdout("[1] 00:00:00 [SUCCESS] n1\nabc\n"),
        row("pssh -i -H n1 'printf abc; echo err >&2'")
            .differs(BlocksEndWithNewline)
            .stdout("[1] 00:00:00 [SUCCESS] n1\nabc\nStderr: err\n"),
        row("pssh --inline-stdout -H n1 'echo out; echo err >&2'"),
        row("pssh -i --inline-stdout -H n1 'echo out; echo err >&2'"),
        row("pssh -P -H n1 echo a"),
        row("pssh --print -p 1 -H 'n1 @ME@@n2:@PORT@' echo a"),
        row("pssh -P -H n1 'printf abc'"),
        row("pssh -P -H n1 true"),
        row("pssh -P -H n1 seq 2").differs(EveryLinePrefixed).stdout("n1: 1\nn1: 2\n[1] 00:00:00 [SUCCESS] n1\n"),
        row("pssh -i -p 1 -o out -H 'n1 n2' 'echo a'"),
        row("pssh -i -p 1 -o out -e err -H 'n1 n2' 'echo a; echo b >&2'"),
        row("pssh -i -p 1 -o a/b/c -H n1 'echo a'"),
        row("pssh -i -p 1 -o out -H 'n1 n1 n1' 'echo a'"),
        row("pssh -i -p 1 -o out -H 'n1:@PORT@ @ME@@n1' 'echo a'"),
        row("pssh -i -p 1 -o out -l @ME@ -H '@ME@@n1 @ME@@n2' 'echo a'"),
        row("pssh -i -p 1 -o out -H n1 'echo new'").file("out/n1", "old and longer\n"),
        row("pssh -i -p 1 -o out -e err -H n1 'echo a'").differs(FileForEveryHost).more("err/n1", ""),
        row("pssh -i -o out -H n1 cat").differs(FileForEveryHost).more("out/n1", ""),
        row("pssh -P -o out -H n1 'printf \"a\\0b\\377\"; exit 3'"),
        row("pssh -i -H n1 'printf \"a\\tb\\033[31mc\\n\"'"),
        row("pssh -i -H n1 'yes x | head -n 70000; yes y | head -n 20000 >&2'"),
        row("pssh -I -i -p 1 -H 'n1 n2' cat").input("one\ntwo\n"),
        row("pssh --send-input -i -H n1 'wc -c'").input("12345"),
        row("pssh -i -H n1 cat").input("not read\n"),
        row("pssh -I -i -H n1").input("echo from input\n"),
    ]
}

/// pssh's options and how they are written.
fn options() -> Vec<Row> {
    vec![
        row("pssh -i -Hn1 -p1 -t50 echo hi"),
        row("pssh -A -P -H n1 echo hi").input("secret\n").differs(PasswordOnTerminal).stdout("").exit(2),
        row("pssh --inline --host=n1 --par=1 --timeout=50 --user=@ME@ --verbose echo hi"),
        row("pssh --inline --hosts=hosts --pa 1 --ti 50 --us @ME@ --verb echo hi").file("hosts", "n1\n"),
        row("pssh -i --ou out --er err -H n1 'echo a; echo b >&2'"),
        row("pssh -i --op ConnectTimeout=9 -H n1 echo hi"),
        row("pssh --s -i -H n1 cat").input("x\n"),
        row("pssh --pr -H n1 echo x"),
        row("pssh --inline- -H n1 echo x"),
        row("pssh -ivH n1 echo x"),
        row("pssh -i -H n1 -- echo x -- y"),
        row("pssh -i -H n1 echo a -p 5 --help"),
        row("pssh -i -H n1 sh -c 'echo a b'"),
        row("pssh -i -H n1 'echo a  b' '  c'"),
        row("pssh -i -H n1 'echo $((1+2)); echo \"a  b\"' \\; echo c"),
        row("pssh -i -p 2 -p 1 -H n1 -H n2 echo hi"),
        row("pssh -i -t 0 -H n1 echo hi"),
        row("pssh -i -t 4 -H n1 'echo begun; sleep 30'"),
        row("pssh -i -t 1 -p 1 -H 'n1 n2' 'sleep 20'"),
        row("pssh -i --bogus -H n1 echo hi"),
        row("pssh --inl -H n1 echo hi"),
        row("pssh -i -H n1"),
        row("pssh -i echo hi"),
        row("pssh --h"),
        row("pssh -i -p x -H n1 echo hi"),
        row("pssh -i -t x -H n1 echo hi"),
        row("pssh -i -H"),
    ]
}

/// What is meant for ssh.
fn for_ssh() -> Vec<Row> {
    vec![
        row("pssh -i -O Port=@PORT@ -H n1 echo hi"),
        row("pssh -i -O 'Port @PORT@' -O Compression=yes -H n1 echo hi"),
        row("pssh -i -x '-p @PORT@' -H n1 echo hi"),
        row("pssh -i -x '-p @PORT@ -l @ME@ -C -q' -H n1 'echo $USER'"),
        row("pssh -i -X -p -X @PORT@ -H n1 echo hi"),
        row("pssh -i -x -p -X @PORT@ --extra-args '-o ConnectTimeout=9' --extra-arg -4 -H n1 echo hi"),
        row("pssh -i -X '-oUser=@ME@' -H n1 'echo $USER'"),
        row("pssh -i -x '-o \"User @ME@\"' -H n1 'echo $USER'"),
        row("pssh -i -x '-l nobody' -l @ME@ -H n1 'echo $USER'"),
        row("pssh -i -O User=@ME@ -x '-l nobody' -H n1 'echo $USER'"),
        row("pssh --inline-stdout -p 1 -x '-p 1' -H 'n1:@PORT@ n2' echo hi").failure(
            "[1] 00:00:00 [SUCCESS] n1:@PORT@\nhi\n[2] 00:00:00 [FAILURE] n2 connect: 127.0.1.2 port 1: Connection refused\n",
        ),
        row("pssh -i -O Port=@PORT@ -O Port=1 -H n1 echo hi"),
        row("pssh -i -O Port=1 -H n1:@PORT@ echo hi")
            .differs(EntryBeatsOptions)
            .stdout("[1] 00:00:00 [SUCCESS] n1:@PORT@\nhi\n")
            .exit(0),
        row("pssh -i -O User=nobody -H @ME@@n1 echo hi")
            .differs(EntryBeatsOptions)
            .stdout("[1] 00:00:00 [SUCCESS] @ME@@n1\nhi\n")
            .exit(0),
        row("pssh -i -O User=nobody -l @ME@ -H n1 'echo hi'")
            .differs(EntryBeatsOptions)
            .stdout("[1] 00:00:00 [SUCCESS] n1\nhi\n")
            .exit(0),
        row("pssh -i -x '-J n2' -H n1 echo hi"),
        row("pssh -i -x -n -x '-x -k -a -T' -H n1 echo hi"),
        row("pssh -i -x -- -H n1 echo hi"),
        row("pssh -i -x '' -H n1 echo hi"),
        row("pssh --inline-stdout -x '-i @HERE@/missing' -H n1 echo hi"),
        row("pssh -i -x '-i @HERE@/missing' -H n1 echo hi")
            .differs(NothingSaidBySsh)
            .stdout("[1] 00:00:00 [SUCCESS] n1\nhi\n"),
        row("pssh --inline-stdout -x '-o IdentityFile=@HERE@/missing' -H n1 echo hi"),
        row("pssh --inline-stdout -x '-F none -p @PORT@ -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null' \
             -x '-i @HOME@/.ssh/id_ed25519' -H 127.0.1.2 echo hi"),
        row("pssh --inline-stdout -x '-F @HERE@/other' -H somewhere echo hi").file(
            "other",
            "Host somewhere\n HostName 127.0.1.1\n Port @PORT@\n StrictHostKeyChecking no\n \
             UserKnownHostsFile /dev/null\n IdentityFile @HOME@/.ssh/id_ed25519\n",
        ),
        row("pssh --inline-stdout -x -tt -H n1 'test -t 1 && echo terminal'"),
        row("pssh --inline-stdout -x -t -H n1 'test -t 1 || echo none'"),
        row("pssh --inline-stdout -x '-tt -T' -H n1 'test -t 1 || echo none'"),
        row("pssh -i -O RequestTTY=force -H n1 'test -t 1 && echo terminal'")
            .differs(TerminalOnRequest)
            .stdout("[1] 00:00:00 [SUCCESS] n1\nterminal\r\n")
            .exit(0),
        row("pssh -i -x '-c aes256-ctr -m hmac-sha2-256' -H n1 echo hi"),
        row("pssh -i -x '-c bogus' -H n1 echo hi").differs(BadInputIsError).stdout("").exit(2),
        row("pssh -i -x '-b 127.0.0.1' -H n1 'echo ${SSH_CONNECTION%% *}'"),
        row("pssh -i -x '-L 0:n1:1' -H n1 echo hi").differs(RefusedForSsh).stdout("").exit(2),
        row("pssh -i -x '-O StrictHostKeyChecking=no' -H n1 echo hi").differs(RefusedForSsh).stdout("").exit(2),
        row("pssh -i -x 'echo' -H n1 hi").differs(RefusedForSsh).stdout("").exit(2),
        row("pssh -i -x \"-o 'a\" -H n1 echo hi").differs(BadInputIsError).exit(2),
        row("pssh -i -O Bogus=1 -H n1 echo hi").differs(BadInputIsError).stdout("").exit(2),
        row("pssh -i -O SendEnv=PSSH_* -p 1 -H 'n1 n2:@PORT@' 'echo $PSSH_NODENUM $PSSH_NUMNODES $PSSH_HOST'"),
        row("pssh -i -H n1 'echo $PSSH_NODENUM $PSSH_NUMNODES $PSSH_HOST'")
            .differs(NodeVariablesOnRequest)
            .stdout("[1] 00:00:00 [SUCCESS] n1\n\n"),
        row("pssh -i -O SetEnv=LC_X=7 -H n1 'echo $LC_X'"),
    ]
}

/// What the environment says.
fn environment() -> Vec<Row> {
    vec![
        row("pssh -p 1 -H 'n1 n2' echo hi").variable("PSSH_INLINE", "1"),
        row("pssh -p 1 -H n1 echo hi").variable("PSSH_PRINT", "yes"),
        row("pssh -H n1 echo hi").variable("PSSH_INLINE", "0").differs(SwitchedOffBy0).stdout("n1: hi\n"),
        row("pssh -i -p 1 -H n1 'echo $USER'").variable("PSSH_USER", "@ME@"),
        row("pssh -i -H @ME@@n1 'echo $USER'").variable("PSSH_USER", "nobody"),
        row("pssh -i -l @ME@ -H n1 'echo $USER'").variable("PSSH_USER", "nobody"),
        row("pssh -i -H 'n1 n2' echo hi").variable("PSSH_PAR", "1"),
        row("pssh -i -H n1 echo hi").variable("PSSH_PAR", ""),
        row("pssh -i -H n1 echo hi").variable("PSSH_PAR", "x").differs(BadInputIsError).exit(2),
        row("pssh -i -H n1 sleep 20").variable("PSSH_TIMEOUT", "1"),
        row("pssh -i -t 30 -H n1 sleep 2").variable("PSSH_TIMEOUT", "1"),
        row("pssh -i -H n1 'echo a; echo b >&2'").variable("PSSH_OUTDIR", "out").variable("PSSH_ERRDIR", "err"),
        row("pssh -i -o mine -H n1 'echo a'").variable("PSSH_OUTDIR", "out"),
        row("pssh -i -H n1 echo hi").variable("PSSH_OPTIONS", "Port=@PORT@"),
        row("pssh -i -O Port=1 -H n1 echo hi").variable("PSSH_OPTIONS", "Port=@PORT@"),
        row("pssh -P -O Port=@PORT@ -H n1 echo hi")
            .variable("PSSH_OPTIONS", "Port=1")
            .failure("[1] 00:00:00 [FAILURE] n1 connect: 127.0.1.1 port 1: Connection refused\n"),
        row("pssh -i -p 1 echo hi").variable("PSSH_HOSTS", "hosts").file("hosts", "n1\n"),
        row("pssh -i -p 1 -h more -H n3 echo hi")
            .variable("PSSH_HOSTS", "hosts")
            .file("hosts", "n1\n")
            .file("more", "n2\n"),
        row("pssh -i -H n1 echo hi").variable("PSSH_VERBOSE", "1"),
        row("pssh -i -H n1 echo hi").variable("PSSH_BOGUS", "1").variable("PSSH_RECURSIVE", "1"),
    ]
}

/// Hosts that fail, and how it ends then.
fn failures() -> Vec<Row> {
    vec![
        row("pssh -i -H n1 'exit 3'"),
        row("pssh -i -p 1 -H 'n1 n2' 'echo out; echo err >&2; exit 1'"),
        row("pssh -P -p 1 -H 'n1 dead n2' echo hi").failure(
            "n1: hi\n[1] 00:00:00 [SUCCESS] n1\n[2] 00:00:00 [FAILURE] dead connect: 127.0.1.1 port 1: Connection refused\n\
             n2: hi\n[3] 00:00:00 [SUCCESS] n2\n",
        ),
        row("pssh -P -p 1 -H 'n1 dead' 'exit 7'").failure(
            "[1] 00:00:00 [FAILURE] n1 Exited with error code 7\n\
             [2] 00:00:00 [FAILURE] dead connect: 127.0.1.1 port 1: Connection refused\n",
        ),
        row("pssh -i -H n1 'exit 255'").differs(StatusOf255).exit(5),
        row("pssh -P -p 1 -t 2 -H 'dead n1' 'sleep 20'").failure(
            "[1] 00:00:00 [FAILURE] dead connect: 127.0.1.1 port 1: Connection refused\n\
             [2] 00:00:00 [FAILURE] n1 Timed out\n",
        ),
        row("pssh --inline-stdout -H n1 no-such-command-anywhere"),
        row("pssh -P -l nobody-at-all -H n1 echo hi").failure(
            "[1] 00:00:00 [FAILURE] n1 auth: nobody-at-all: refused after trying ssh-ed25519 @HOME@/.ssh/id_ed25519; \
             the server offers publickey\n",
        ),
        row("pssh -P -O UserKnownHostsFile=/dev/null -H n1 echo hi").failure(
            "[1] 00:00:00 [FAILURE] n1 hostkey: [127.0.1.1]:@PORT@ is not in known_hosts; it offers ssh-ed25519 SHA256:KEY\n",
        ),
        row("pssh -P -O ProxyCommand=false -H n1 echo hi")
            .failure("[1] 00:00:00 [FAILURE] n1 proxy: false: the command exited with 1\n"),
        // A name that needs no resolver.
        row("pssh -P -H no..host echo hi")
            .failure("[1] 00:00:00 [FAILURE] no..host dns: no..host: Name or service not known\n"),
        row("pssh -i -o /proc/none -H n1 echo hi"),
        row("pssh -i -p 1 -H 'n1 n2' sleep 30").any_order().interrupted().differs(DeathBySignal).exit(-2),
        row("pssh -P -p 1 -H 'n1:x n2' echo hi").differs(BadInputIsError).stdout("").exit(2),
        row("pssh -P -p 1 -H '-4 n2' echo hi").differs(BadInputIsError).stdout("").exit(2),
    ]
}

/// More than a packet.
const LONG: &str = include_str!("../../../Cargo.lock");

/// pscp.
fn copies_up() -> Vec<Row> {
    vec![
        row("pscp -H n1 a @REMOTE@/b").file("a", "text\n"),
        row("pscp -p 1 -H 'n1 n2' a @REMOTE@").file("a", "text\n"),
        row("pscp -h hosts a b @REMOTE@/").file("hosts", "n1\n").file("a", "1").file("b", "2"),
        row("pscp -H n1 a @REMOTE@/d").file("a", "new\n").file("@REMOTE@/d/x", "kept"),
        row("pscp -H n1 a @REMOTE@/a").file("a", "new\n").file("@REMOTE@/a", "old, and longer\n"),
        row("pscp -r -H n1 d @REMOTE@/e").file("d/x", "1").file("d/s/y", "2").file("d/empty/", ""),
        row("pscp --rec -H n1 d @REMOTE@").file("d/x", "1"),
        row("pscp -H n1 d @REMOTE@").variable("PSSH_RECURSIVE", "1").file("d/x", "1"),
        row("pscp -x -p -H n1 a @REMOTE@").times().file("a", "text\n"),
        row("pscp -x '-rp' -H n1 d @REMOTE@").times().file("d/x", "1"),
        row("pscp -x '-P @PORT@' -X -C -H n1 a @REMOTE@").file("a", "text\n"),
        row("pscp -x -O -H n1 a @REMOTE@").file("a", "text\n"),
        row("pscp -x -Orp -H n1 d @REMOTE@").times().file("d/x", "1").file("d/s/y", "2"),
        row("pscp -X -s -H n1 a @REMOTE@").file("a", "text\n"),
        row("pscp -O Port=@PORT@ -l @ME@ -H n1 a @REMOTE@").file("a", "text\n"),
        row("pscp -p 1 -H 'n1:@PORT@ @ME@@n2' a @REMOTE@").file("a", "text\n"),
        row("pscp -H n1 a b @REMOTE@").file("a", LONG).file("b", "").mode("a", 0o755).mode("b", 0o600),
        row("pscp -x -p -H n1 a @REMOTE@").times().file("a", "text\n").mode("a", 0o777),
        row("pscp -H n1 a @REMOTE@/a")
            .file("a", "new")
            .mode("a", 0o755)
            .file("@REMOTE@/a", "old")
            .mode("@REMOTE@/a", 0o640),
        row("pscp -H n1 'a b' '@REMOTE@/c d'").file("a b", "text\n"),
        row("pscp -r -H n1 d @REMOTE@").file("d/x", "1").file("d/l", "-> x").file("d/s/y", "2"),
        row("pscp -H n1 a @REMOTE@/l").file("a", "new").file("@REMOTE@/b", "old").file("@REMOTE@/l", "-> b"),
        row("pscp -r -H n1 d @REMOTE@").file("d/x", "1").file("@REMOTE@/d/y", "2"),
        row("pscp -r -H n1 d/ @REMOTE@/e").file("d/x", "1").file("@REMOTE@/e/", ""),
        row("pscp -r -H n1 a d @REMOTE@/e").file("a", "").file("d/x", "1").file("@REMOTE@/e/", ""),
        row("pscp -H n1 a b @REMOTE@/c")
            .file("a", "")
            .file("b", "")
            .file("@REMOTE@/c", "old")
            .failure("[1] 00:00:00 [FAILURE] n1 copy: @REMOTE@/c: Not a directory (and another one)\n"),
        row("pscp -H n1 missing @REMOTE@/b").differs(SourcesCheckedFirst).stdout("").exit(1),
        row("pscp -H n1 a @REMOTE@/no/such/b")
            .file("a", "text\n")
            .differs(DirectoriesMade)
            .stdout("[1] 00:00:00 [SUCCESS] n1\n")
            .exit(0)
            .more("@REMOTE@/no/", "")
            .more("@REMOTE@/no/such/", "")
            .more("@REMOTE@/no/such/b", "text\n"),
        row("pscp -H dead a @REMOTE@/b")
            .file("a", "text\n")
            .failure("[1] 00:00:00 [FAILURE] dead connect: 127.0.1.1 port 1: Connection refused\n"),
        row("pscp -H n1 a").file("a", ""),
        row("pscp -H n1"),
        row("pscp a b").file("a", ""),
        row("pscp -H n1 d @REMOTE@").file("d/x", "1").differs(SourcesCheckedFirst).stdout("").exit(1),
    ]
}

/// pslurp. Debian's without -L takes HOST:PORT/FILE for a file on another host.
fn copies_down() -> Vec<Row> {
    vec![
        row("pslurp -L out -H n1:@PORT@ @REMOTE@/a b").file("@REMOTE@/a", "text\n"),
        row("pslurp -L out -H 'n1:@PORT@ n2:@PORT@' -p 1 @REMOTE@/a b").file("@REMOTE@/a", "text\n"),
        row("pslurp -r -L out -H n1:@PORT@ @REMOTE@/d e").file("@REMOTE@/d/x", "1").file("@REMOTE@/d/s/y", "2"),
        row("pslurp --local out/more -H n1:@PORT@ @REMOTE@/a b").file("@REMOTE@/a", "text\n"),
        row("pslurp -H n1:@PORT@ @REMOTE@/a b").variable("PSSH_LOCALDIR", "out").file("@REMOTE@/a", "text\n"),
        row("pslurp -L out -x -p -H n1:@PORT@ @REMOTE@/a b")
            .times()
            .file("@REMOTE@/a", "text\n")
            .file("out/n1:@PORT@/", ""),
        row("pslurp -L out -H n1:@PORT@ @REMOTE@/a b")
            .file("@REMOTE@/a", "new\n")
            .file("out/n1:@PORT@/b", "old, and longer\n"),
        row("pslurp -L out -H n1 @REMOTE@/a b")
            .file("@REMOTE@/a", "text\n")
            .differs(DirectoriesOfPslurp)
            .fewer("out/n1:None/")
            .fewer("out/n1:None/b")
            .more("out/n1/", "")
            .more("out/n1/b", "text\n"),
        row("pslurp -H n1:@PORT@ @REMOTE@/a b")
            .file("@REMOTE@/a", "text\n")
            .differs(DirectoriesOfPslurp)
            .stdout("[1] 00:00:00 [SUCCESS] n1:@PORT@\n")
            .exit(0)
            .more("n1:@PORT@/b", "text\n"),
        row("pslurp -L out -H n1:@PORT@ '@REMOTE@/a*' b").file("@REMOTE@/ax", "text\n"),
        row("pslurp -L out -H n1:@PORT@ @REMOTE@/a b").file("@REMOTE@/a", LONG).mode("@REMOTE@/a", 0o750),
        row("pslurp -L out -x -Or -H n1:@PORT@ @REMOTE@/d e").file("@REMOTE@/d/x", LONG).file("@REMOTE@/d/s/y", ""),
        row("pslurp -L out -H n1:@PORT@ '@REMOTE@/a b' 'c d'").file("@REMOTE@/a b", "text\n"),
        row("pslurp -L out -r -H n1:@PORT@ @REMOTE@/d e").file("@REMOTE@/d/x", "1").file("@REMOTE@/d/l", "-> x"),
        row("pslurp -L out -r -H n1:@PORT@ @REMOTE@/d e").file("@REMOTE@/d/x", "1").file("out/n1:@PORT@/e/y", "2"),
        row("pslurp -L out -H n1:@PORT@ @REMOTE@/d e")
            .file("@REMOTE@/d/x", "1")
            .failure("[1] 00:00:00 [FAILURE] n1:@PORT@ copy: @REMOTE@/d: it is a directory\n"),
        row("pslurp -L out -H n1:@PORT@ @REMOTE@/missing b")
            .failure("[1] 00:00:00 [FAILURE] n1:@PORT@ copy: @REMOTE@/missing: No such file or directory\n"),
        row("pslurp -H n1:@PORT@ @REMOTE@/a"),
        row("pslurp -H n1:@PORT@ @REMOTE@/a b c"),
        row("pslurp -H n1:@PORT@"),
    ]
}

/// prsync.
fn rsync() -> Vec<Row> {
    vec![
        row("prsync -H n1 a @REMOTE@/b").file("a", "text\n"),
        row("prsync -r -p 1 -H 'n1 n2' d @REMOTE@").file("d/x", "1").file("d/s/y", "2"),
        row("prsync -a -z -H n1 d/ @REMOTE@/e").times().file("d/x", "1"),
        row("prsync --arch --comp -H n1 d/ @REMOTE@/e").file("d/x", "1"),
        row("prsync -H n1 d/ @REMOTE@/e").variable("PSSH_ARCHIVE", "1").file("d/x", "1"),
        row("prsync -r -x '--delete --exclude y' -H n1 d/ @REMOTE@")
            .file("d/x", "1")
            .file("d/y", "2")
            .file("@REMOTE@/z", ""),
        row("prsync -S '-p @PORT@ -C' -H n1 a @REMOTE@").file("a", "text\n"),
        row("prsync -O Port=@PORT@ -l @ME@ -H n1:@PORT@ a @REMOTE@").file("a", "text\n"),
        row("prsync -H n1 missing @REMOTE@"),
        row("prsync -H dead a @REMOTE@")
            .file("a", "")
            .failure("[1] 00:00:00 [FAILURE] dead connect: 127.0.1.1 port 1: Connection refused\n"),
        row("prsync -H n1 a").file("a", ""),
        row("prsync -H n1"),
    ]
}

/// pnuke.
fn nuke() -> Vec<Row> {
    vec![
        row("pnuke -p 1 -H 'n1 n2' no-such-process-"),
        row("pnuke -H n1 '-f [n]o-such-process-'"),
        row("pnuke -H n1 @VICTIM@"),
        row("pnuke -H n1 -t 50 -x -4 \"-x '@VICTIM@'\""),
        row("pnuke -H n1:@PORT@ '-f @VICTIM@-and-more'"),
        row("pnuke -H dead x").failure("[1] 00:00:00 [FAILURE] dead connect: 127.0.1.1 port 1: Connection refused\n"),
        row("pnuke -H n1"),
        row("pnuke -H n1 a b"),
        row("pnuke x"),
    ]
}
