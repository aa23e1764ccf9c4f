#!/usr/bin/env bash
# Run pssh in shares with GNU parallel, and show the whole.
#
# Usage: parallel.sh JOURNALS SHARES -h hosts -p 100 -- uptime
#
# JOURNALS is a directory for the journals of this run, and the arguments behind SHARES are those of pssh. parallel starts a share that
# was killed, or in which pssh itself failed, up to three times in all. With its journal, a share goes on where it was, and no command runs
# twice. The same line continues a run that was killed as a whole.
#
# With PARALLEL='--sshlogin n1,n2 --workdir .' the shares run on other machines. These must share the working directory.
#
# While the shares run, their output goes to standard error. The whole follows on standard output; with --journal-output, it has what hosts
# printed. The exit status is that of all hosts, and at least 1 if a share could not run. To show the whole again: pssh --replay JOURNALS/*
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 JOURNALS SHARES PSSH-ARGUMENT..." >&2
    exit 2
fi
journals=$1 shares=$2
shift 2
mkdir -p "$journals"
# Words for bash, and complete commands, so that nothing in them is a placeholder of parallel.
export SHELL=/bin/bash
failed=0
for ((share = 1; share <= shares; share++)); do
    printf '%q ' pssh --shard "$share/$shares" --journal "$journals/$share" --resume "$@"
    # 3 to 5 is about hosts. Another attempt would only report it again.
    echo '; status=$?; [ $status -ge 3 -a $status -le 5 ] || exit $status'
done | parallel --jobs "$shares" --retries 3 --line-buffer >&2 || failed=1
if [ $failed = 1 ]; then
    echo "$0: not all shares have run to their end (see above); what follows is what the journals have" >&2
fi
pssh --replay "$journals"/* || exit
exit $failed
