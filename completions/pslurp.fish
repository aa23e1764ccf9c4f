# Completions of pslurp for fish, made by pslurp --generate fish.

# Whether no word of the command, and no --, stands before the cursor.
function __pslurp_at_options
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
                contains -- $word --hosts --host --nodes --only --exclude --shard --host-glob --user --host-config --par --pool-size --total-timeout --batch --pause --order --stop-on-unreached --connect-par --rate --success --check --check-timeout --check-interval --localdir --config-file --option --ssh-option --connect-timeout --num-retries --retry-delay --identity --agent --password-file --password-fd --password-command --password-prompt --host-key-check --known-hosts --jump --proxy-host --proxy-port --proxy-user --proxy-identity --proxy-password-file --proxy-connections --proxy-command --sudo-password-file --outdir --errdir --progress --color --colour --failed-to --junit --journal --rerun --replay --generate --timeout --channel-timeout --format --extra-args --extra-arg --run-as; and set value yes
            case '-?*'
                string match -qr -- '^-[^hHwglpLFOJoetxX]*[hHwglpLFOJoetxX]$' $word; and set value yes
            case '*'
                return 1
        end
    end
    return 0
end

# Whether the word at the cursor may be the command: a value after = is not.
function __pslurp_at_command
    __pslurp_at_options; and not string match -qr -- '^--[^=]*=' (commandline -ct)
end

# The hosts and groups that pslurp knows, behind what is typed already; $argv[1] has what may stand between two of them.
function __pslurp_hosts
    set -l typed (commandline -ct | string replace -r -- '^--[^=]*=' '' | string replace -r -- '^-[hHwglpLFOJoetxX]' '' | string trim -l -c '"\'')
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

