//! The sections of the manual pages besides the options.

use crate::plan::program::Program;

/// A title, and paragraphs, of which those with a tab are a term and its explanation.
pub type Section = (&'static str, Vec<&'static str>);

const LISTS: &[&str] = &[
    "A hosts file has one [user@]host[:port] [user] [key=value]... per line; # starts a comment. Names may have ranges, \
             web[01-20], and stand for groups, @web. An IPv6 address needs brackets only before a port. The same host twice is two hosts.",
    "--host-config says the same in TOML: [host.\"web[01-20]\"], with the keys user, port, address, alias, identity, \
             password-file, proxy, proxy-command, connect-timeout, timeout, channel-timeout, num-retries, retry-delay, \
             host-key-check, known-hosts, agent and no-agent. Of several tables that fit a host, the first one that has a key \
             counts. An entry in the list beats --host-config, which beats the command line, the environment and ssh_config(5).",
];

const OUTCOMES: &[&str] = &["Every host of the list ends in exactly one of these. Only ok is success."];

const OUTCOMES_OF_COMMANDS: &[&str] = &[
    "ok\texit status 0 was received",
    "exit N\tanother exit status was received, also 255",
    "signal NAME\tthe command died by a signal",
    "timeout PHASE\tno answer in time: connect, auth, command, silence",
    "cancelled\tstopped by us, or never started",
    "dns, connect, proxy, hostkey, auth, ssh\tit did not get as far as running the command",
    "lost\tthe connection or channel ended without an exit status: the command may or may not have run",
    "local\tour side failed",
];

const OUTCOMES_OF_COPIES: &[&str] = &[
    "ok\tall files are there, of the right size, each in its place",
    "copy\ta file could not be copied; the message has the first, and how many more there are",
    "timeout PHASE\tno answer in time: connect, auth, transfer, silence",
    "cancelled\tstopped by us, or never started",
    "dns, connect, proxy, hostkey, auth, ssh\tit did not get as far as copying",
    "lost\tthe connection ended before everything was copied",
    "local\tour side failed, such as a disk that is full",
];

const OUTCOMES_OF_RSYNC: &[&str] = &[
    "ok\trsync has ended with exit status 0",
    "exit N\trsync has ended with another one; the hint says what it means",
    "signal NAME\trsync died by a signal, here or there",
    "timeout PHASE\tno answer in time: connect, auth, transfer, silence",
    "cancelled\tstopped by us, or never started",
    "dns, connect, proxy, hostkey, auth, ssh\tit did not get as far as starting rsync",
    "lost\tthe connection ended before rsync was done",
    "local\tour side failed",
];

const STATUS: &[&str] = &[
    "0\tall hosts ended in ok",
    "1\tpssh itself failed, or a file cannot be read, whichever option names it",
    "2\tusage: the command line or an input is wrong, or a known_hosts file exists and cannot be read; nothing was connected to",
    "3\ta host ended in signal, timeout or cancelled",
];

const STATUS_FIVE: &[&str] = &[
    "4\ta host was not reached, or lost",
    "5\ta command ended with another exit status than 0, or files could not be copied",
    "1 beats 3, which beats 4, which beats 5, as in pssh 2.3.6.",
];

const STATUS_FOUR: &[&str] =
    &["4\ta host was not reached or lost, or not everything was copied", "1 beats 3, which beats 4, as in pssh 2.3.6."];

const AFTER_SIGNALS: &str =
    "After Ctrl-C, SIGTERM or SIGHUP every host is reported, and the program dies by that signal.";

