# Completions of pssh for bash, made by pssh --generate bash.

# Takes the lines of a text that begin with what is typed. Readline replaces only what follows the last of its word breaks, such as @.
_pssh_words() {
    local word
    while IFS= read -r word; do
        if [[ $word && $word == "$value"* ]]; then
            COMPREPLY+=("$typed${word#"$value"}")
        fi
    done <<<"$1"
}

_pssh_files() {
    if [[ $1 == -d ]]; then
        _pssh_words "$(compgen -d -- "$value")"
    else
        _pssh_words "$(compgen -f -- "$value")"
    fi
    compopt -o filenames 2>/dev/null
}

# Takes the hosts and groups that pssh knows; $2 has what may stand between two of them.
_pssh_hosts() {
    local before=$value item name
    while [[ $before && $2 != *"${before:${#before}-1}"* ]]; do
        before=${before:0:${#before}-1}
    done
    if [[ -z $2 ]]; then
        before=
    fi
    item=${value#"$before"}
    # The user stays.
    if [[ $item == ?*@* ]]; then
        before+=${item%@*}@
    fi
    local names=
    while IFS= read -r name; do
        if [[ $name != @* || $before != *@ ]]; then
            names+=$before$name$'\n'
        fi
    done < <(command "$1" --generate hosts 2>/dev/null)
    _pssh_words "$names"
    # The group of a source follows its colon.
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *: ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

_pssh() {
    local typed=$2 line=$COMP_LINE word option= end= value i j
    local words=()
    COMPREPLY=()
    # Bash takes words apart at = : and @ as well.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i > 0)) && [[ $line && $line != [[:space:]]* ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        line=${line#"${line%%[![:space:]]*}"}
        line=${line#"$word"}
    done
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ $option ]]; then
            option=
            continue
        fi
        case $word in
        --)
            end=1
            # The next word is the first one.
            ((i == ${#words[@]} - 2)) && end=
            break
            ;;
        --*)
            if [[ " --hosts --host --nodes --only --exclude --shard --host-glob --user --host-config --par --pool-size --timeout --channel-timeout --total-timeout --batch --pause --order --stop-on-unreached --connect-par --rate --success --check --check-timeout --check-interval --script --host-args --host-column --host-arg --shell --env --config-file --option --ssh-option --extra-args --extra-arg --connect-timeout --num-retries --retry-delay --identity --agent --password-file --password-fd --password-command --password-prompt --host-key-check --known-hosts --jump --proxy-host --proxy-port --proxy-user --proxy-identity --proxy-password-file --proxy-connections --proxy-command --run-as --sudo-password-file --format --outdir --errdir --progress --color --colour --prefix --encoding --ci-groups --failed-to --junit --journal --rerun --replay --generate " == *" $word "* ]]; then
                option=$word
            fi
            ;;
        -?*)
            for ((j = 1; j < ${#word}; j++)); do
                if [[ hHwglptFOxXJoe == *"${word:j:1}"* ]]; then
                    ((j == ${#word} - 1)) && option=-${word:j:1}
                    break
                fi
            done
            ;;
        *)
            end=1
            break
            ;;
        esac
    done
    value=${words[${#words[@]} - 1]}
    if [[ -z $option && -z $end && $word != -- ]]; then
        case $value in
        --*=*)
            option=${value%%=*}
            value=${value#*=}
            [[ $typed == = ]] && typed=
            ;;
        -[hHwglptFOxXJoe]?*)
            option=${value:0:2}
            value=${value:2}
            ;;
        -*)
            _pssh_words "$(compgen -W '-h --hosts -H --host -w --nodes --only --exclude --shard -g --host-glob -l --user --host-config -p --par --pool-size -t --timeout --channel-timeout --total-timeout --stop-on-errors --batch --pause --confirm --order --stop-on-unreached --connect-par --rate --success --check --check-timeout --check-interval -I --send-input --script --host-args --host-column --host-arg --template --shell --no-shell --ping --forward-agent --pty --tty --env -F --config-file -O --option --ssh-option -x --extra-args -X --extra-arg --connect-timeout --num-retries --retry-delay --identity --agent --no-agent -4 -6 -C --compression -A --askpass --password-file --password-fd --password-command --password-prompt --host-key-check --known-hosts -J --jump --proxy-host --proxy-port --proxy-user --proxy-identity --proxy-password-file --proxy-connections --proxy-command --sudo --run-as --sudo-password-file --format -o --outdir -e --errdir --fileappend --progress --color --colour --raw --no-headers -P --print -i --inline --inline-stdout --sort --prefix --no-prefix --align --encoding --diff --expect-same --ci-groups --json -q --quiet --times --failed-to --junit --ci-summary --max-status --journal --journal-output --rerun --replay --resume -v --verbose --dry-run --explain --list --generate --help -V --version' -- "$value")"
            return
            ;;
        esac
    fi
    value=${value#[\"\']}
    case $option in
    '') if [[ $end ]]; then _pssh_files; else _pssh_words "$(compgen -c -- "$value")"; fi ;;
        -h | --hosts) _pssh_files ;;
        -H | --host) _pssh_hosts "$1" ' ' ;;
        -w | --nodes) _pssh_hosts "$1" ',!&^' ;;
        --only) _pssh_hosts "$1" ',!&^' ;;
        --exclude) _pssh_hosts "$1" ',!&^' ;;
        --shard) _pssh_words $'slurm\naws\ngitlab' ;;
        -l | --user) _pssh_words "$(compgen -u -- "$value")" ;;
        --host-config) _pssh_files ;;
        --stop-on-errors) _pssh_words $'none' ;;
        --confirm) _pssh_words $'first\neach' ;;
        --order) _pssh_words $'list\nreverse\nshuffle' ;;
        --stop-on-unreached) _pssh_words $'none' ;;
        --success) _pssh_words $'0,lost\n0,signal\n0,lost,signal' ;;
        --check) _pssh_words "$(compgen -c -- "$value")" ;;
        --script) _pssh_files ;;
        --host-args) _pssh_files ;;
        --shell) _pssh_words "$(compgen -c -- "$value")" ;;
        -F | --config-file) _pssh_files ;;
        --identity) _pssh_files ;;
        --agent) _pssh_files ;;
        --password-file) _pssh_files ;;
        --password-command) _pssh_words "$(compgen -c -- "$value")" ;;
        --host-key-check) _pssh_words $'strict\naccept-new\noff' ;;
        --known-hosts) _pssh_files ;;
        -J | --jump) _pssh_hosts "$1" ',' ;;
        --proxy-host) _pssh_hosts "$1" '' ;;
        --proxy-user) _pssh_words "$(compgen -u -- "$value")" ;;
        --proxy-identity) _pssh_files ;;
        --proxy-password-file) _pssh_files ;;
        --proxy-command) _pssh_words "$(compgen -c -- "$value")" ;;
        --run-as) _pssh_words "$(compgen -u -- "$value")" ;;
        --sudo-password-file) _pssh_files ;;
        --format) _pssh_words $'lines\ninline\nstatus\ngather\njson\nnone' ;;
        -o | --outdir) _pssh_files -d ;;
        -e | --errdir) _pssh_files -d ;;
        --progress) _pssh_words $'auto\nalways\nnever' ;;
        --color | --colour) _pssh_words $'auto\nalways\nnever' ;;
        --ci-groups) _pssh_words $'auto\ngithub\ngitlab' ;;
        --failed-to) _pssh_files ;;
        --junit) _pssh_files ;;
        --ci-summary) _pssh_files ;;
        --journal) _pssh_files ;;
        --rerun) _pssh_words $'unreached\nfailed\nok\nexit\nsignal\ntimeout\ncancelled\ndns\nconnect\nproxy\nhostkey\nauth\nssh\nlost\ncheck\ncopy\nlocal' ;;
        --replay) _pssh_files ;;
        --list) _pssh_words $'lines\nfull\nfolded' ;;
        --generate) _pssh_words $'man\nconfig-man\nbash\nzsh\nfish' ;;
    esac
}

complete -F _pssh pssh parallel-ssh
