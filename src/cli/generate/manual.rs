//! The sections of the manual pages, except the options.

use crate::plan::program::Program;

/// A title and its paragraphs. A paragraph with a tab is a term and its explanation.
pub type Section = (&'static str, Vec<&'static str>);

/// Where the packages install the documents: packaging/stage.
const DOCUMENTS: &str = "/usr/share/doc/pssh-rs/docs\tguide.md, cheatsheet.md, recipes.md, when-things-go-wrong.md and others; \
     docs in the source tree. A tarball has them in share/doc/pssh-rs/docs";

const LISTS: &[&str] = &[
    "A hosts file has one [user@]host[:port] [user] [key=value]... per line; # starts a comment. Names can be ranges, \
             web[01-20], groups, @web, or groups of a source, @ec2:web, see pssh-config(5). An IPv6 address needs brackets only before a port. A host that is listed twice runs twice.",
    "A --host-config file sets the same in TOML: [host.\"web[01-20]\"], with the keys user, port, address, alias, identity, \
             password-file, proxy, proxy-command, connect-timeout, timeout, channel-timeout, num-retries, retry-delay, \
             host-key-check, known-hosts, agent and no-agent. If several tables match a host, the first one with a key sets \
             it. An entry in the list overrides --host-config, which overrides the command line, the environment and ssh_config(5).",
    "A list has at most 1,000,000 hosts, and a run 100,000: --shard gives a run a share of a longer list. K/N takes each Nth host from \
             the Kth on. slurm (SLURM_ARRAY_TASK_ID), k8s/N (JOB_COMPLETION_INDEX), aws (AWS_BATCH_JOB_ARRAY_INDEX), gitlab \
             (CI_NODE_INDEX) and nomad/N (NOMAD_ALLOC_INDEX) take the share of the task that the engine runs. hash: before any of \
             them takes hosts by a hash of their names, which is the same for lists that differ. The index of a host is its place in the \
             whole list. A share without hosts is a success.",
];

const OUTCOMES: &[&str] = &[
    "Every host of the list ends with exactly one of these outcomes. Only ok is success, unless --success says otherwise: a host that it \
     accepts keeps its outcome, and counts as ok in the exit status and in all reports.",
];

const OUTCOMES_OF_COMMANDS: &[&str] = &[
    "ok\texit status 0 was received",
    "exit N\tanother exit status was received, also 255; or 0, if it is not in the list of --success",
    "signal NAME\ta signal killed the command",
    "timeout PHASE\tno answer in time: connect, auth, command, silence",
    "cancelled\tthe host was stopped, or never started",
    "dns, connect, proxy, hostkey, auth, ssh\tthe attempt failed before the command was sent",
    "lost\tthe connection or channel ended without an exit status: the command may or may not have run",
    "check\tthe command succeeded, but --check did not pass in time",
    "local\tthe local side failed",
];

const OUTCOMES_OF_COPIES: &[&str] = &[
    "ok\tall files were copied and have the right size",
    "copy\ta file could not be copied; the message names the first one and counts the others",
    "timeout PHASE\tno answer in time: connect, auth, transfer, silence",
    "cancelled\tthe host was stopped, or never started",
    "dns, connect, proxy, hostkey, auth, ssh\tthe attempt failed before the copy started",
    "lost\tthe connection ended before everything was copied",
    "check\tall files were copied, but --check did not pass in time",
    "local\tthe local side failed, for example because the disk is full",
];

const OUTCOMES_OF_RSYNC: &[&str] = &[
    "ok\trsync exited with status 0",
    "exit N\trsync exited with another status; the hint explains it",
    "signal NAME\ta signal killed rsync, here or on the host",
    "timeout PHASE\tno answer in time: connect, auth, transfer, silence",
    "cancelled\tthe host was stopped, or never started",
    "dns, connect, proxy, hostkey, auth, ssh\tthe attempt failed before rsync started",
    "lost\tthe connection ended before rsync finished",
    "check\trsync succeeded, but --check did not pass in time",
    "local\tthe local side failed",
];

