"""Envoy routes: what a VirtualService asks for, and the way to every other service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.local.images.pilot import http_rules
from pytest_istio.local.images.pilot.envoy import cluster_name
from pytest_istio.local.images.pilot.mesh import DOMAIN, UNREADABLE, full_name, left_out, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_istio.local.images.pilot.mesh import Mesh, Port, Proxy, Rule, Service

__all__ = ["HTTP_PROXY", "for_gateway", "for_sidecar"]

Json = dict[str, Any]

HTTP_PROXY = "http_proxy"
"""The name of the routes that applications reach by the environment's ``http_proxy``."""

MESH_GATEWAY = "mesh"
_HTTP_PORT = 80


class _Hosts:
    """Virtual hosts of one route configuration; Envoy refuses all of it if a domain appears twice."""

    def __init__(self) -> None:
        self.virtual_hosts: list[Json] = []
        self._taken: set[str] = set()

    def add(self, name: str, domains: Iterable[str], routes: list[Json]) -> None:
        free = [domain for domain in dict.fromkeys(domains) if domain not in self._taken]
        if free and routes:
            self._taken.update(free)
            self.virtual_hosts.append({"name": name, "domains": free, "routes": routes})


def for_sidecar(mesh: Mesh, proxy: Proxy) -> Json:
    """Return the routes to all that an application behind a sidecar may call; the rest is answered 404."""
    hosts = _Hosts()
    for rule in mesh.virtual_services:
        if MESH_GATEWAY in (rule.spec.get("gateways") or [MESH_GATEWAY]):
            for host, port, domains in _destinations(mesh, rule, proxy):
                routes = _routes(mesh, rule, proxy, {MESH_GATEWAY}, port)
                hosts.add(f"{host}:{port}", domains, routes)
    for service in mesh.services.values():
        for port_ in service.ports:
            if port_.http:
                domains = _domains(service, port_.number, proxy.pod.namespace)
                hosts.add(f"{service.host}:{port_.number}", domains, [_plain(mesh, service, port_)])
    return {"name": HTTP_PROXY, "validate_clusters": False, "virtual_hosts": hosts.virtual_hosts}


def for_gateway(mesh: Mesh, proxy: Proxy, name: str, port: int, servers: Iterable[tuple[Rule, Json]]) -> Json:
    """Return the routes of the HTTP servers that share a port of a gateway.

    Args:
        mesh: The picture.
        proxy: The gateway.
        name: The name of the route configuration.
        port: The port that is shared.
        servers: Each server with the Gateway it comes from.
    """
    routes: dict[str, list[Json]] = {}
    redirected: set[str] = set()
    for gateway, server in servers:
        to_https = bool((server.get("tls") or {}).get("httpsRedirect"))
        for rule in mesh.virtual_services:
            if _bound(rule, gateway):
                found = _routes(mesh, rule, proxy, _names(gateway), port)
                for host in _common(rule.spec.get("hosts") or [], server.get("hosts") or []):
                    routes.setdefault(host, []).extend(found)
        if to_https:
            redirected.update(server.get("hosts") or [])
    hosts = _Hosts()
    for host in {**dict.fromkeys(redirected), **routes}:
        domains = ["*"] if host == "*" else [host, f"{host}:{port}"]
        hosts.add(f"{host}:{port}", domains, routes.get(host) or [_NOTHING])
    for virtual_host in hosts.virtual_hosts:
        if virtual_host["name"].rpartition(":")[0] in redirected:
            virtual_host["require_tls"] = "ALL"
    return {"name": name, "validate_clusters": False, "virtual_hosts": hosts.virtual_hosts}


_NOTHING: Json = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}


def _names(gateway: Rule) -> set[str]:
    return {
        gateway.name,
        f"{gateway.name}.{gateway.namespace}",
        f"{gateway.name}.{gateway.namespace}.{DOMAIN}",
        f"{gateway.namespace}/{gateway.name}",
    }


def _bound(rule: Rule, gateway: Rule) -> bool:
    """Tell whether a VirtualService names a Gateway; a bare name is one of its own namespace."""
    named = set(rule.spec.get("gateways") or [])
    return bool(named & _names(gateway) - ({gateway.name} if rule.namespace != gateway.namespace else set()))


def _common(wanted: Iterable[str], served: Iterable[str]) -> Iterator[str]:
    """Return the hosts that both a VirtualService and a server know, each as the narrower of the two."""
    served = list(served)
    for host in wanted:
        for pattern in served:
            if _within(host, pattern):
                yield host
            elif _within(pattern, host):
                yield pattern


def _within(host: str, pattern: str) -> bool:
    return pattern in {"*", host} or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _destinations(mesh: Mesh, rule: Rule, proxy: Proxy) -> Iterator[tuple[str, int, list[str]]]:
    """Return host, port and domains of all that a VirtualService of the mesh is about."""
    for named in rule.spec.get("hosts") or []:
        host = full_name(named, rule.namespace)
        services = [service for known, service in mesh.services.items() if _within(known, host)]
        for service in services:
            for port in service.ports:
                if port.http:
                    yield service.host, port.number, _domains(service, port.number, proxy.pod.namespace)
        if not services:
            yield host, _HTTP_PORT, [host, f"{host}:{_HTTP_PORT}"]


def _domains(service: Service, port: int, namespace: str) -> list[str]:
    """Return everything that a caller in a namespace may call a port of a service."""
    names = [service.host]
    short = service.host.removesuffix(f".{service.namespace}.{DOMAIN}")
    if short != service.host:
        names += [f"{short}.{service.namespace}.svc", f"{short}.{service.namespace}"]
        names += [short] if service.namespace == namespace else []
    if service.address:
        names.append(service.address)
    return [f"{name}:{port}" for name in names] + (names if port == _HTTP_PORT else [])


def _plain(mesh: Mesh, service: Service, port: Port) -> Json:
    action: Json = {"cluster": cluster_name("outbound", port.number, "", service.host)}
    try:
        hashed = http_rules.hash_policy(mesh, service.host, port.number, "")
    except UNREADABLE:
        hashed = {}
    return {"match": {"prefix": "/"}, "route": action | hashed}


def _routes(mesh: Mesh, rule: Rule, proxy: Proxy, gateways: set[str], port: int) -> list[Json]:
    """Return the routes of a VirtualService for one proxy; none of one that cannot be read."""
    try:
        return list(_translated(mesh, rule, proxy, gateways, port))
    except UNREADABLE as error:
        left_out("VirtualService", str(rule), repr(error))
        return []


def _translated(mesh: Mesh, rule: Rule, proxy: Proxy, gateways: set[str], port: int) -> Iterator[Json]:
    for route in rule.spec.get("http") or []:
        action = http_rules.action(mesh, rule, route, port)
        if not route.get("match"):
            yield {"match": {"prefix": "/"}, **action}
            # Nothing after a route that takes everything is ever reached.
            return
        for condition in route["match"]:
            if _applies(condition, proxy, gateways, port):
                yield {"match": http_rules.match(condition), **action}


def _applies(condition: Json, proxy: Proxy, gateways: set[str], port: int) -> bool:
    if "port" in condition and int(condition["port"]) != port:
        return False
    if condition.get("gateways"):
        return bool(gateways & set(condition["gateways"]))
    return matches(condition.get("sourceLabels") or {}, proxy.pod.labels)
