//! Local programs that documents call and that cannot be run here: what they print, or what they do with pssh.

use super::lab::CODE;

/// The text of a stand-in for `program`.
pub(crate) fn of(program: &str) -> String {
    let code = match program {
        // The rest of the command line runs as a task of the array.
        "sbatch" => {
            "tasks=0-0\nfor word; do case $word in --array=*) tasks=${word#--array=};; esac; wrapped=$word; done\n\
             first=${tasks%-*} last=${tasks#*-}\nexport SLURM_ARRAY_TASK_MIN=$first SLURM_ARRAY_TASK_MAX=$last SLURM_ARRAY_TASK_STEP=1\n\
             export SLURM_ARRAY_TASK_COUNT=$((last - first + 1))\n\
             for SLURM_ARRAY_TASK_ID in $(seq \"$first\" \"$last\"); do export SLURM_ARRAY_TASK_ID; sh -c \"$wrapped\" || exit; done"
        }
        "op" => return format!("#!/bin/sh\ncase $* in *--otp) echo {CODE};; *) echo 'correct horse';; esac\n"),
        "ec2-hosts" => {
            "case $1 in --groups) echo web; echo canary;; web) echo 'web[01-03]';; canary) echo web01;;\n\
             lab) printf '%s\\n' web1 'web2 proxy-command=\"nc %h 22\"';; *) exit 1;; esac"
        }
        "terraform" => "echo '{\"web_hosts\": {\"value\": [\"web1\", \"web2\"]}}'",
        "kubectl" => "printf '%s\\n' node1 node2 node3",
        "scontrol" => "printf '%s\\n' node1 node2 node3",
        // A user's own configuration, which ssh takes from the password database, is not the lab's.
        "ssh" => SSH,
        "tsh" => return format!("#!/bin/sh\nset -- -W \"${{3#*@}}\" bastion\n{SSH}\n"),
        _ => panic!("there is no stand-in for {program}"),
    };
    format!("#!/bin/sh\n{code}\n")
}

const SSH: &str =
    "exec /usr/bin/ssh -F ~/.ssh/config -o \"UserKnownHostsFile=$HOME/.ssh/known_hosts\" -i ~/.ssh/id_ed25519 \"$@\"";
