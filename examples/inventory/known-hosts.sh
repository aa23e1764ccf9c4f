#!/bin/sh
# Prints the hosts in a known_hosts file for pssh.
#
# Usage: known-hosts.sh [--from FILE] GROUP | --groups
#
# Reads ~/.ssh/known_hosts, or FILE, where - is standard input. Hashed names, patterns and lines with a marker name no hosts; of several
# names in a line, the first counts. A group is what the names begin with, up to the first digit or dot: web for web1 and
# web-2.example.com; other for addresses; all stands for all of them. In config.toml:
#
#     [sources.known]
#     command = "/usr/local/lib/pssh/known-hosts.sh %g"
#     list = "/usr/local/lib/pssh/known-hosts.sh --groups"
#
# Then: pssh -w @known:web uptime
set -eu

file=$HOME/.ssh/known_hosts
if [ "${1-}" = --from ] && [ $# -ge 2 ]; then
    file=$2
    shift 2
fi
if [ $# != 1 ]; then
    echo 'usage: known-hosts.sh [--from FILE] GROUP | --groups' >&2
    exit 2
fi
[ "$file" = - ] || exec <"$file"

awk -v group="$1" '
    NF >= 3 && $1 !~ /^[#|@]/ {
        split($1, names, ",")
        name = names[1]
        # A server has a line for each of its keys.
        if (name ~ /[*?!]/ || name in known) next
        known[name] = 1
        start = name
        sub(/^\[/, "", start)
        sub(/[-_]?[0-9.:\]].*/, "", start)
        if (start !~ /^[A-Za-z_][A-Za-z0-9_-]*$/) start = "other"
        if (group == "all" || group == start) print name
        if (group == "--groups" && !(start in groups)) print start
        groups[start] = 1
    }
'
