"""The Python library parallel-ssh, used as its manual shows it: prints every line of every host after the host's name.

Usage: parallel_ssh.py HOSTS USER PORT KEY|agent POOL_SIZE [JUMP_HOST JUMP_PORT] COMMAND

The library cannot check host keys. Output is read in one greenlet for each host, so that no host waits for another.
"""

import sys

from gevent import joinall, spawn
from pssh.clients import ParallelSSHClient


def main():
    hosts, user, port, key, pool_size, *jump, command = sys.argv[1:]
    proxy = {}
    if jump:
        proxy = {"proxy_host": jump[0], "proxy_port": int(jump[1]), "proxy_user": user, "proxy_pkey": key}
    with open(hosts, encoding="ascii") as lines:
        names = lines.read().split()
    client = ParallelSSHClient(
        names,
        user=user,
        port=int(port),
        pkey=None if key == "agent" else key,
        pool_size=int(pool_size),
        allow_agent=key == "agent",
        identity_auth=False,
        **proxy,
    )
    write = sys.stdout.write

    def show(output):
        for line in output.stdout:
            write(f"{output.host}: {line}\n")

    outputs = client.run_command(command)
    joinall([spawn(show, output) for output in outputs], raise_error=True)
    client.join(outputs)
    sys.exit(max(output.exit_code for output in outputs))


main()