const STATUS: &[&str] = &[
    "0\tall hosts ended with ok",
    "1\tthe program itself failed, or a file given by an option cannot be read",
    "2\tusage: the command line or an input is wrong, or a known_hosts file exists and cannot be read; nothing was connected to. \
     With --max-status, a host may have ended with 2, too",
    "3\ta host ended with signal, timeout or cancelled",
];

const STATUS_FIVE: &[&str] = &[
    "4\ta host was not reached, or was lost",
    "5\ta command exited with a status other than 0, a check did not pass, or files could not be copied",
    "1 beats 3, which beats 4, which beats 5, as in pssh 2.3.6.",
];

const STATUS_FOUR: &[&str] = &[
    "4\ta host was not reached or was lost, not everything was copied, or a check did not pass",
    "1 beats 3, which beats 4, as in pssh 2.3.6.",
];

const AFTER_SIGNALS: &str =
    "After Ctrl-C, SIGTERM or SIGHUP, the program reports every host and then dies by that signal.";

const ENVIRONMENT: &[&str] = &[
    "PSSH_USER, PSSH_PAR, PSSH_TIMEOUT, PSSH_OUTDIR, PSSH_ERRDIR\tlike -l, -p, -t, -o and -e, which override them",
    "PSSH_ASKPASS, PSSH_VERBOSE\tlike -A and -v, unless empty, 0, no, false or off",
    "PSSH_OPTIONS\tone option like -O, before those of the command line",
    "PSSH_HOSTS\ta hosts file, before those of -h; deprecated",
    "SSH_ASKPASS, SSH_ASKPASS_REQUIRE\tthe program that asks for passwords without a terminal, as in ssh(1)",
    "SSH_AUTH_SOCK\tthe socket of the agent",
    "HOME\tthe directory of .ssh; if unset, the one in the password database",
];

/// The variables of one program.
fn own_variables(program: Program) -> &'static [&'static str] {
    match program {
        Program::Pssh => &["PSSH_PRINT, PSSH_INLINE\tlike -P and -i, unless empty, 0, no, false or off"],
        Program::Pscp => &["PSSH_RECURSIVE\tlike -r, unless empty, 0, no, false or off"],
        Program::Pslurp => &[
            "PSSH_RECURSIVE\tlike -r, unless empty, 0, no, false or off",
            "PSSH_LOCALDIR\tlike -L, which overrides it",
        ],
        Program::Prsync => {
            &["PSSH_RECURSIVE, PSSH_ARCHIVE, PSSH_COMPRESS\tlike -r, -a and -z, unless empty, 0, no, false or off"]
        }
        Program::Pnuke => &[],
    }
}

const OPTIONS_OF_SSH: &[&str] = &[
    "-x and -X take ssh(1)'s own options, which pssh itself understands, since it runs no ssh: -4 -6 -A -a -B -b -C -c -F -i -J -l -m \
     -o -p -q -T -t -v have their usual meaning; -k -n -x, -e none and -S none change nothing. All others are refused: pssh forwards \
     no ports and no X11, and shares no connections. -O, -l and the port of a host override -i, -J, -l, -o and -p; the other letters override -O.",
];

const OPTIONS_OF_SCP: &[&str] = &[
    "-x and -X take scp(1)'s own options, which the program itself understands, since it runs no scp: -4 -6 -A -B -C -c -F -i -J -O -o \
     -P -p -q -r -s -v have their usual meaning; -3 -R -T and -X change nothing. All others are refused. -O and the port of a host \
     override -B, -i, -J, -o and -P; the other letters override -O.",
];

const OPTIONS_OF_RSYNC: &[&str] = &[
    "-x and -X take options of rsync(1). A path that begins with - or has a colon remains a path: rsync gets it as ./PATH. -S takes \
     options of ssh, which prsync itself understands, since it runs no ssh: see pssh(1). The last -S counts.",
];

const FILES: &[&str] = &[
    "$XDG_CONFIG_HOME/pssh/config.toml, ~/.config/pssh/config.toml\tgroups of hosts and defaults for options, see pssh-config(5)",
    "~/.ssh/config, /etc/ssh/ssh_config\tsettings of hosts, see ssh_config(5)",
    "~/.ssh/known_hosts, /etc/ssh/ssh_known_hosts\thost keys, see sshd(8)",
    "~/.ssh/id_ed25519, ~/.ssh/id_ecdsa, ~/.ssh/id_rsa\tkeys, each with its certificate in FILE-cert.pub",
    DOCUMENTS,
    "/usr/share/doc/pssh-rs/schema\tthe JSON schemas of --json and --journal",
];