const ENVIRONMENT: &[&str] = &[
    "PSSH_USER, PSSH_PAR, PSSH_TIMEOUT, PSSH_OUTDIR, PSSH_ERRDIR\tas -l, -p, -t, -o and -e; options beat them",
    "PSSH_ASKPASS, PSSH_VERBOSE\tas -A and -v, unless they are empty, 0, no, false or off",
    "PSSH_OPTIONS\tone option as of -O, before those",
    "PSSH_HOSTS\ta hosts file, before those of -h; deprecated",
    "SSH_ASKPASS, SSH_ASKPASS_REQUIRE\tthe program that asks where there is no terminal, as for ssh(1)",
    "SSH_AUTH_SOCK\tthe agent that is asked for keys",
    "HOME\twhere .ssh is; else the password database says",
];

/// The variables that not all programs have.
fn own_variables(program: Program) -> &'static [&'static str] {
    match program {
        Program::Pssh => &["PSSH_PRINT, PSSH_INLINE\tas -P and -i, unless they are empty, 0, no, false or off"],
        Program::Pscp => &["PSSH_RECURSIVE\tas -r, unless it is empty, 0, no, false or off"],
        Program::Pslurp => &[
            "PSSH_RECURSIVE\tas -r, unless it is empty, 0, no, false or off",
            "PSSH_LOCALDIR\tas -L; the option beats it",
        ],
        Program::Prsync => &[
            "PSSH_RECURSIVE, PSSH_ARCHIVE, PSSH_COMPRESS\tas -r, -a and -z, unless they are empty, 0, no, false or off",
        ],
        Program::Pnuke => &[],
    }
}

const OPTIONS_OF_SSH: &[&str] = &[
    "-x and -X take ssh(1)'s own options, which are understood here, as no ssh is run: -4 -6 -A -a -B -b -C -c -F -i -J -l -m -o -p \
     -q -T -t -v with their meaning; -k -n -x, -e none and -S none, which change nothing. All others are refused: of ports, X11 and \
     shared connections there are none here. They count as for ssh behind -O, -l and the port of a host.",
];

const OPTIONS_OF_SCP: &[&str] = &[
    "-x and -X take scp(1)'s own options, which are understood here, as no scp is run: -4 -6 -A -B -C -c -F -i -J -O -o -P -p -q -r -s \
     -v with their meaning; -3 -R -T and -X, which change nothing. All others are refused. They count as for scp behind -O and the \
     port of a host.",
];

const OPTIONS_OF_RSYNC: &[&str] = &[
    "-x and -X take options of rsync(1), which stand nowhere else: a path that begins with - or has a colon is a path, and rsync gets it \
     as ./PATH. Options of ssh are for -S; they are understood here, as no ssh is run: see pssh(1). Of several -S \
     the last one counts.",
];

const FILES: &[&str] = &[
    "$XDG_CONFIG_HOME/pssh/config.toml, ~/.config/pssh/config.toml\tgroups of hosts and defaults for options, see pssh-config(5)",
    "~/.ssh/config, /etc/ssh/ssh_config\tsettings of hosts, see ssh_config(5)",
    "~/.ssh/known_hosts, /etc/ssh/ssh_known_hosts\thost keys, see sshd(8)",
    "~/.ssh/id_ed25519, ~/.ssh/id_ecdsa, ~/.ssh/id_rsa\tkeys, each with its certificate in FILE-cert.pub",
];

const EXAMPLES_PSSH: &[&str] = &[
    "pssh -H 'web1 root@web2:2222' uptime\ttwo hosts",
    "pssh -h hosts.txt -p 32 -t 1m30s ./deploy\tthe hosts of a file, 32 at once, a minute and a half for each command",
    "pssh -w 'web[01-20],db[1-3]' --format gather uname -r\tranges; equal output is shown once",
    "pssh -h hosts.txt 'cd /srv && ls | wc -l'\tone shell line, quoted once for our shell",
    "pssh -h hosts.txt -I 'cat > /etc/motd' < motd\tstandard input, to every host",
    "pssh -h hosts.txt --host-args versions.csv 'deploy %(version)q'\teach host with its own value, quoted",
    "pssh -J bastion -h hosts.txt --sudo --script setup.sh\ta local script as root, behind a jump host",
];

