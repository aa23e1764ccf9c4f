#!/usr/bin/env python3
"""Print hosts of an Ansible inventory for pssh.

Usage: ansible.py [--from FILE] GROUP | --groups

Runs ansible-inventory --list, which reads $ANSIBLE_INVENTORY; FILE is its saved output, and - is standard input. GROUP includes its
children. In config.toml:

    [sources.ansible]
    command = "/usr/local/lib/pssh/ansible.py %g"
    list = "/usr/local/lib/pssh/ansible.py --groups"

Then: pssh -w @ansible:web uptime"""
import json
import subprocess
import sys


def inventory(source):
    if source == "-":
        return json.load(sys.stdin)
    if source:
        with open(source, encoding="utf-8") as file:
            return json.load(file)
    return json.loads(subprocess.check_output(["ansible-inventory", "--list"]))


def hosts_of(groups, group, seen):
    """Return the hosts of a group and of its children, each once."""
    if group in seen:
        return []
    seen.add(group)
    found = list(groups[group].get("hosts", []))
    for child in groups[group].get("children", []):
        found += hosts_of(groups, child, seen) if child in groups else []
    return list(dict.fromkeys(found))


def main(arguments):
    source = arguments.pop(1) if len(arguments) > 1 and arguments[0] == "--from" else None
    arguments = arguments[1:] if source else arguments
    if len(arguments) != 1:
        sys.exit("usage: ansible.py [--from FILE] GROUP | --groups")
    groups = inventory(source)
    variables = groups.pop("_meta", {}).get("hostvars", {})
    if arguments[0] == "--groups":
        print("\n".join(groups))
        return
    if arguments[0] not in groups:
        sys.exit("ansible.py: the inventory has no group " + arguments[0])
    for host in hosts_of(groups, arguments[0], set()):
        line = [host]
        for key, variable in ("address", "ansible_host"), ("port", "ansible_port"), ("user", "ansible_user"):
            if variable in variables.get(host, {}):
                line.append('%s="%s"' % (key, variables[host][variable]))
        print(" ".join(line))


main(sys.argv[1:])
