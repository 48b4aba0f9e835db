"""The init container's image: redirects a pod's traffic to its proxy.

Pods of the embedded Kubernetes share one network, where there is nothing to redirect: applications reach the
proxy by the environment's ``http_proxy``, and the proxy listens where the pod's Service sends to. There it
only says what it would have done.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from pytest_istio.local.images.environment import embedded, log

__all__ = ["main", "rules"]

INBOUND_PORT = "15006"
"""Where the proxy takes what arrives; what leaves goes to the port that the options name."""


def main(argv: list[str]) -> None:
    """Do what the options of ``istio-iptables.sh`` ask for."""
    parser = argparse.ArgumentParser(prog="istio-init", add_help=False)
    parser.add_argument("-p", dest="proxy_port", default="15001")
    parser.add_argument("-u", dest="proxy_user", default="1337")
    parser.add_argument("-m", dest="mode", default="REDIRECT")
    parser.add_argument("-i", dest="outbound_ranges", default="")
    parser.add_argument("-x", dest="excluded_outbound_ranges", default="")
    parser.add_argument("-b", dest="inbound_ports", default="")
    parser.add_argument("-d", dest="excluded_inbound_ports", default="")
    wanted, _ = parser.parse_known_args(argv)
    if embedded():
        log("no iptables here: applications reach the proxy by http_proxy", **vars(wanted))
        return
    for rule in rules(wanted):
        log("iptables", rule=" ".join(rule))
        subprocess.run(["iptables", "-w", "-t", "nat", *rule], check=True)


def rules(wanted: argparse.Namespace) -> list[list[str]]:
    """Return the rules of the table ``nat``: what arrives for the application, and what it sends.

    What the proxy itself sends, and what stays inside the pod, is left alone.
    """
    tcp = ["-p", "tcp"]
    found = [
        ["-A", "PREROUTING", *tcp, *_port(port), "-j", "REDIRECT", "--to-ports", INBOUND_PORT]
        for port in _listed(wanted.inbound_ports)
    ]
    found.append(["-A", "OUTPUT", *tcp, "-m", "owner", "--uid-owner", wanted.proxy_user, "-j", "RETURN"])
    found += [
        ["-A", "OUTPUT", *tcp, "-d", left_alone, "-j", "RETURN"]
        for left_alone in ["127.0.0.0/8", *_listed(wanted.excluded_outbound_ranges)]
    ]
    to_proxy = ["-j", "REDIRECT", "--to-ports", wanted.proxy_port]
    ranges = _listed(wanted.outbound_ranges)
    found += [["-A", "OUTPUT", *tcp, *([] if one == "*" else ["-d", one]), *to_proxy] for one in ranges]
    return found


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _port(port: str) -> list[str]:
    return [] if port == "*" else ["--dport", port]


if __name__ == "__main__":
    main(sys.argv[1:])
