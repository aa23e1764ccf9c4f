#!/usr/bin/env python3
"""Print machines of a Terraform or OpenTofu state for pssh.

Usage: terraform.py [--from FILE] GROUP | --groups

Runs terraform show -json in $TERRAFORM_DIR; FILE is its saved output, and - is standard input. A group is the name of a resource,
such as web of aws_instance.web, in all modules. In config.toml:

    [sources.terraform]
    command = "TERRAFORM_DIR=$HOME/infra /usr/local/lib/pssh/terraform.py %g"
    list = "TERRAFORM_DIR=$HOME/infra /usr/local/lib/pssh/terraform.py --groups"

Then: pssh -w @terraform:web uptime"""
import json
import os
import re
import subprocess
import sys

# The attributes of providers that have an address, the preferred one first.
ADDRESSES = ("public_ip", "public_ip_address", "ipv4_address", "access_ip_v4", "private_ip", "private_ip_address")


def state(source):
    if source == "-":
        return json.load(sys.stdin)
    if source:
        with open(source, encoding="utf-8") as file:
            return json.load(file)
    return json.loads(subprocess.check_output(["terraform", "show", "-json"], cwd=os.environ.get("TERRAFORM_DIR")))


def machines(module):
    """Yield the group, the name and the address of each machine in a module and in its children."""
    for resource in module.get("resources", []):
        values = resource.get("values") or {}
        address = next((values[key] for key in ADDRESSES if values.get(key)), None)
        if resource.get("mode") == "managed" and address:
            name = (values.get("tags") or {}).get("Name") or values.get("name") or address
            yield resource["name"], name if re.fullmatch(r"\w[\w.-]*", str(name)) else address, address
    for child in module.get("child_modules", []):
        yield from machines(child)


def main(arguments):
    source = arguments.pop(1) if len(arguments) > 1 and arguments[0] == "--from" else None
    arguments = arguments[1:] if source else arguments
    if len(arguments) != 1:
        sys.exit("usage: terraform.py [--from FILE] GROUP | --groups")
    found = list(machines(state(source).get("values", {}).get("root_module", {})))
    if arguments[0] == "--groups":
        print("\n".join(dict.fromkeys(group for group, _, _ in found)))
        return
    for group, name, address in found:
        if group == arguments[0]:
            print('%s address="%s"' % (name, address))


main(sys.argv[1:])
