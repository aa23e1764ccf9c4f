//! The real binary against real servers: a sshd of the system on loopback, and an SSH server in this process for what sshd
//! cannot be made to do. `tests/run` installs what is needed and runs everything.

/// The SSH server in this process.
#[path = "../embedded/mod.rs"]
mod embedded;
/// An agent that records its requests.
mod fake_agent;

/// Running pssh: its home, its time limit, what it said.
mod bin;
/// A terminal to run on.
mod pty;
/// An SSH server whose packets are the test's.
mod raw;
/// A checker of JSON against a schema.
mod schema;
/// Thousands of hosts, run after run.
#[path = "../soak/mod.rs"]
mod soak;
/// Running sshd: keys, addresses, users, what it left behind.
mod sshd;

/// Completions in bash, zsh and fish.
mod completions;
/// Hints for several hosts, and for jump hosts.
mod hints;
/// Options and words of other tools.
mod slips;
/// Files that cannot be read.
mod unreadable;
/// What servers say: banners and goodbyes.
mod words;

/// Absurd input.
mod absurd;
/// Addresses with a zone, and those that cannot be used here.
mod addresses;
/// Agents that are told which session they serve.
mod agent_binding;
/// What agents are told, and agents that answer otherwise than OpenSSH's.
mod agent_dialogues;
/// The agent as the hosts see it.
mod agent_forwarding;
/// The algorithms of the key exchange, compared with ssh.
mod algorithms;
/// Keys and agents.
mod auth;
/// Certificates and encrypted keys.
mod certificates;
/// Checks after commands.
mod check;
/// The logs of CI systems.
mod ci;
/// The command line, the lists of hosts, and what is refused before anything connects.
mod cli;
/// The library's client.
mod client;
/// How the command is run, and dry runs.
mod commands;
/// What the resolver of ssh_config(5) makes of it, compared with `ssh -G`.
#[expect(clippy::unwrap_used, reason = "what fails there is this machine, and the panic says where")]
mod config_oracle;
/// What a host costs, counted.
mod cost;
/// Connections that end before anybody is logged in.
mod cut;
/// What we depend on.
mod dependencies;
/// The commands, links and pages of the documents.
mod documents;
/// Command lines of Debian's pssh, run by ours too.
mod drop_in;
/// Another server than OpenSSH's.
mod dropbear;
/// Slurm, GNU parallel, Kubernetes and GitLab, as in examples/engines.
mod engines;
/// A run as JSON.
mod events;
/// What `--explain` says.
mod explain;
/// The list of those that failed, over the list that was read.
mod failed_to;
/// Every fault in every phase.
mod faults;
/// Which files may run programs here and weaken checks.
mod file_trust;
/// How output is shown, and the files that it is written to.
mod formats;
/// The manual page and the completions.
mod generate;
/// Per-host arguments.
mod host_args;
/// The cases of `host_certificates`.
mod host_certificate_cases;
/// Host certificates, revoked host keys and KnownHostsCommand, compared with ssh.
mod host_certificates;
/// What is said about single hosts: in --host-config, and in the lines of hosts files.
mod host_config;
/// Which host keys are accepted, through the binary.
mod host_keys;
/// What else decides whether a host is trusted, through the binary.
mod host_trust;
/// Hosts that mean harm.
mod hostile;
/// What ssh_config(5) says about the keys to log in with.
mod identities;
/// Standard input for all hosts.
mod input;
/// Ctrl-C, and its messages.
mod interrupted;
/// Sources of hosts, and the scripts that show some.
mod inventory;
/// What a run records, and runs that continue another one.
mod journal;
/// Runs that are killed, and what continues them.
mod killed;
/// The verdicts on host keys, compared with ssh's own.
mod known_hosts;
/// One program under five names.
mod launchers;
/// Which folder of the library imports which.
mod layers;
/// Columns, blocks and the status line.
mod layout;
/// The library's surface: events, copies, errors, and the list of what is public.
mod library;
/// Runs that are stopped: after a time, or once hosts have failed.
mod limits;
/// Files here that are written to.
/// The hosts of a run, printed.
mod listed;
mod local_files;
mod logins;
/// The messages of errors and slips, word for word.
mod messages;
/// Ranges, lists, filters and groups of hosts.
mod nodes;
/// Every way in which a host can end.
mod outcomes;
/// Passwords, what servers ask, and several factors.
mod passwords;
/// Killing processes.
mod ping;
mod pnuke;
/// Jump hosts and proxy commands.
mod proxies;
/// rsync over sessions.
mod prsync;
/// Copies to hosts.
mod pscp;
/// Copies from hosts.
mod pslurp;
/// The end of a run: what has failed.
mod recap;
/// What others repeat of a password.
mod redacted;
/// Copies that the host or the disk refuses.
mod refused_copies;
/// Servers that exchange keys again while something goes on.
mod rekey;
/// Servers that exchange keys again to do harm.
mod rekey_attacks;
/// Runs that are shown again from their journals.
mod replayed;
/// How a run is shown: folded, not at all, as files.
mod reports;
/// Variables and terminals for commands.
mod requests;
/// Hosts that are tried again.
mod retries;
/// Rolling runs: batches, budgets, orders, pace.
mod rolling;
/// rsync over channels, without SSH.
mod rsync;
/// What a run prints, and how it ends.
mod run;
/// Two hundred hosts in one run.
mod scale;
/// Local scripts, and commands that are too long for a line.
mod scripts;
/// Secrets, wherever they could come to light.
mod secrets;
/// Sessions that stay between the commands of a client.
mod sessions;
/// Shares of a list.
mod shard;
/// Being stopped: by signals, by a reader that goes away, by a disk that is full.
mod signals;
/// The formats that show hosts one by one.
mod snapshots;
/// The soak in its short form.
mod soaking;
/// What ssh_config(5) says about hosts.
mod ssh_config;
/// What the system does not have left for us: descriptors, threads, memory, disk, a terminal.
mod starved;
/// Runs that are stopped and continued.
mod stopped;
/// Remote commands that are stopped, of any user.
mod stopping;
/// Data without a reader.
mod streams;
/// Which ends count as success.
mod success;
/// Commands as another user.
mod sudo;
/// Output on a terminal: colours, the status line, and what remote bytes may not do to it.
mod terminals;
/// The file known_hosts, while others write it and when we are killed.
mod trust;
/// What is waited for: other attempts, names, copies.
mod waiting;
