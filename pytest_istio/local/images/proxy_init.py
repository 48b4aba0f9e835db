"""The init container's image: says which traffic it would have redirected.

Pods of the embedded Kubernetes share one network, where there is nothing to redirect: applications reach the
proxy by the environment's ``http_proxy``, and the proxy listens where the pod's Service sends to.
"""

from __future__ import annotations

import argparse
import sys

from pytest_istio.local.images.environment import log

__all__ = ["main"]


def main(argv: list[str]) -> None:
    """Read the options of ``istio-iptables.sh`` and log what they ask for."""
    parser = argparse.ArgumentParser(prog="istio-init", add_help=False)
    parser.add_argument("-p", dest="proxy_port", default="15001")
    parser.add_argument("-u", dest="proxy_user", default="1337")
    parser.add_argument("-m", dest="mode", default="REDIRECT")
    parser.add_argument("-i", dest="outbound_ranges", default="")
    parser.add_argument("-x", dest="excluded_outbound_ranges", default="")
    parser.add_argument("-b", dest="inbound_ports", default="")
    parser.add_argument("-d", dest="excluded_inbound_ports", default="")
    wanted, _ = parser.parse_known_args(argv)
    log("no iptables here: nothing is redirected, applications reach the proxy by http_proxy", **vars(wanted))


if __name__ == "__main__":
    main(sys.argv[1:])
