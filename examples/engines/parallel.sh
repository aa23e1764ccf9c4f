#!/usr/bin/env bash
# Run pssh in shares with GNU parallel, and show the whole.
#
# Usage: parallel.sh JOURNALS SHARES -h hosts -p 100 -- uptime
#
# JOURNALS is a directory for the journals of this run, and the arguments behind SHARES are those of pssh. parallel starts a share that
# fails up to three times in all. With its journal, a share goes on where it was, and no command runs twice: a share that failed because
# its hosts did only reports that again. The same line continues a run that was killed as a whole.
#
# With PARALLEL='--sshlogin n1,n2 --workdir .' the shares run on other machines. These must share the working directory.
#
# The exit status is that of all hosts. To show them again: pssh --replay JOURNALS/*
set -eu
journals=$1 shares=$2
shift 2
mkdir -p "$journals"
# Words for bash, and complete commands, so that nothing in them is a placeholder of parallel.
export SHELL=/bin/bash
for ((share = 1; share <= shares; share++)); do
    printf '%q ' pssh --shard "$share/$shares" --journal "$journals/$share" --resume "$@"
    echo
done | parallel --jobs "$shares" --retries 3 --line-buffer >&2 || :
exec pssh --replay "$journals"/*