const EXAMPLES_PSSH: &[&str] = &[
    "pssh -H 'web1 root@web2:2222' uptime\ttwo hosts",
    "pssh -h hosts.txt -p 32 -t 1m30s ./deploy\tthe hosts of a file, 32 at once, at most a minute and a half for each command",
    "pssh -w 'web[01-20],db[1-3]' --format gather uname -r\tranges of hosts; equal output is shown once",
    "pssh -h hosts.txt 'cd /srv && ls | wc -l'\tone shell line, quoted for the local shell",
    "pssh -h hosts.txt -I 'cat > /etc/motd' < motd\tstandard input to every host",
    "pssh -h hosts.txt --host-args versions.csv 'deploy %(version)q'\teach host with its own value, quoted",
    "pssh -J bastion -h hosts.txt --sudo --script setup.sh\ta local script as root, behind a jump host",
    "pssh -h hosts.txt --journal deploy.journal --resume ./deploy\tcontinues a run that was interrupted; no command runs twice",
    "pssh --replay deploy.journal --failed-to failed.txt\tshows it again, and lists the hosts that failed",
];

const EXAMPLES_PSCP: &[&str] = &[
    "pscp -h hosts.txt motd /etc/motd\ta file to the hosts of a file",
    "pscp -h hosts.txt -r site /srv/www\ta directory, to /srv/www/site, or to /srv/www if that does not exist",
    "pscp -H 'web1 web2' a.conf b.conf /etc/app/\ttwo files into a directory, which is created if it is missing",
    "pscp -h hosts.txt --sudo sshd_config /etc/ssh/\tas root",
    "pscp -h hosts.txt --resume --checksum image.iso /srv/\tcontinues an interrupted run, and compares checksums",
    "pscp -H web1 --download /var/log/app.log logs\tfrom web1, to logs/web1/app.log",
];

const EXAMPLES_PSLURP: &[&str] = &[
    "pslurp -h hosts.txt -L logs /var/log/app.log app.log\tto logs/HOST/app.log",
    "pslurp -h hosts.txt -r -L etc /etc/nginx nginx\tdirectories, to etc/HOST/nginx",
    "pslurp -H 'web1 web2' '/var/log/*.gz' old\tall matching files, to web1/old/ and web2/old/",
];

const EXAMPLES_PRSYNC: &[&str] = &[
    "prsync -h hosts.txt -a site/ /srv/www\ta directory, only the changes",
    "prsync -h hosts.txt -r -z -X --delete d /srv\twith an option of rsync",
    "prsync -H web1 -r --download /var/log/app logs\tfrom web1, to logs/web1",
];

const EXAMPLES_PNUKE: &[&str] = &[
    "pnuke -h hosts.txt java\tkills all processes with java in their name",
    "pnuke -h hosts.txt -- '-u app java'\tthose of one user, with options of pkill(1)",
    "pnuke -h hosts.txt --sudo -- '-f daemon.py'\tas root, matching whole command lines",
];

const COPYING: &[&str] = &[
    "Remote paths are relative to the login user's home directory. As with scp(1), a copy into an existing directory keeps its name; \
     otherwise the target is its new name. Missing parent directories are created.",
    "Files go over SFTP, or by scp(1) where a host has no SFTP server; --checksum and --resume need SFTP. A file is written under a \
     temporary name in the directory of its target, .NAME.pssh-SOMETHING, and renamed once it is complete: the target is always \
     the old file or the new one. If the connection is lost, the temporary file remains, and the hint names it. Links \
     are followed; devices and FIFOs are written to directly.",
    "A replaced file is a new file: it keeps its mode, and its owner where possible (--preserve uses those of the source), but \
     loses its ACLs, extended attributes, hard links and SELinux label. --inplace writes into the existing file and keeps them all; \
     it needs no rename, no new file and no space for both.",
    "As with scp(1), files that cannot be copied are skipped, and so are directories without -r; the host ends with the outcome copy, \
     which names them. A missing local path on the command line is an error before the first connection.",
];