complete -c pslurp -n __pslurp_at_options -s h -l hosts -d 'Read hosts from FILE' -r -F
complete -c pslurp -n __pslurp_at_options -s H -l host -d 'Add hosts, separated by blanks: \'web1 root@web2\'' -x -a "(__pslurp_hosts ' ')"
complete -c pslurp -n __pslurp_at_options -s w -l nodes -d 'Add hosts, separated by commas: \'web[1-9],@db\'' -x -a "(__pslurp_hosts ',!&^')"
complete -c pslurp -n __pslurp_at_options -l only -d 'Run only on these hosts: names, \'web*\', \'/^db/\'' -x -a "(__pslurp_hosts ',!&^')"
complete -c pslurp -n __pslurp_at_options -l exclude -d 'Leave out these hosts, in the format of --only' -x -a "(__pslurp_hosts ',!&^')"
complete -c pslurp -n __pslurp_at_options -l shard -d 'Run on a share of all hosts, such as 3/8 or slurm' -x -a 'slurm aws gitlab'
complete -c pslurp -n __pslurp_at_options -s g -l host-glob -d 'Of the hosts in files, run only on those that match' -x
complete -c pslurp -n __pslurp_at_options -s l -l user -d 'Log in as USER on hosts without a user of their own' -x -a '(__fish_complete_users)'
complete -c pslurp -n __pslurp_at_options -l host-config -d 'Read settings of hosts from this TOML file' -r -F
complete -c pslurp -n __pslurp_at_options -s p -l par -l pool-size -d 'Run at most N hosts at once [default: 10]' -x
complete -c pslurp -n __pslurp_at_options -l total-timeout -d 'Stop the whole run after TIME [default: none]' -x
complete -c pslurp -n __pslurp_at_options -l stop-on-errors -d 'Stop the run once N hosts, or N%, have failed [without =N: 1]' -f -a 'none'
complete -c pslurp -n __pslurp_at_options -l batch -d 'Go batch by batch: 1,10%,50%' -x
complete -c pslurp -n __pslurp_at_options -l pause -d 'Wait for TIME between batches' -x
complete -c pslurp -n __pslurp_at_options -l confirm -d 'Ask before the second batch, or before each one' -f -a 'first each'
complete -c pslurp -n __pslurp_at_options -l order -d 'Start hosts in this order: list, reverse, shuffle' -x -a 'list reverse shuffle'
complete -c pslurp -n __pslurp_at_options -l stop-on-unreached -d 'Stop the run once N hosts, or N%, were not reached' -x -a 'none'
complete -c pslurp -n __pslurp_at_options -l connect-par -d 'Log in to at most N hosts at once' -x
complete -c pslurp -n __pslurp_at_options -l rate -d 'Start at most N hosts in a time: 10/s, 0.5/s, 30/m' -x
complete -c pslurp -n __pslurp_at_options -l success -d 'Count these ends as success [default: 0]' -x -a '0,lost 0,signal 0,lost,signal'
complete -c pslurp -n __pslurp_at_options -l check -d 'Repeat CMD on each host until it exits with 0' -x -a '(__fish_complete_command)'
complete -c pslurp -n __pslurp_at_options -l check-timeout -d 'Give up the check after TIME [default: 60]' -x
complete -c pslurp -n __pslurp_at_options -l check-interval -d 'Wait TIME between two tries [default: 2]' -x
complete -c pslurp -n __pslurp_at_options -s r -l recursive -d 'Copy directories and all that is in them'
complete -c pslurp -n __pslurp_at_options -l preserve -d 'Keep the exact modes and times of the sources'
complete -c pslurp -n __pslurp_at_options -l checksum -d 'Compare SHA-256 sums before replacing a file'
complete -c pslurp -n __pslurp_at_options -l resume -d 'Keep partial files, and continue them later'
complete -c pslurp -n __pslurp_at_options -l inplace -d 'Write into files instead of replacing them'
complete -c pslurp -n __pslurp_at_options -s L -l localdir -d 'Create the directories of the hosts in DIR [default: .]' -x -a '(__fish_complete_directories)'
complete -c pslurp -n __pslurp_at_options -s F -l config-file -d 'Use this ssh_config file instead, or `none`' -r -F
complete -c pslurp -n __pslurp_at_options -s O -l option -l ssh-option -d 'Set an ssh_config option' -x
complete -c pslurp -n __pslurp_at_options -l connect-timeout -d 'Give up connecting after TIME [default: 120]' -x
complete -c pslurp -n __pslurp_at_options -l num-retries -d 'Try to connect at most N times [default: 3]' -x
complete -c pslurp -n __pslurp_at_options -l retry-delay -d 'Wait TIME between two attempts [default: 5]' -x
complete -c pslurp -n __pslurp_at_options -l identity -d 'Log in with this key instead of the default ones' -r -F
complete -c pslurp -n __pslurp_at_options -l agent -d 'Use this agent instead of $SSH_AUTH_SOCK' -r -F
complete -c pslurp -n __pslurp_at_options -l no-agent -d 'Do not use an agent'
complete -c pslurp -n __pslurp_at_options -s 4 -d 'Connect to IPv4 addresses only'
complete -c pslurp -n __pslurp_at_options -s 6 -d 'Connect to IPv6 addresses only'
complete -c pslurp -n __pslurp_at_options -s C -l compression -d 'Compress the connection'
complete -c pslurp -n __pslurp_at_options -s A -l askpass -d 'Ask once for a password'
complete -c pslurp -n __pslurp_at_options -l password-file -d 'Read the password from a file that others cannot read' -r -F
complete -c pslurp -n __pslurp_at_options -l password-fd -d 'Read the password from a file descriptor, such as 3 with 3<FILE' -x
complete -c pslurp -n __pslurp_at_options -l password-command -d 'Read the password from the output of a shell command' -x -a '(__fish_complete_command)'
complete -c pslurp -n __pslurp_at_options -l password-prompt -d 'Also send the password to prompts that match REGEX' -x
complete -c pslurp -n __pslurp_at_options -l host-key-check -d 'Check host keys this way [default: strict]' -x -a 'strict accept-new off'
complete -c pslurp -n __pslurp_at_options -l known-hosts -d 'Read host keys from this file only, or `none`' -r -F
complete -c pslurp -n __pslurp_at_options -s J -l jump -d 'Connect through these jump hosts, or `none`' -x -a "(__pslurp_hosts ',')"
complete -c pslurp -n __pslurp_at_options -l proxy-host -d 'Connect through this jump host' -x -a "(__pslurp_hosts '')"
complete -c pslurp -n __pslurp_at_options -l proxy-port -d 'Use this port of the jump host [default: 22]' -x
complete -c pslurp -n __pslurp_at_options -l proxy-user -d 'Log in to the jump host as USER [default: yours]' -x -a '(__fish_complete_users)'
complete -c pslurp -n __pslurp_at_options -l proxy-identity -d 'Try this key first, on the jump host only' -r -F
complete -c pslurp -n __pslurp_at_options -l proxy-password-file -d 'Read the jump host\'s password from this file' -r -F
complete -c pslurp -n __pslurp_at_options -l proxy-connections -d 'Open up to N jump host connections [default: 8]' -x
complete -c pslurp -n __pslurp_at_options -l proxy-command -d 'Connect through this local command, or `none`' -x -a '(__fish_complete_command)'
complete -c pslurp -n __pslurp_at_options -l sudo-password-file -d 'Read sudo\'s password from a file that others cannot read' -r -F
complete -c pslurp -n __pslurp_at_options -s o -l outdir -d 'Also save each host\'s stdout as DIR/HOST' -x -a '(__fish_complete_directories)'
complete -c pslurp -n __pslurp_at_options -s e -l errdir -d 'Also save each host\'s stderr as DIR/HOST' -x -a '(__fish_complete_directories)'
complete -c pslurp -n __pslurp_at_options -l fileappend -d 'Append to files in DIR instead of replacing them'
complete -c pslurp -n __pslurp_at_options -l progress -d 'Show progress on stderr [default: on a terminal]' -x -a 'auto always never'
complete -c pslurp -n __pslurp_at_options -l color -l colour -d 'Colour output [default: on a terminal]' -x -a 'auto always never'
complete -c pslurp -n __pslurp_at_options -l raw -d 'Pass on control sequences and CI commands of hosts'
complete -c pslurp -n __pslurp_at_options -l json -d 'The same as --format json'
complete -c pslurp -n __pslurp_at_options -s q -l quiet -d 'Print only failures, on stderr'
complete -c pslurp -n __pslurp_at_options -l times -d 'Print a timing summary'
complete -c pslurp -n __pslurp_at_options -l failed-to -d 'Write the hosts that failed to this hosts file' -r -F
complete -c pslurp -n __pslurp_at_options -l junit -d 'Write a JUnit XML report, a test case per host' -r -F
complete -c pslurp -n __pslurp_at_options -l ci-summary -d 'Append a Markdown summary [$GITHUB_STEP_SUMMARY]'
complete -c pslurp -n __pslurp_at_options -l max-status -d 'Exit with the largest exit status of all hosts'
complete -c pslurp -n __pslurp_at_options -l journal -d 'Record in FILE what is sent and how hosts end' -r -F
complete -c pslurp -n __pslurp_at_options -l journal-output -d 'Record what hosts print, too'
complete -c pslurp -n __pslurp_at_options -l rerun -d 'Run again the hosts with these outcomes' -x -a 'unreached failed ok exit signal timeout cancelled dns connect proxy hostkey auth ssh lost check copy local'
complete -c pslurp -n __pslurp_at_options -l replay -d 'Show the runs in journals' -r -F
complete -c pslurp -n __pslurp_at_options -s v -l verbose -d 'Print what is done for each host'
complete -c pslurp -n __pslurp_at_options -l explain -d 'Print the settings of each host and their origins'
complete -c pslurp -n __pslurp_at_options -l list -d 'Print the hosts' -f -a 'lines full folded'
complete -c pslurp -n __pslurp_at_options -l generate -d 'Print one: man, config-man, bash, zsh or fish' -x -a 'man config-man bash zsh fish'
complete -c pslurp -n __pslurp_at_options -l help -d 'Print this help'
complete -c pslurp -n __pslurp_at_options -s V -l version -d 'Print the version'
complete -c pslurp -n __pslurp_at_options -s t -l timeout -d 'Stop copying after TIME [default: no limit]' -x
complete -c pslurp -n __pslurp_at_options -l channel-timeout -d 'Stop copying if silent for TIME [default: none]' -x
complete -c pslurp -n __pslurp_at_options -l format -d 'Show how hosts ended in this format [default: status]' -x -a 'lines inline status gather json none'
complete -c pslurp -n __pslurp_at_options -l no-headers -d 'Leave out the status line of each host'
complete -c pslurp -n __pslurp_at_options -l dry-run -d 'Print what would be done without connecting'
complete -c pslurp -n __pslurp_at_options -s x -l extra-args -d 'Set scp\'s own options, such as \'-P 2222 -p\'' -x
complete -c pslurp -n __pslurp_at_options -s X -l extra-arg -d 'Add one word to scp\'s options, as it is' -x
complete -c pslurp -n __pslurp_at_options -l sudo -d 'Read and write files on hosts with sudo'
complete -c pslurp -n __pslurp_at_options -l run-as -d 'Read and write files on hosts as USER with sudo' -x -a '(__fish_complete_users)'
complete -c pslurp -f
complete -c parallel-slurp -w pslurp
