# Completions of prsync for bash, made by prsync --generate bash.

# Takes the lines of a text that begin with what is typed. Readline replaces only what follows the last of its word breaks, such as @.
_prsync_words() {
    local word
    while IFS= read -r word; do
        if [[ $word && $word == "$value"* ]]; then
            COMPREPLY+=("$typed${word#"$value"}")
        fi
    done <<<"$1"
}

_prsync_files() {
    if [[ $1 == -d ]]; then
        _prsync_words "$(compgen -d -- "$value")"
    else
        _prsync_words "$(compgen -f -- "$value")"
    fi
    compopt -o filenames 2>/dev/null
}

# Takes the hosts and groups that prsync knows; $2 has what may stand between two of them.
_prsync_hosts() {
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
    _prsync_words "$names"
    # The group of a source follows its colon.
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *: ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

_prsync() {
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
            if [[ " --hosts --host --nodes --only --exclude --shard --host-glob --user --host-config --par --pool-size --total-timeout --batch --pause --order --stop-on-unreached --connect-par --rate --success --check --check-timeout --check-interval --ssh-args --config-file --option --ssh-option --connect-timeout --num-retries --retry-delay --identity --agent --password-file --password-fd --password-command --password-prompt --host-key-check --known-hosts --jump --proxy-host --proxy-port --proxy-user --proxy-identity --proxy-password-file --proxy-connections --proxy-command --outdir --errdir --progress --color --colour --failed-to --junit --journal --rerun --replay --generate --timeout --channel-timeout --format --extra-args --extra-arg " == *" $word "* ]]; then
                option=$word
            fi
            ;;
        -?*)
            for ((j = 1; j < ${#word}; j++)); do
                if [[ hHwglpSFOJoetxX == *"${word:j:1}"* ]]; then
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
        -[hHwglpSFOJoetxX]?*)
            option=${value:0:2}
            value=${value:2}
            ;;
        -*)
            _prsync_words "$(compgen -W '-h --hosts -H --host -w --nodes --only --exclude --shard -g --host-glob -l --user --host-config -p --par --pool-size --total-timeout --stop-on-errors --batch --pause --confirm --order --stop-on-unreached --connect-par --rate --success --check --check-timeout --check-interval -r --recursive -a --archive -z --compress -S --ssh-args -d --download -F --config-file -O --option --ssh-option --connect-timeout --num-retries --retry-delay --identity --agent --no-agent -4 -6 -C --compression -A --askpass --password-file --password-fd --password-command --password-prompt --host-key-check --known-hosts -J --jump --proxy-host --proxy-port --proxy-user --proxy-identity --proxy-password-file --proxy-connections --proxy-command -o --outdir -e --errdir --fileappend --progress --color --colour --raw --no-headers -i --inline --json -q --quiet --times --failed-to --junit --ci-summary --max-status --journal --journal-output --rerun --replay --resume -v --verbose --explain --list --generate --help -V --version -t --timeout --channel-timeout --format --dry-run -x --extra-args -X --extra-arg' -- "$value")"
            return
            ;;
        esac
    fi
    value=${value#[\"\']}
    case $option in
    '') _prsync_files ;;
        -h | --hosts) _prsync_files ;;
        -H | --host) _prsync_hosts "$1" ' ' ;;
        -w | --nodes) _prsync_hosts "$1" ',!&^' ;;
        --only) _prsync_hosts "$1" ',!&^' ;;
        --exclude) _prsync_hosts "$1" ',!&^' ;;
        --shard) _prsync_words $'slurm\naws\ngitlab' ;;
        -l | --user) _prsync_words "$(compgen -u -- "$value")" ;;
        --host-config) _prsync_files ;;
        --stop-on-errors) _prsync_words $'none' ;;
        --confirm) _prsync_words $'first\neach' ;;
        --order) _prsync_words $'list\nreverse\nshuffle' ;;
        --stop-on-unreached) _prsync_words $'none' ;;
        --success) _prsync_words $'0,lost\n0,signal\n0,lost,signal' ;;
        --check) _prsync_words "$(compgen -c -- "$value")" ;;
        -F | --config-file) _prsync_files ;;
        --identity) _prsync_files ;;
        --agent) _prsync_files ;;
        --password-file) _prsync_files ;;
        --password-command) _prsync_words "$(compgen -c -- "$value")" ;;
        --host-key-check) _prsync_words $'strict\naccept-new\noff' ;;
        --known-hosts) _prsync_files ;;
        -J | --jump) _prsync_hosts "$1" ',' ;;
        --proxy-host) _prsync_hosts "$1" '' ;;
        --proxy-user) _prsync_words "$(compgen -u -- "$value")" ;;
        --proxy-identity) _prsync_files ;;
        --proxy-password-file) _prsync_files ;;
        --proxy-command) _prsync_words "$(compgen -c -- "$value")" ;;
        -o | --outdir) _prsync_files -d ;;
        -e | --errdir) _prsync_files -d ;;
        --progress) _prsync_words $'auto\nalways\nnever' ;;
        --color | --colour) _prsync_words $'auto\nalways\nnever' ;;
        --failed-to) _prsync_files ;;
        --junit) _prsync_files ;;
        --ci-summary) _prsync_files ;;
        --journal) _prsync_files ;;
        --rerun) _prsync_words $'unreached\nfailed\nok\nexit\nsignal\ntimeout\ncancelled\ndns\nconnect\nproxy\nhostkey\nauth\nssh\nlost\ncheck\ncopy\nlocal' ;;
        --replay) _prsync_files ;;
        --list) _prsync_words $'lines\nfull\nfolded' ;;
        --generate) _prsync_words $'man\nconfig-man\nbash\nzsh\nfish' ;;
        --format) _prsync_words $'lines\ninline\nstatus\ngather\njson\nnone' ;;
    esac
}

complete -F _prsync prsync parallel-rsync
