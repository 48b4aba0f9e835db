"""Addresses of the embedded Kubernetes: what its objects say, and where that is on the wire.

Kubernetes takes no loopback address for a pod or a service, and a normal user can give the machine no
other. So objects carry addresses 10.a.b.c and everything listens and connects at 127.a.b.c, all of which
is loopback on Linux. The octet *a* tells the range and which of the clusters side by side it belongs to:

    services       10.(96+i).0.0/16    served at 127.(96+i).x.y
    load balancer  127.(96+i).0.200    as it is, also in the Service's status
    pods           10.(160+i).x.y      served at 127.(160+i).x.y
    applications   127.(32+i).x.y      what listens behind a sidecar; pods' octet minus 128
    node           10.(224+i).0.1      served at 127.(224+i).0.1

Who may not bind ports below 1024 finds them 10000 higher.

Container programs use the functions. Outside the embedded Kubernetes, where LOCAL_ADDRESSES is not set,
each of them is the identity, so the same programs run in ordinary containers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "INSTANCES",
    "PORT_SHIFT",
    "Plan",
    "application_host",
    "is_cluster_address",
    "listening_host",
    "resolve",
    "wire",
    "wire_host",
    "wire_port",
]

INSTANCES = 32
"""How many clusters have room side by side on one machine."""

PORT_SHIFT = 10_000
"""What is added to a port below 1024 for who may not bind it."""

_CLUSTER_DOMAIN = ".svc.cluster.local"


def is_cluster_address(host: str) -> bool:
    """Tell whether `host` is a literal 10.x address: one that must never be connected to as it is."""
    octets = host.split(".")
    return len(octets) == 4 and octets[0] == "10" and all(octet.isdecimal() for octet in octets)  # noqa: PLR2004


def _loopback(host: str) -> str:
    return "127." + host.partition(".")[2] if is_cluster_address(host) else host


def _shifted(port: int, shift: int) -> int:
    return port + shift if 0 < port < 1024 else port  # noqa: PLR2004  # the kernel's privileged ports


def _application(pod: str) -> str:
    _, second, rest = pod.split(".", 2)
    return f"127.{int(second) - 128}.{rest}"


@dataclass(frozen=True)
class Plan:
    """The addresses of one of the clusters side by side.

    Attributes:
        instance: The cluster's number, 0 to `INSTANCES` - 1.
        port_shift: What is added to ports below 1024: 0 or `PORT_SHIFT`.
    """

    instance: int
    port_shift: int = 0

    @property
    def service_range(self) -> str:
        """The cluster addresses of services, as a CIDR."""
        return f"10.{96 + self.instance}.0.0/16"

    @property
    def api_service(self) -> str:
        """The cluster address of the service ``kubernetes``, the first of the range."""
        return f"10.{96 + self.instance}.0.1"

    @property
    def node(self) -> str:
        """The address of the only node."""
        return f"10.{224 + self.instance}.0.1"

    @property
    def load_balancer(self) -> str:
        """The address at which services of type LoadBalancer are reached: a loopback one as it is."""
        return f"127.{96 + self.instance}.0.200"

    def pod(self, number: int) -> str:
        """Return the address of the pod with a `number` from 1 to 65533."""
        high, low = divmod(number, 256)
        return f"10.{160 + self.instance}.{high}.{low}"

    def application(self, pod: str) -> str:
        """Return the loopback address at which applications beside a sidecar listen, given their pod's."""
        return _application(pod)

    def wire(self, host: str, port: int) -> tuple[str, int]:
        """Return where an address of this cluster's objects is served; any other host is left alone."""
        if is_cluster_address(host):
            return _loopback(host), _shifted(port, self.port_shift)
        return host, port


def _embedded() -> bool:
    return bool(os.environ.get("LOCAL_ADDRESSES"))


def wire_host(host: str) -> str:
    """Return the loopback address at which a literal cluster address is served, any other host as it is."""
    return _loopback(host) if _embedded() else host


def listening_host(ip: str) -> str:
    """Return where a program listens that all of its pod's addresses are to reach.

    Args:
        ip: The pod's address. A container has the pod's loopback as well, to which ports are forwarded; a
            process of the embedded cluster shares its host's with all others.
    """
    return ip if _embedded() else "0.0.0.0"  # noqa: S104 (within the pod)


def wire_port(port: int) -> int:
    """Return the port that stands for `port` of a pod, a service or the node."""
    return _shifted(port, int(os.environ.get("LOCAL_PORT_SHIFT", "0"))) if _embedded() else port


def wire(host: str, port: int, namespace: str = "default") -> tuple[str, int]:
    """Return where to connect to for `port` of a cluster address or of a service's name.

    Args:
        host: A literal address, or a name as a program in the cluster would look it up.
        port: The port that the cluster's objects name.
        namespace: The namespace of who asks, for names without one.
    """
    if not _embedded():
        return host, port
    if is_cluster_address(host):
        return wire_host(host), wire_port(port)
    found = resolve(host, namespace)
    return (found[0], wire_port(port)) if found else (host, port)


def resolve(name: str, namespace: str = "default") -> tuple[str, ...]:
    """Return the addresses at which a service is served, none for a name that is not a service's.

    A headless service has one for each of its ready pods. The addresses are loopback ones already.

    Args:
        name: ``service``, ``service.namespace``, ``service.namespace.svc`` or the full name.
        namespace: The namespace of who asks, for names without one.
    """
    if not _embedded():
        return (name,)
    short = name.removesuffix(".").removesuffix(_CLUSTER_DOMAIN).removesuffix(".svc")
    wanted = short if "." in short else f"{short}.{namespace}"
    lines = Path(os.environ["LOCAL_ADDRESSES"]).read_text(encoding="utf-8").splitlines()
    entries = [line.split() for line in lines]
    return tuple(_loopback(address) for address, *names in entries if wanted in names)


def application_host(pod: str) -> str:
    """Return the loopback address at which an application behind a sidecar listens, given its pod's address.

    The sidecar listens at the pod's own address, and the two share their port numbers.
    """
    return _application(pod) if _embedded() else pod