const SLURPING: &[&str] = &[
    "Each host has its own directory, HOST, or HOST:PORT if a port was given, below the directory of -L or the current one; a host that \
     is listed again has HOST.1, and so on. REMOTE can be a pattern with *, ? and [...], which is matched on the host. Links on the \
     host are followed; a name that leads out of the host's directory is refused.",
];

const VALUES: &[&str] = &[
    "--host-args, --host-arg and --template replace these in the command. Without them, % is an ordinary character.",
    "%q, %(name)q\tthe next value, or the named one, quoted as one word for the shell; put no quotes around it",
    "%s, %(name)s\tthe same, unquoted: the shell interprets it",
    "%d, %(name)d\tthe same, if it is a whole number",
    "%%\ta percent sign",
    "%(host)s, %(user)s, %(port)s and %(index)s are known for all hosts, the index from 0; --template is enough for these.",
    "A file of --host-args has a row for each host: CSV, TSV (if its name ends so), a JSON array, or JSON Lines of values, arrays or \
     objects. The first line of CSV is a header if the command names all values, and data otherwise. If rows have a \"host\" \
     (--host-column names another column), it says which host each row is for; otherwise they are in the order of the hosts.",
];

const NUKING: &[&str] = &[
    "Each host runs pkill -9 PATTERN, which kills the processes that the login user may kill; --sudo runs it as root. If nothing \
     matches, pkill(1) exits with status 1: the host's line says so, and it counts as a failure, as in pssh.",
];

const SYNCING: &[&str] = &[
    "prsync starts an rsync(1) for each host, with itself as the remote shell: it uses the host's connection, so jump hosts, host keys \
     and passwords work as in pssh(1). The output of rsync is the host's output.",
];

/// Returns the sections of a program's page.
pub fn sections(program: Program) -> Vec<Section> {
    let (about, examples): (Option<Section>, &[&str]) = match program {
        Program::Pssh => (Some(("VALUES FOR EACH HOST", VALUES.to_vec())), EXAMPLES_PSSH),
        Program::Pscp => (Some(("HOW FILES ARE COPIED", COPYING.to_vec())), EXAMPLES_PSCP),
        Program::Pslurp => (Some(("HOW FILES ARE COPIED", [SLURPING, COPYING].concat())), EXAMPLES_PSLURP),
        Program::Prsync => (Some(("HOW FILES ARE COPIED", SYNCING.to_vec())), EXAMPLES_PRSYNC),
        Program::Pnuke => (Some(("PATTERNS", NUKING.to_vec())), EXAMPLES_PNUKE),
    };
    let outcomes = match program {
        Program::Pscp | Program::Pslurp => OUTCOMES_OF_COPIES,
        Program::Prsync => OUTCOMES_OF_RSYNC,
        Program::Pssh | Program::Pnuke => OUTCOMES_OF_COMMANDS,
    };
    let status = if matches!(program, Program::Pscp | Program::Prsync) { STATUS_FOUR } else { STATUS_FIVE };
    let lists = ("LISTS OF HOSTS", LISTS.to_vec());
    let outcomes = ("OUTCOMES", [OUTCOMES, outcomes].concat());
    let status = ("EXIT STATUS", [STATUS, status, &[AFTER_SIGNALS]].concat());
    let of_ssh = match program {
        Program::Pssh | Program::Pnuke => ("OPTIONS OF SSH", OPTIONS_OF_SSH.to_vec()),
        Program::Pscp | Program::Pslurp => ("OPTIONS OF SCP", OPTIONS_OF_SCP.to_vec()),
        Program::Prsync => ("OPTIONS OF RSYNC AND SSH", OPTIONS_OF_RSYNC.to_vec()),
    };
    let variables = [own_variables(program), ENVIRONMENT].concat();
    let rest = [("ENVIRONMENT", variables), ("FILES", FILES.to_vec()), ("EXAMPLES", examples.to_vec())];
    about.into_iter().chain([lists, of_ssh, outcomes, status]).chain(rest).collect()
}
