# Completions of {{NAME}} for bash, made by {{NAME}} --generate bash.

# Takes the lines of a text that begin with what is typed. Readline replaces only what follows the last of its word breaks, such as @.
_{{NAME}}_words() {
    local word
    while IFS= read -r word; do
        if [[ $word && $word == "$value"* ]]; then
            COMPREPLY+=("$typed${word#"$value"}")
        fi
    done <<<"$1"
}

_{{NAME}}_files() {
    if [[ $1 == -d ]]; then
        _{{NAME}}_words "$(compgen -d -- "$value")"
    else
        _{{NAME}}_words "$(compgen -f -- "$value")"
    fi
    compopt -o filenames 2>/dev/null
}

# Takes the hosts and groups that {{NAME}} knows; $2 has what may stand between two of them.
_{{NAME}}_hosts() {
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
    _{{NAME}}_words "$names"
    # The group of a source follows its colon.
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *: ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

_{{NAME}}() {
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
            if [[ " {{LONGS}} " == *" $word "* ]]; then
                option=$word
            fi
            ;;
        -?*)
            for ((j = 1; j < ${#word}; j++)); do
                if [[ {{LETTERS}} == *"${word:j:1}"* ]]; then
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
        -[{{LETTERS}}]?*)
            option=${value:0:2}
            value=${value:2}
            ;;
        -*)
            _{{NAME}}_words "$(compgen -W '{{OPTIONS}}' -- "$value")"
            return
            ;;
        esac
    fi
    value=${value#[\"\']}
    case $option in
    '') {{WORDS}} ;;
        {{VALUES}}
    esac
}

complete -F _{{NAME}} {{NAME}} {{DEBIAN}}
