complete -c pssh -s h -l hosts -d 'File with hosts, one `[user@]host[:port] [user] [key=value]...` a line; - is standard input; may be repeated' -r -F
complete -c pssh -s H -l host -d 'Hosts, separated by blanks: `[user@]host[:port]`, web[1-9] or @group; may be repeated' -r -f -a "(__fish_print_hostnames)"
complete -c pssh -s w -l nodes -d 'Hosts, separated by commas: ranges, web[1-9], and @groups; ! takes away, & leaves what is in both; may be repeated' -r -f -a "(__fish_print_hostnames)"
complete -c pssh -l only -d 'Of all hosts take these: names, ranges, @groups, patterns, \'web*\', and regular expressions, \'/^db/\'; may be repeated' -r -f -a "(__fish_print_hostnames)"
complete -c pssh -l exclude -d 'Leave these hosts out, in the format of --only; may be repeated' -r -f -a "(__fish_print_hostnames)"
complete -c pssh -s g -l host-glob -d 'Of the hosts in files take those whose names fit this pattern, such as \'web[0-9]*\'; --only is for all hosts' -r
complete -c pssh -s l -l user -d 'Login name where the host\'s entry has none' -r -f -a "(__fish_complete_users)"
complete -c pssh -l host-config -d 'TOML file with a table for each host, `[host."web1"]`, range, `web[1-9]`, or pattern, `*.example.com`; may be repeated' -r -F
complete -c pssh -s p -l par -l pool-size -d 'How many hosts run at once [default: 10]' -r
complete -c pssh -s t -l timeout -d 'Stop a command that takes longer: 90, 1m30s; 0 is never [default: never]' -r
complete -c pssh -l channel-timeout -d 'Stop a command that prints nothing for this time; 0 is never [default: never]' -r
complete -c pssh -l total-timeout -d 'Stop everything after this time; 0 is never [default: never]' -r
complete -c pssh -l stop-on-errors -d 'Stop everything once N hosts, or N% of them, have failed [default: 1 if only named]' -r
complete -c pssh -l script -d 'Run this local script, by the interpreter of its first line; the words of the command are its arguments; - is standard input' -r -F
complete -c pssh -l host-args -d 'Rows of values for the hosts, to fill in: %q in the command, or %(name)q by name. - is standard input. See below' -r -F
complete -c pssh -l host-column -d 'The column of --host-args that says which host each row is for' -r
complete -c pssh -l host-arg -d 'A value for one host, to fill in: HOST=VALUE for %q, HOST:NAME=VALUE for %(NAME)q; may be repeated' -r
complete -c pssh -l shell -d 'Run the command by this shell instead of the login shell, such as \'bash -c\'' -r -f -a "(__fish_complete_command)"
complete -c pssh -l env -d 'Set a variable for the commands, NAME alone to its value here, which nobody sees in the list of processes; hosts may refuse it (AcceptEnv), which is told at the end; may be repeated' -r
complete -c pssh -l run-as -d 'Run the command as this user, by sudo' -r -f -a "(__fish_complete_users)"
complete -c pssh -l sudo-password-file -d 'Read sudo\'s password from a file that nobody else can read' -r -F
complete -c pssh -s F -l config-file -d 'Read this file instead of ~/.ssh/config and /etc/ssh/ssh_config; none is none' -r -F
complete -c pssh -s O -l option -l ssh-option -d 'Option in the format of ssh_config, such as Compression=yes; may be repeated' -r
complete -c pssh -s x -l extra-args -d 'Options of ssh itself in its own letters, such as \'-p 2222 -tt\', with quotes as in a shell; may be repeated' -r
complete -c pssh -s X -l extra-arg -d 'One word of such options, as it is; may be repeated' -r
complete -c pssh -l connect-timeout -d 'Time limit of each attempt to connect and log in [default: 120]' -r
complete -c pssh -l num-retries -d 'Attempts to reach a host, including the first; three times as many if it is busy; no command is sent twice [default: 3]' -r
complete -c pssh -l retry-delay -d 'Pause between two attempts, give or take a fifth [default: 5]' -r
complete -c pssh -l identity -d 'Private key to authenticate with, instead of the default ones; may be repeated' -r -F
complete -c pssh -l agent -d 'Ask this agent for keys instead of $SSH_AUTH_SOCK' -r -F
complete -c pssh -l password-file -d 'Read the password from a file that nobody else can read' -r -F
complete -c pssh -l password-fd -d 'Read the password from an open file descriptor, such as 3 with 3<FILE' -r
complete -c pssh -l password-command -d 'Take the password from the output of a shell command, such as a password manager\'s' -r -f -a "(__fish_complete_command)"
complete -c pssh -l password-prompt -d 'Also answer a server\'s questions that match this regular expression with the password' -r
complete -c pssh -l host-key-check -d 'What to do with host keys that are not known [default: strict]' -r -f -a "strict\t'Refuse unknown and changed keys'
accept-new\t'Add the key of a host that is not known yet; refuse changed ones'
off\t'Take any key: whoever is in the middle can read and change everything'"
complete -c pssh -l known-hosts -d 'Look for host keys in this file only, or in `none`; may be repeated' -r -F
complete -c pssh -s J -l jump -d 'Reach the hosts through these jump hosts, the first first; none is none' -r -f -a "(__fish_print_hostnames)"
complete -c pssh -l proxy-host -d 'Reach the hosts through this jump host' -r -f -a "(__fish_print_hostnames)"
complete -c pssh -l proxy-port -d 'Port of the jump host [default: 22]' -r
complete -c pssh -l proxy-user -d 'Login name on the jump host [default: yours here]' -r -f -a "(__fish_complete_users)"
complete -c pssh -l proxy-identity -d 'Private key that is tried first on the jump host, and nowhere else' -r -F
complete -c pssh -l proxy-password-file -d 'Read the password for the jump host from this file; it gets no other, and nobody else gets this one' -r -F
complete -c pssh -l proxy-connections -d 'Connections to a jump host, at most, while hosts wait for theirs [default: 8]' -r
complete -c pssh -l proxy-command -d 'Talk to each host by this local command; %h, %p and %r are its name, port and user; none is none' -r -f -a "(__fish_complete_command)"
complete -c pssh -l format -d 'How output is shown [default: lines]' -r -f -a "lines\t'Lines as they come, with their host in front'
inline\t'The output of each host in one piece when it ends'
status\t'pssh\'s line for each host that has ended, and no output'
gather\t'One block for all hosts with the same output'
json\t'A JSON object a line for all that happens'
none\t'Nothing: only the exit status'"
complete -c pssh -s o -l outdir -d 'Write standard output into a file for each host in this directory, besides' -r -f -a "(__fish_complete_directories)"
complete -c pssh -s e -l errdir -d 'Write standard error into a file for each host in this directory, besides' -r -f -a "(__fish_complete_directories)"
complete -c pssh -l progress -d 'Show how far the run is on standard error [default: on a terminal]' -r -f -a "auto\t'On a terminal that can do it'
always\t'Wherever output goes'
never\t'Nowhere'"
complete -c pssh -l color -l colour -d 'Colour what is ours [default: on a terminal]; NO_COLOR and CLICOLOR_FORCE are known' -r -f -a "auto\t'On a terminal that can do it'
always\t'Wherever output goes'
never\t'Nowhere'"
complete -c pssh -l prefix -d 'What lines start with: text with {label}, {host}, {user}, {port} and {index} [default: \'{label}: \']' -r
complete -c pssh -l encoding -d 'Show output that is in this encoding as UTF-8, such as latin1 or sjis [default: bytes as they come]' -r
complete -c pssh -l ci-groups -d 'With --format gather or inline: fold what hosts print in the log of a CI system' -r -f -a "auto\t'Those of the system that the run is in, if it is one of these'
github\t'GitHub Actions, and what understands its commands (Gitea, Forgejo)'
gitlab\t'GitLab CI'"
complete -c pssh -l failed-to -d 'Write the hosts that failed to this hosts file; over a file of -h, its comments stay' -r -F
complete -c pssh -l junit -d 'Write a report for CI systems to this file: JUnit\'s XML, a test case for each host' -r -F
complete -c pssh -l generate -d 'Print the manual page or the completions for a shell' -r -f -a "man\t''
bash\t''
zsh\t''
fish\t''"
complete -c pssh -s I -l send-input -d 'Send standard input to every command; without it, standard input is not read'
complete -c pssh -l template -d 'Fill in what is known of every host, without other values: %(host)q, %(user)q, %(port)s and %(index)s in the command'
complete -c pssh -l no-shell -d 'Run the command as if without a shell: its words reach the program as they are, and nothing in them is expanded'
complete -c pssh -l forward-agent -d 'Let the commands use your agent: whoever is root on a host can log in as you meanwhile'
complete -c pssh -l pty -l tty -d 'Give the commands a terminal; what they write to stderr comes with stdout then'
complete -c pssh -l sudo -d 'Run the command by sudo; its password is asked for on the terminal once, when a host first wants it'
complete -c pssh -l no-agent -d 'Ask no agent for keys'
complete -c pssh -s 4 -d 'Connect to IPv4 addresses only'
complete -c pssh -s 6 -d 'Connect to IPv6 addresses only'
complete -c pssh -s C -l compression -d 'Compress what is sent and received'
complete -c pssh -s A -l askpass -d 'Ask once for a password; it also opens encrypted keys'
complete -c pssh -l fileappend -d 'Add to the files of hosts instead of replacing them'
complete -c pssh -l raw -d 'Pass on what hosts print unchanged: to a terminal control sequences, to the log of a CI system its commands'
complete -c pssh -l no-headers -d 'Leave out the lines that say how each host has ended, and with -i the word before standard error; only failures are told, on standard error'
complete -c pssh -s P -l print -d 'Show lines as they come, as --format lines does, and pssh\'s line for each host that has ended on standard output'
complete -c pssh -s i -l inline -d 'Show the output of each host in one piece when it ends, below pssh\'s line; the same as --format inline'
complete -c pssh -l inline-stdout -d 'The same without standard error'
complete -c pssh -l sort -d 'Show hosts in the order of the list, with --format inline'
complete -c pssh -l no-prefix -d 'Show lines without their host'
complete -c pssh -l align -d 'Pad prefixes, so that what follows them is aligned'
complete -c pssh -l diff -d 'With --format gather: show how the others differ from the largest group of hosts'
complete -c pssh -l expect-same -d 'Fail, with exit status 5, if not all hosts have the same output and outcome'
complete -c pssh -l json -d 'The same as --format json'
complete -c pssh -s q -l quiet -d 'Show nothing of hosts that are well; of the others the outcome, a hint and the last lines, on stderr'
complete -c pssh -l times -d 'Tell at the end how long the parts took, and which hosts took longest'
complete -c pssh -l max-status -d 'Exit with the largest exit status of all hosts; a host without one counts as 255'
complete -c pssh -s v -l verbose -d 'Tell what is done for each host'
complete -c pssh -l dry-run -d 'Show the command of each host as it would be sent, connect to nothing and ask for no password'
complete -c pssh -l explain -d 'Show for each host every setting but the values of variables, and where it comes from; connect to nothing'
complete -c pssh -l help -d 'Show this help'
complete -c pssh -s V -l version -d 'Show the version'