const EXAMPLES_PSCP: &[&str] = &[
    "pscp -h hosts.txt motd /etc/motd\ta file to the hosts of a file",
    "pscp -h hosts.txt -r site /srv/www\ta directory: /srv/www/site, or /srv/www if that is not there yet",
    "pscp -h hosts.txt --sudo sshd_config /etc/ssh/\tas root",
    "pscp -h hosts.txt --resume --checksum image.iso /srv/\tgoes on where an interrupted run has stopped, and compares sums",
    "pscp -H web1 --download /var/log/app.log logs\tfrom web1, to logs/web1/app.log",
];

const EXAMPLES_PSLURP: &[&str] = &[
    "pslurp -h hosts.txt -L logs /var/log/app.log app.log\tto logs/HOST/app.log",
    "pslurp -h hosts.txt -r -L etc /etc/nginx nginx\tdirectories, to etc/HOST/nginx",
    "pslurp -H 'web1 web2' '/var/log/*.gz' old\tall that the hosts have, to web1/old/ and web2/old/",
];

const EXAMPLES_PRSYNC: &[&str] = &[
    "prsync -h hosts.txt -a site/ /srv/www\ta directory, only what has changed",
    "prsync -h hosts.txt -r -z -X --delete d /srv\twith an option for rsync",
    "prsync -H web1 -r --download /var/log/app logs\tfrom web1, to logs/web1",
];

const EXAMPLES_PNUKE: &[&str] = &[
    "pnuke -h hosts.txt java\tkills all processes whose name has java in it",
    "pnuke -h hosts.txt -- '-u app java'\tthose of one user: the pattern is what pkill(1) takes",
    "pnuke -h hosts.txt --sudo -- '-f daemon.py'\tas root, whole command lines",
];

const COPYING: &[&str] = &[
    "Paths on hosts are relative to the home directory there. What is copied into an existing directory keeps its name; otherwise \
     the target is its new name, as with scp(1). Directories that are missing on the way are made.",
    "Files go over SFTP, or by scp(1) where a host has no SFTP server; --checksum and --resume need SFTP. A file is written under a \
     temporary name in the directory of its target, .NAME.pssh-SOMETHING, and renamed once all of it is there: whatever \
     happens, there is the old file or the new one. If the connection is lost, the temporary file is left there, and the hint names it. A \
     link is written through; a device or a FIFO is written to as it is.",
    "A file that is replaced is a new file: it keeps its mode, and its owner where possible (--preserve gives it those of its source), but \
     its ACLs, extended attributes, hard links and SELinux label are those of a new file. --inplace writes into the file that is there, \
     and keeps them all; it needs no rename, no new file and no room for both.",
    "As with scp(1), what a directory contains that cannot be copied is skipped, and so is a directory without -r; the host ends in copy, \
     with the names. A local path of the command line that is not there is an error before anything is connected to.",
];

const SLURPING: &[&str] = &[
    "Each host has a directory of its own, HOST or HOST:PORT where a port was given, below that of -L or the current one; a host that is \
     listed again has HOST.1 and so on. REMOTE may have *, ? and [...], which are matched on the host. Links on the host are followed; \
     a name that leads out of the host's directory is refused.",
];

const NUKING: &[&str] = &[
    "Each host runs pkill -9 PATTERN, which kills what the login user may kill; --sudo lets root do it. That nothing has matched is \
     exit status 1 of pkill(1): the host's line says so, and it counts as a failure, as in pssh.",
];

const SYNCING: &[&str] = &[
    "Each host has an rsync(1) of its own here, whose remote shell is this program: it uses the connection that was made for the host, so \
     that jump hosts, host keys and passwords are as for pssh(1). What rsync prints is the host's output.",
];

/// The sections of a program's page.
pub fn sections(program: Program) -> Vec<Section> {
    let (about, examples): (Option<Section>, &[&str]) = match program {
        Program::Pssh => (None, EXAMPLES_PSSH),
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
