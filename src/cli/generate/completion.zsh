#compdef {{NAME}} {{DEBIAN}}
# Completions of {{NAME}} for zsh, made by {{NAME}} --generate zsh.

# Adds the hosts and groups that {{NAME}} knows; the last argument has what may stand between two of them.
_{{NAME}}_hosts() {
    local -a names sources
    local separators=${@[-1]}
    names=(${(f)"$(_call_program hosts $words[1] --generate hosts 2>/dev/null)"})
    if [[ -n $separators ]]; then
        compset -P "*[$separators]"
    fi
    # The user stays.
    if [[ $PREFIX == ?*@* ]]; then
        compset -P '*@'
        names=(${names:#@*})
    fi
    # The group of a source follows its colon.
    sources=(${(M)names:#@*:})
    names=(${names:#@*:})
    compadd "${@[1,-2]}" -a names
    compadd "${@[1,-2]}" -S '' -a sources
}

_{{NAME}}() {
    local curcontext="$curcontext" state line
    typeset -A opt_args
    _arguments -s -S -C -A '-*' : \
        {{SPECS}}
        {{WORDS}}
}

if [[ $funcstack[1] == _{{NAME}} ]]; then
    _{{NAME}} "$@"
else
    compdef _{{NAME}} {{NAME}}
fi
