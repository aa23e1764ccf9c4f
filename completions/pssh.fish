# Completions of pssh for fish, made by pssh --generate fish.

# Whether no word of the command, and no --, stands before the cursor.
function __pssh_at_options
    set -l value no
    for word in (commandline -opc)[2..-1]
        if test $value = yes
            set value no
            continue
        end
        switch $word
            case --
                return 1
            case '--*=*'
            case '--*'
                contains -- $word --hosts --host --nodes --only --exclude --host-glob --user --host-config --par --pool-size --timeout --channel-timeout --total-timeout --script --host-args --host-column --host-arg --shell --env --run-as --sudo-password-file --config-file --option --ssh-option --extra-args --extra-arg --connect-timeout --num-retries --retry-delay --identity --agent --password-file --password-fd --password-command --password-prompt --host-key-check --known-hosts --jump --proxy-host --proxy-port --proxy-user --proxy-identity --proxy-password-file --proxy-connections --proxy-command --format --outdir --errdir --progress --color --colour --prefix --encoding --ci-groups --failed-to --junit --generate; and set value yes
            case '-?*'
                string match -qr -- '^-[^hHwglptFOxXJoe]*[hHwglptFOxXJoe]$' $word; and set value yes
            case '*'
                return 1
        end
    end
    return 0
end

# The hosts and groups that pssh knows, behind what is typed already; $argv[1] has what may stand between two of them.
function __pssh_hosts
    set -l typed (commandline -ct | string replace -r -- '^--[^=]*=' '' | string replace -r -- '^-[hHwglptFOxXJoe]' '' | string trim -l -c '"\'')
    set -l before
    if test -n "$argv[1]"
        set before (string match -r -- "^.*[$argv[1]]" "$typed")
    end
    set -l item (string sub -s (math (string length -- "$before") + 1) -- "$typed")
    # The user stays.
    set -l user (string match -r -- '^[^@]+@' "$item")
    set -l program (commandline -opc)[1]
    for name in (command $program --generate hosts 2>/dev/null)
        if test -z "$user"; or not string match -q -- '@*' $name
            echo "$before$user$name"
        end
    end
end

