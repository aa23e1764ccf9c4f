# Completions of pscp for bash, made by pscp --generate bash.

# Takes the lines of a text that begin with what is typed. Readline replaces only what follows the last of its word breaks, such as @.
_pscp_words() {
    local word
    while IFS= read -r word; do
        if [[ $word && $word == "$value"* ]]; then
            COMPREPLY+=("$typed${word#"$value"}")
        fi
    done <<<"$1"
}

_pscp_files() {
    if [[ $1 == -d ]]; then
        _pscp_words "$(compgen -d -- "$value")"
    else
        _pscp_words "$(compgen -f -- "$value")"
    fi
    compopt -o filenames 2>/dev/null
}

# Takes the hosts and groups that pscp knows; $2 has what may stand between two of them.
_pscp_hosts() {
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
    _pscp_words "$names"
    # The group of a source follows its colon.
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *: ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

_pscp() {
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
            if [[ " --hosts --host --nodes --only --exclude --shard --host-glob --user --host-config --par --pool-size --total-timeout --batch --pause --order --stop-on-unreached --connect-par --rate --success --check --check-timeout --check-interval --config-file --option --ssh-option --connect-timeout --num-retries --retry-delay --identity --agent --password-file --password-fd --password-command --password-prompt --host-key-check --known-hosts --jump --proxy-host --proxy-port --proxy-user --proxy-identity --proxy-password-file --proxy-connections --proxy-command --sudo-password-file --outdir --errdir --progress --color --colour --failed-to --junit --journal --rerun --replay --generate --timeout --channel-timeout --format --extra-args --extra-arg --run-as " == *" $word "* ]]; then
                option=$word
            fi
            ;;
        -?*)
            for ((j = 1; j < ${#word}; j++)); do
                if [[ hHwglpFOJoetxX == *"${word:j:1}"* ]]; then
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
        -[hHwglpFOJoetxX]?*)
            option=${value:0:2}
            value=${value:2}
            ;;
        -*)
            _pscp_words "$(compgen -W '-h --hosts -H --host -w --nodes --only --exclude --shard -g --host-glob -l --user --host-config -p --par --pool-size --total-timeout --stop-on-errors --batch --pause --confirm --order --stop-on-unreached --connect-par --rate --success --check --check-timeout --check-interval -r --recursive --preserve --checksum --resume --inplace --download -F --config-file -O --option --ssh-option --connect-timeout --num-retries --retry-delay --identity --agent --no-agent -4 -6 -C --compression -A --askpass --password-file --password-fd --password-command --password-prompt --host-key-check --known-hosts -J --jump --proxy-host --proxy-port --proxy-user --proxy-identity --proxy-password-file --proxy-connections --proxy-command --sudo-password-file -o --outdir -e --errdir --fileappend --progress --color --colour --raw --json -q --quiet --times --failed-to --junit --ci-summary --max-status --journal --journal-output --rerun --replay -v --verbose --explain --list --generate --help -V --version -t --timeout --channel-timeout --format --no-headers --dry-run -x --extra-args -X --extra-arg --sudo --run-as' -- "$value")"
            return
            ;;
        esac
    fi
    value=${value#[\"\']}
    case $option in
    '') _pscp_files ;;
        -h | --hosts) _pscp_files ;;
        -H | --host) _pscp_hosts "$1" ' ' ;;
        -w | --nodes) _pscp_hosts "$1" ',!&^' ;;
        --only) _pscp_hosts "$1" ',!&^' ;;
        --exclude) _pscp_hosts "$1" ',!&^' ;;
        --shard) _pscp_words $'slurm\naws\ngitlab' ;;
        -l | --user) _pscp_words "$(compgen -u -- "$value")" ;;
        --host-config) _pscp_files ;;
        --stop-on-errors) _pscp_words $'none' ;;
        --confirm) _pscp_words $'first\neach' ;;
        --order) _pscp_words $'list\nreverse\nshuffle' ;;
        --stop-on-unreached) _pscp_words $'none' ;;
        --success) _pscp_words $'0,lost\n0,signal\n0,lost,signal' ;;
        --check) _pscp_words "$(compgen -c -- "$value")" ;;
        -F | --config-file) _pscp_files ;;
        --identity) _pscp_files ;;
        --agent) _pscp_files ;;
        --password-file) _pscp_files ;;
        --password-command) _pscp_words "$(compgen -c -- "$value")" ;;
        --host-key-check) _pscp_words $'strict\naccept-new\noff' ;;
        --known-hosts) _pscp_files ;;
        -J | --jump) _pscp_hosts "$1" ',' ;;
        --proxy-host) _pscp_hosts "$1" '' ;;
        --proxy-user) _pscp_words "$(compgen -u -- "$value")" ;;
        --proxy-identity) _pscp_files ;;
        --proxy-password-file) _pscp_files ;;
        --proxy-command) _pscp_words "$(compgen -c -- "$value")" ;;
        --sudo-password-file) _pscp_files ;;
        -o | --outdir) _pscp_files -d ;;
        -e | --errdir) _pscp_files -d ;;
        --progress) _pscp_words $'auto\nalways\nnever' ;;
        --color | --colour) _pscp_words $'auto\nalways\nnever' ;;
        --failed-to) _pscp_files ;;
        --junit) _pscp_files ;;
        --ci-summary) _pscp_files ;;
        --journal) _pscp_files ;;
        --rerun) _pscp_words $'unreached\nfailed\nok\nexit\nsignal\ntimeout\ncancelled\ndns\nconnect\nproxy\nhostkey\nauth\nssh\nlost\ncheck\ncopy\nlocal' ;;
        --replay) _pscp_files ;;
        --list) _pscp_words $'lines\nfull\nfolded' ;;
        --generate) _pscp_words $'man\nconfig-man\nbash\nzsh\nfish' ;;
        --format) _pscp_words $'lines\ninline\nstatus\ngather\njson\nnone' ;;
        --run-as) _pscp_words "$(compgen -u -- "$value")" ;;
    esac
}

complete -F _pscp pscp parallel-scp
