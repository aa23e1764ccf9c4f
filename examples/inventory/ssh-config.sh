#!/bin/sh
# Prints the hosts in an ssh_config for pssh.
#
# Usage: ssh-config.sh [--from FILE] GROUP | --groups
#
# Reads ~/.ssh/config, or FILE, where - is standard input; it does not follow Include. A group is what the names begin with, up to the
# first digit or dot: web for web1 and web-2.example.com; all stands for all of them. Patterns such as web* name no hosts. pssh reads the
# settings of the hosts itself. In config.toml:
#
#     [sources.ssh]
#     command = "/usr/local/lib/pssh/ssh-config.sh %g"
#     list = "/usr/local/lib/pssh/ssh-config.sh --groups"
#
# Then: pssh -w @ssh:web uptime
set -eu

file=$HOME/.ssh/config
if [ "${1-}" = --from ] && [ $# -ge 2 ]; then
    file=$2
    shift 2
fi
if [ $# != 1 ]; then
    echo 'usage: ssh-config.sh [--from FILE] GROUP | --groups' >&2
    exit 2
fi
[ "$file" = - ] || exec <"$file"

awk -v group="$1" '
    {
        gsub(/\r/, "")
        sub(/^[ \t]+/, "")
        keyword = $0
        sub(/[ \t="].*/, "", keyword)
    }
    tolower(keyword) == "host" {
        # Host web1 "web2", or Host=web1; a # begins a comment.
        names = substr($0, length(keyword) + 1)
        sub(/[ \t]#.*/, "", names)
        gsub(/[="]/, " ", names)
        count = split(names, name, " ")
        for (i = 1; i <= count; i++) {
            if (name[i] ~ /[*?!]/ || name[i] in known) continue
            known[name[i]] = 1
            start = name[i]
            sub(/[-_]?[0-9.:].*/, "", start)
            if (start !~ /^[A-Za-z_][A-Za-z0-9_-]*$/) start = "other"
            if (group == "all" || group == start) print name[i]
            if (group == "--groups" && !(start in groups)) print start
            groups[start] = 1
        }
    }
'