complete -c pssh -n __pssh_at_options -s h -l hosts -d 'File with hosts, one `[user@]host[:port] [user] [key=value]...` a line' -r -F
complete -c pssh -n __pssh_at_options -s H -l host -d 'Hosts, separated by blanks: `[user@]host[:port]`, web[1-9] or @group' -x -a "(__pssh_hosts ' ')"
complete -c pssh -n __pssh_at_options -s w -l nodes -d 'Hosts, separated by commas: ranges, web[1-9], and @groups' -x -a "(__pssh_hosts ',!&^')"
complete -c pssh -n __pssh_at_options -l only -d 'Of all hosts take these: names, ranges, @groups, patterns, \'web*\', and regular expressions, \'/^db/\'' -x -a "(__pssh_hosts ',!&^')"
complete -c pssh -n __pssh_at_options -l exclude -d 'Leave these hosts out, in the format of --only' -x -a "(__pssh_hosts ',!&^')"
complete -c pssh -n __pssh_at_options -s g -l host-glob -d 'Of the hosts in files take those whose names fit this pattern, such as \'web[0-9]*\'' -x
complete -c pssh -n __pssh_at_options -s l -l user -d 'Login name where the host\'s entry has none' -x -a '(__fish_complete_users)'
complete -c pssh -n __pssh_at_options -l host-config -d 'TOML file with a table for each host, `[host."web1"]`, range, `web[1-9]`, or pattern, `*.example.com`' -r -F
complete -c pssh -n __pssh_at_options -s p -l par -l pool-size -d 'How many hosts run at once [default: 10]' -x
complete -c pssh -n __pssh_at_options -s t -l timeout -d 'Stop a command that takes longer: 90, 1m30s' -x
complete -c pssh -n __pssh_at_options -l channel-timeout -d 'Stop a command that prints nothing for this time' -x
complete -c pssh -n __pssh_at_options -l total-timeout -d 'Stop everything after this time' -x
complete -c pssh -n __pssh_at_options -l stop-on-errors -d 'Stop everything once N hosts, or N% of them, have failed [default: 1 if only named]'
complete -c pssh -n __pssh_at_options -s I -l send-input -d 'Send standard input to every command'
complete -c pssh -n __pssh_at_options -l script -d 'Run this local script, by the interpreter of its first line' -r -F
complete -c pssh -n __pssh_at_options -l host-args -d 'Rows of values for the hosts, to fill in: %q in the command, or %(name)q by name. - is standard input. See below' -r -F
complete -c pssh -n __pssh_at_options -l host-column -d 'The column of --host-args that says which host each row is for' -x
complete -c pssh -n __pssh_at_options -l host-arg -d 'A value for one host, to fill in: HOST=VALUE for %q, HOST:NAME=VALUE for %(NAME)q' -x
complete -c pssh -n __pssh_at_options -l template -d 'Fill in what is known of every host, without other values: %(host)q, %(user)q, %(port)s and %(index)s in the command'
complete -c pssh -n __pssh_at_options -l shell -d 'Run the command by this shell instead of the login shell, such as \'bash -c\'' -x -a '(__fish_complete_command)'
complete -c pssh -n __pssh_at_options -l no-shell -d 'Run the command as if without a shell: its words reach the program as they are, and nothing in them is expanded'
complete -c pssh -n __pssh_at_options -l ping -d 'Connect and log in, and run nothing'
complete -c pssh -n __pssh_at_options -l forward-agent -d 'Let the commands use your agent: whoever is root on a host can log in as you meanwhile'
complete -c pssh -n __pssh_at_options -l pty -l tty -d 'Give the commands a terminal'
complete -c pssh -n __pssh_at_options -l env -d 'Set a variable for the commands, NAME alone to its value here, which nobody sees in the list of processes' -x
complete -c pssh -n __pssh_at_options -l sudo -d 'Run the command by sudo'
complete -c pssh -n __pssh_at_options -l run-as -d 'Run the command as this user, by sudo' -x -a '(__fish_complete_users)'
complete -c pssh -n __pssh_at_options -l sudo-password-file -d 'Read sudo\'s password from a file that nobody else can read' -r -F
complete -c pssh -n __pssh_at_options -s F -l config-file -d 'Read this file instead of ~/.ssh/config and /etc/ssh/ssh_config' -r -F
complete -c pssh -n __pssh_at_options -s O -l option -l ssh-option -d 'Option in the format of ssh_config, such as Compression=yes' -x
complete -c pssh -n __pssh_at_options -s x -l extra-args -d 'Options of ssh itself in its own letters, such as \'-p 2222 -tt\', with quotes as in a shell' -x
complete -c pssh -n __pssh_at_options -s X -l extra-arg -d 'One word of such options, as it is' -x
complete -c pssh -n __pssh_at_options -l connect-timeout -d 'Time limit of each attempt to connect and log in [default: 120]' -x
complete -c pssh -n __pssh_at_options -l num-retries -d 'Attempts to reach a host, including the first' -x
complete -c pssh -n __pssh_at_options -l retry-delay -d 'Pause between two attempts, give or take a fifth [default: 5]' -x
complete -c pssh -n __pssh_at_options -l identity -d 'Private key to authenticate with, instead of the default ones' -r -F
complete -c pssh -n __pssh_at_options -l agent -d 'Ask this agent for keys instead of $SSH_AUTH_SOCK' -r -F
complete -c pssh -n __pssh_at_options -l no-agent -d 'Ask no agent for keys'
complete -c pssh -n __pssh_at_options -s 4 -d 'Connect to IPv4 addresses only'
complete -c pssh -n __pssh_at_options -s 6 -d 'Connect to IPv6 addresses only'
complete -c pssh -n __pssh_at_options -s C -l compression -d 'Compress what is sent and received'
complete -c pssh -n __pssh_at_options -s A -l askpass -d 'Ask once for a password'
complete -c pssh -n __pssh_at_options -l password-file -d 'Read the password from a file that nobody else can read' -r -F
complete -c pssh -n __pssh_at_options -l password-fd -d 'Read the password from an open file descriptor, such as 3 with 3<FILE' -x
complete -c pssh -n __pssh_at_options -l password-command -d 'Take the password from the output of a shell command, such as a password manager\'s' -x -a '(__fish_complete_command)'
complete -c pssh -n __pssh_at_options -l password-prompt -d 'Also answer a server\'s questions that match this regular expression with the password' -x
complete -c pssh -n __pssh_at_options -l host-key-check -d 'What to do with host keys that are not known [default: strict]' -x -a 'strict accept-new off'
complete -c pssh -n __pssh_at_options -l known-hosts -d 'Look for host keys in this file only, or in `none`' -r -F
complete -c pssh -n __pssh_at_options -s J -l jump -d 'Reach the hosts through these jump hosts, the first first' -x -a "(__pssh_hosts ',')"
complete -c pssh -n __pssh_at_options -l proxy-host -d 'Reach the hosts through this jump host' -x -a "(__pssh_hosts '')"
complete -c pssh -n __pssh_at_options -l proxy-port -d 'Port of the jump host [default: 22]' -x
complete -c pssh -n __pssh_at_options -l proxy-user -d 'Login name on the jump host [default: yours here]' -x -a '(__fish_complete_users)'
complete -c pssh -n __pssh_at_options -l proxy-identity -d 'Private key that is tried first on the jump host, and nowhere else' -r -F
complete -c pssh -n __pssh_at_options -l proxy-password-file -d 'Read the password for the jump host from this file' -r -F
complete -c pssh -n __pssh_at_options -l proxy-connections -d 'Connections to a jump host, at most, while hosts wait for theirs [default: 8]' -x
complete -c pssh -n __pssh_at_options -l proxy-command -d 'Talk to each host by this local command' -x -a '(__fish_complete_command)'
complete -c pssh -n __pssh_at_options -l format -d 'How output is shown [default: lines]' -x -a 'lines inline status gather json none'
complete -c pssh -n __pssh_at_options -s o -l outdir -d 'Write standard output into a file for each host in this directory, besides' -x -a '(__fish_complete_directories)'
complete -c pssh -n __pssh_at_options -s e -l errdir -d 'Write standard error into a file for each host in this directory, besides' -x -a '(__fish_complete_directories)'
complete -c pssh -n __pssh_at_options -l fileappend -d 'Add to the files of hosts instead of replacing them'
complete -c pssh -n __pssh_at_options -l progress -d 'Show how far the run is on standard error [default: on a terminal]' -x -a 'auto always never'
complete -c pssh -n __pssh_at_options -l color -l colour -d 'Colour what is ours [default: on a terminal]' -x -a 'auto always never'
complete -c pssh -n __pssh_at_options -l raw -d 'Pass on what hosts print unchanged: to a terminal control sequences, to the log of a CI system its commands'
complete -c pssh -n __pssh_at_options -l no-headers -d 'Leave out the lines that say how each host has ended, and with -i the word before standard error'
complete -c pssh -n __pssh_at_options -s P -l print -d 'Show lines as they come, as --format lines does, and pssh\'s line for each host that has ended on standard output'
complete -c pssh -n __pssh_at_options -s i -l inline -d 'Show the output of each host in one piece when it ends, below pssh\'s line'
complete -c pssh -n __pssh_at_options -l inline-stdout -d 'The same without standard error'
complete -c pssh -n __pssh_at_options -l sort -d 'Show hosts in the order of the list, with --format inline'
complete -c pssh -n __pssh_at_options -l prefix -d 'What lines start with: text with {label}, {host}, {user}, {port} and {index} [default: \'{label}: \']' -x
complete -c pssh -n __pssh_at_options -l no-prefix -d 'Show lines without their host'
complete -c pssh -n __pssh_at_options -l align -d 'Pad prefixes, so that what follows them is aligned'
complete -c pssh -n __pssh_at_options -l encoding -d 'Show output that is in this encoding as UTF-8, such as latin1 or sjis [default: bytes as they come]' -x
complete -c pssh -n __pssh_at_options -l diff -d 'With --format gather: show how the others differ from the largest group of hosts'
complete -c pssh -n __pssh_at_options -l expect-same -d 'Fail, with exit status 5, if not all hosts have the same output and outcome'
complete -c pssh -n __pssh_at_options -l ci-groups -d 'With --format gather or inline: fold what hosts print in the log of a CI system' -x -a 'auto github gitlab'
complete -c pssh -n __pssh_at_options -l json -d 'The same as --format json'
complete -c pssh -n __pssh_at_options -s q -l quiet -d 'Show nothing of hosts that are well'
complete -c pssh -n __pssh_at_options -l times -d 'Tell at the end how long the parts took, and which hosts took longest'
complete -c pssh -n __pssh_at_options -l failed-to -d 'Write the hosts that failed to this hosts file' -r -F
complete -c pssh -n __pssh_at_options -l junit -d 'Write a report for CI systems to this file: JUnit\'s XML, a test case for each host' -r -F
complete -c pssh -n __pssh_at_options -l ci-summary -d 'Append a summary in Markdown to FILE [without =FILE: $GITHUB_STEP_SUMMARY]'
complete -c pssh -n __pssh_at_options -l max-status -d 'Exit with the largest exit status of all hosts'
complete -c pssh -n __pssh_at_options -s v -l verbose -d 'Tell what is done for each host'
complete -c pssh -n __pssh_at_options -l dry-run -d 'Show the command of each host as it would be sent, connect to nothing and ask for no password'
complete -c pssh -n __pssh_at_options -l explain -d 'Show for each host every setting but the values of variables, and where it comes from'
complete -c pssh -n __pssh_at_options -l generate -d 'Print the manual page or the completions for a shell' -x -a 'man config-man bash zsh fish'
complete -c pssh -n __pssh_at_options -l help -d 'Show this help'
complete -c pssh -n __pssh_at_options -s V -l version -d 'Show the version'
complete -c pssh -n __pssh_at_options -f -a '(__fish_complete_command)'
complete -c pssh -n 'not __pssh_at_options' -F
