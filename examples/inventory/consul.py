#!/usr/bin/env python3
"""Print the nodes of services in Consul's catalogue for pssh.

Usage: consul.py SERVICE | --groups

Asks the agent at $CONSUL_HTTP_ADDR (http://127.0.0.1:8500), with $CONSUL_HTTP_TOKEN if it is set. A file: URL names a directory with
saved answers, such as v1/catalog/services. In config.toml:

    [sources.consul]
    command = "/usr/local/lib/pssh/consul.py %g"
    list = "/usr/local/lib/pssh/consul.py --groups"

Then: pssh -w @consul:web uptime
"""
import json
import os
import sys
import urllib.request


def ask(path):
    url = os.environ.get("CONSUL_HTTP_ADDR") or "127.0.0.1:8500"
    if "://" not in url:
        url = "http://" + url
    request = urllib.request.Request(url.rstrip("/") + "/v1/catalog/" + path)
    if os.environ.get("CONSUL_HTTP_TOKEN"):
        request.add_header("X-Consul-Token", os.environ["CONSUL_HTTP_TOKEN"])
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
    except OSError as error:
        sys.exit("consul.py: %s: %s" % (request.full_url, error))


def main(arguments):
    if len(arguments) != 1:
        sys.exit("usage: consul.py SERVICE | --groups")
    if arguments[0] == "--groups":
        print("\n".join(ask("services")))
        return
    known = set()
    for service in ask("service/" + arguments[0]):
        # A node can run several instances of a service.
        if service["Node"] not in known:
            known.add(service["Node"])
            print('%s address="%s"' % (service["Node"], service["Address"]))


main(sys.argv[1:])
