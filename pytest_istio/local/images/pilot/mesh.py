"""The cluster's objects as one frozen picture, in the terms that Envoy's configuration is made of."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_istio.local.images.environment import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "DOMAIN",
    "UNREADABLE",
    "Endpoint",
    "Mesh",
    "Pod",
    "Port",
    "Proxy",
    "Rule",
    "Service",
    "certificate",
    "endpoints",
    "full_name",
    "left_out",
    "matches",
    "picture",
    "pod",
    "rule",
    "service",
]

Json = dict[str, Any]
Key = tuple[str, str]

DOMAIN = "svc.cluster.local"
PROXY_CONTAINER = "istio-proxy"
_HTTP = ("http", "http2", "grpc")

UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading a rule raises that says nothing usable. It is left out; refusing it is Galley's part."""


@functools.lru_cache(maxsize=1024)
def left_out(kind: str, name: str, reason: str) -> None:
    """Log that an object is left out of the configuration and why, once for each reason."""
    log("left out of the configuration", level="warning", kind=kind, object=name, reason=reason)


class Pod(NamedTuple):
    """What matters of a pod.

    Attributes:
        name: Its name.
        namespace: Its namespace.
        ip: Its address; empty while it has none, and when it has ended.
        labels: Its labels.
        account: Its ServiceAccount.
        ports: The TCP ports that its containers but the proxy declare, number to name.
    """

    name: str
    namespace: str
    ip: str
    labels: Mapping[str, str]
    account: str
    ports: Mapping[int, str]


class Port(NamedTuple):
    """A TCP port of a service: what others call, and what its pods listen at."""

    number: int
    name: str
    target: int | str
    protocol: str

    @property
    def http(self) -> bool:
        """Whether the port's name says that it carries HTTP, in any of its forms."""
        return self.protocol in _HTTP


class Endpoint(NamedTuple):
    """Where a port of a service is served; the labels are its pod's."""

    host: str
    port: int
    labels: Mapping[str, str]
    pod: Pod | None = None


class Service(NamedTuple):
    """A service of the cluster, or one that a ServiceEntry tells of.

    Attributes:
        host: The full name by which rules know it.
        namespace: The namespace of the object.
        address: Its cluster address; empty if it has none.
        selector: Chooses its pods.
        ports: Its TCP ports.
        endpoints: Where each port is served, by the port's number.
    """

    host: str
    namespace: str
    address: str
    selector: Mapping[str, str]
    ports: tuple[Port, ...]
    endpoints: Mapping[int, tuple[Endpoint, ...]]


class Rule(NamedTuple):
    """An object of one of Istio's kinds."""

    namespace: str
    name: str
    created: str
    spec: Json

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Proxy(NamedTuple):
    """A proxy that asks for configuration: ``sidecar`` or ``router``, and its pod."""

    id: str
    role: str
    ip: str
    pod: Pod


@dataclass(frozen=True)
class Mesh:
    """Everything that configuration is made from.

    Attributes:
        services: By full name.
        pods: By namespace and name.
        virtual_services: Oldest first, which is the order in which they apply.
        destination_rules: By full name of the host, oldest first.
        gateways: Oldest first.
        policies: Authentication policies of namespaces and services.
        mesh_policies: The authentication policy of the whole mesh, if there is one.
        certificates: Namespace and name of ServiceAccounts that have a certificate.
    """

    services: Mapping[str, Service]
    pods: Mapping[Key, Pod]
    virtual_services: tuple[Rule, ...]
    destination_rules: Mapping[str, tuple[Rule, ...]]
    gateways: tuple[Rule, ...]
    policies: tuple[Rule, ...]
    mesh_policies: tuple[Rule, ...]
    certificates: frozenset[Key]

    def proxy(self, node: str) -> Proxy | None:
        """Return the proxy with a node id, or None as long as its pod is unknown."""
        role, ip, name, _ = node.split("~")
        pod_name, _, namespace = name.rpartition(".")
        found = self.pods.get((namespace, pod_name))
        return Proxy(node, role, ip, found) if found else None

    def has_certificate(self, owner: Pod) -> bool:
        """Tell whether Citadel has made a certificate for the pod's ServiceAccount."""
        return (owner.namespace, owner.account) in self.certificates

    def services_of(self, owner: Pod) -> list[Service]:
        """Return the services that select a pod, in the order of their names."""
        chosen = (
            known
            for known in self.services.values()
            if known.namespace == owner.namespace and known.selector and matches(known.selector, owner.labels)
        )
        return sorted(chosen, key=lambda known: known.host)


def full_name(host: str, namespace: str) -> str:
    """Return the name that a rule in a namespace means by a host: a short name is a service beside it."""
    return f"{host}.{namespace}.{DOMAIN}" if "." not in host and host != "*" else host


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Tell whether labels hold everything that a selector asks for."""
    return all(labels.get(name) == value for name, value in selector.items())


def pod(item: Json) -> Pod:
    """Return what matters of a Pod."""
    metadata, spec, status = item["metadata"], item["spec"], item.get("status", {})
    ended = status.get("phase") in {"Succeeded", "Failed"}
    ports = {
        port["containerPort"]: port.get("name", "")
        for container in spec["containers"]
        if container["name"] != PROXY_CONTAINER
        for port in container.get("ports", [])
        if port.get("protocol", "TCP") == "TCP"
    }
    return Pod(
        metadata["name"],
        metadata["namespace"],
        "" if ended else status.get("podIP", ""),
        metadata.get("labels", {}),
        spec.get("serviceAccountName", "default"),
        ports,
    )


def _protocol(port_name: str) -> str:
    """Return the protocol that a port's name begins with, as Istio reads it; TCP if it says nothing."""
    known = port_name.partition("-")[0].lower()
    if known.startswith("grpc"):
        return "grpc"
    return known if known in {*_HTTP, "https", "tls", "mongo", "redis"} else "tcp"


