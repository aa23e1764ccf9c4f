# Completions of {{NAME}} for fish, made by {{NAME}} --generate fish.

# Whether no word of the command, and no --, stands before the cursor.
function __{{NAME}}_at_options
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
                contains -- $word {{LONGS}}; and set value yes
            case '-?*'
                string match -qr -- '^-[^{{LETTERS}}]*[{{LETTERS}}]$' $word; and set value yes
            case '*'
                return 1
        end
    end
    return 0
end

# Whether the word at the cursor may be the command: a value after = is not.
function __{{NAME}}_at_command
    __{{NAME}}_at_options; and not string match -qr -- '^--[^=]*=' (commandline -ct)
end

# The hosts and groups that {{NAME}} knows, behind what is typed already; $argv[1] has what may stand between two of them.
function __{{NAME}}_hosts
    set -l typed (commandline -ct | string replace -r -- '^--[^=]*=' '' | string replace -r -- '^-[{{LETTERS}}]' '' | string trim -l -c '"\'')
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