def service(item: Json) -> Service:
    """Return what matters of a Service; its endpoints come from elsewhere."""
    metadata, spec = item["metadata"], item["spec"]
    ports = tuple(
        Port(
            port["port"],
            port.get("name", ""),
            port.get("targetPort", port["port"]),
            _protocol(port.get("name", "")),
        )
        for port in spec.get("ports", [])
        if port.get("protocol", "TCP") == "TCP"
    )
    address = spec.get("clusterIP", "")
    host = f"{metadata['name']}.{metadata['namespace']}.{DOMAIN}"
    selector = spec.get("selector") or {}
    return Service(host, metadata["namespace"], "" if address == "None" else address, selector, ports, {})


def endpoints(item: Json) -> tuple[tuple[str, str, int], ...]:
    """Return what matters of an Endpoints: the ready addresses by port name."""
    return tuple(
        (address["ip"], port.get("name", ""), port["port"])
        for subset in item.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
    )


def rule(item: Json) -> Rule:
    """Return what matters of an object of one of Istio's kinds."""
    metadata = item["metadata"]
    created = metadata.get("creationTimestamp", "")
    return Rule(metadata.get("namespace", ""), metadata["name"], created, item.get("spec") or {})


def certificate(item: Json) -> str:
    """Return the ServiceAccount whose certificate is in a Secret, given the Secret's metadata."""
    return str(item["metadata"]["name"]).removeprefix("istio.")


def _served(known: Service, name: str, found: Mapping[Key, Any], by_ip: Mapping[str, Pod]) -> Service:
    """Return the service with its endpoints."""
    addresses = found.get((known.namespace, name), ())
    nobody: Mapping[str, str] = {}
    ports = {
        port.number: tuple(
            Endpoint(ip, number, by_ip[ip].labels if ip in by_ip else nobody, by_ip.get(ip))
            for ip, port_name, number in addresses
            if port_name == port.name
        )
        for port in known.ports
    }
    return known._replace(endpoints=ports)


def _entry_ports(spec: Json) -> tuple[Port, ...]:
    return tuple(
        Port(
            int(port["number"]),
            port["name"],
            int(port["number"]),
            _protocol(port.get("protocol", "TCP").lower()),
        )
        for port in spec.get("ports", [])
    )


def _entry(spec: Json, namespace: str, inside: Mapping[str, Service]) -> list[Service]:
    """Return the services that a ServiceEntry tells of, one for each of its hosts.

    An endpoint named as a service of the cluster is that service's address: who looks names up for a
    proxy on the embedded Kubernetes is the discovery service.
    """
    ports = _entry_ports(spec)
    services = []
    for host in spec["hosts"]:
        given = spec.get("endpoints") or ([] if host.startswith("*") else [{"address": host}])
        served = {port.number: tuple(_entry_endpoint(end, port, inside) for end in given) for port in ports}
        services.append(Service(host, namespace, "", {}, ports, served))
    return services


def _entry_endpoint(end: Json, port: Port, inside: Mapping[str, Service]) -> Endpoint:
    named = end["address"]
    address = inside[named].address if named in inside else named
    return Endpoint(address, (end.get("ports") or {}).get(port.name, port.number), end.get("labels") or {})


def _entries(rules: Iterable[Rule], inside: Mapping[str, Service]) -> dict[str, Service]:
    found: dict[str, Service] = {}
    for entry in rules:
        try:
            services = _entry(entry.spec, entry.namespace, inside)
        except UNREADABLE as error:
            left_out("ServiceEntry", str(entry), repr(error))
            continue
        for told in services:
            found.setdefault(told.host, told)
    return found


def _oldest_first(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(sorted(rules, key=lambda one: (one.created, one.namespace, one.name)))


def picture(objects: Mapping[str, Mapping[Key, Any]]) -> Mesh:
    """Return the picture of what a `store.Store` has seen."""
    pods = objects["Pod"]
    by_ip = {one.ip: one for one in pods.values() if one.ip}
    services = {
        known.host: _served(known, name, objects["Endpoints"], by_ip)
        for (_, name), known in objects["Service"].items()
    }
    by_host: dict[str, tuple[Rule, ...]] = {}
    for one in _oldest_first(objects["DestinationRule"].values()):
        host = full_name(str(one.spec.get("host", "")), one.namespace)
        by_host[host] = (*by_host.get(host, ()), one)
    return Mesh(
        services={**_entries(_oldest_first(objects["ServiceEntry"].values()), services), **services},
        pods=pods,
        virtual_services=_oldest_first(objects["VirtualService"].values()),
        destination_rules=by_host,
        gateways=_oldest_first(objects["Gateway"].values()),
        policies=_oldest_first(objects["Policy"].values()),
        mesh_policies=_oldest_first(objects["MeshPolicy"].values()),
        certificates=frozenset((namespace, account) for (namespace, _), account in objects["Secret"].items()),
    )
