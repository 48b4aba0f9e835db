"""What Istio 1.0 requires of a DestinationRule, Gateway, ServiceEntry and EnvoyFilter."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_istio.local.images.galley import names

__all__ = ["destination_rule", "envoy_filter", "gateway", "service_entry"]

_Spec = Mapping[str, Any]
_PROTOCOLS = frozenset(["TCP", "UDP", "GRPC", "HTTP", "HTTP2", "HTTPS", "TLS", "MONGO", "REDIS", "MYSQL"])


def destination_rule(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a DestinationRule's spec."""
    del name, namespace
    yield from names.host(spec.get("host"))
    yield from _traffic_policy(spec.get("trafficPolicy"))
    seen: set[str] = set()
    for subset in spec.get("subsets") or []:
        subset_name = subset.get("name") or ""
        yield from names.subset_name(subset_name)
        if subset_name in seen:
            yield f"duplicate subset names: {subset_name}"
        seen.add(subset_name)
        yield from names.labels(subset.get("labels"))
        yield from _traffic_policy(subset.get("trafficPolicy"))


def _traffic_policy(policy: _Spec | None) -> Iterator[str]:
    if policy is None:
        return
    if not any(value is not None for value in policy.values()):
        yield "traffic policy must have at least one field"
    yield from _policy_parts(policy)
    for at_port in policy.get("portLevelSettings") or []:
        selector = at_port.get("port") or {}
        if not selector.get("name"):
            yield from names.port(selector.get("number"))
        yield from _policy_parts(at_port)


def _policy_parts(policy: _Spec) -> Iterator[str]:
    outlier = policy.get("outlierDetection") or {}
    yield from names.duration(outlier.get("baseEjectionTime"))
    yield from names.duration(outlier.get("interval"))
    yield from names.percent(outlier.get("maxEjectionPercent"))
    if (outlier.get("consecutiveErrors") or 0) < 0:
        yield "outlier detection consecutive errors cannot be negative"
    pool = policy.get("connectionPool")
    if pool is not None:
        yield from _connection_pool(pool)
    tls = policy.get("tls") or {}
    if tls.get("mode") == "MUTUAL":
        if not tls.get("clientCertificate"):
            yield "client certificate required for mutual tls"
        if not tls.get("privateKey"):
            yield "private key required for mutual tls"


def _connection_pool(pool: _Spec) -> Iterator[str]:
    if pool.get("http") is None and pool.get("tcp") is None:
        yield "connection pool must have at least one field"
    tcp = pool.get("tcp") or {}
    yield from names.duration(tcp.get("connectTimeout"))
    for field, value in {**tcp, **(pool.get("http") or {})}.items():
        if isinstance(value, int) and value < 0:
            yield f"connection pool: {field} must be non-negative"


def gateway(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a Gateway's spec."""
    del name, namespace
    servers = spec.get("servers") or []
    if not servers:
        yield "gateway must have at least one server"
    seen: set[str] = set()
    for server in servers:
        yield from _server(server)
        port_name = (server.get("port") or {}).get("name") or ""
        if port_name and port_name in seen:
            yield f"port names in servers must be unique: duplicate name {port_name}"
        seen.add(port_name)


def _server(server: _Spec) -> Iterator[str]:
    if not server.get("hosts"):
        yield "server config must contain at least one host"
    for host in server.get("hosts") or []:
        yield from names.host(host)
    port = server.get("port")
    if port is None:
        yield "port is required"
        return
    yield from _service_port(port)
    yield from _server_tls(str(port.get("protocol")).upper(), server.get("tls"))


def _server_tls(protocol: str, tls: _Spec | None) -> Iterator[str]:
    if tls is None:
        if protocol in {"HTTPS", "TLS"}:
            yield "server must have TLS settings for HTTPS/TLS protocols"
        return
    if protocol not in {"HTTPS", "TLS"} and any(tls.get(field) for field in ("mode", "serverCertificate")):
        yield "server cannot have TLS settings for non HTTPS/TLS ports"
    if tls.get("mode") in {"SIMPLE", "MUTUAL"}:
        wanted = {"serverCertificate": "server certificate", "privateKey": "private key"}
        if tls["mode"] == "MUTUAL":
            wanted["caCertificates"] = "client CA bundle"
        for field, what in wanted.items():
            if not tls.get(field):
                yield f"{tls['mode']} TLS requires a {what}"


def _service_port(port: _Spec) -> Iterator[str]:
    if not names.is_label(port.get("name") or ""):
        yield f"invalid port name: {port.get('name') or ''}"
    if str(port.get("protocol") or "").upper() not in _PROTOCOLS:
        yield f"unsupported protocol: {port.get('protocol') or ''}"
    yield from names.port(port.get("number"))


def service_entry(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a ServiceEntry's spec."""
    del name, namespace
    hosts = spec.get("hosts") or []
    if not hosts:
        yield "service entry must have at least one host"
    for host in hosts:
        if host == "*" or "." not in host:
            yield f"invalid host {host}"
        else:
            yield from names.host(host)
    for address in spec.get("addresses") or []:
        yield from names.cidr(address)
    ports = spec.get("ports") or []
    for field, what in (("name", "port name"), ("number", "port")):
        given = [port.get(field) for port in ports]
        for value in sorted({str(value) for value in given if given.count(value) > 1}):
            yield f"service entry {what} {value} already defined"
    for port in ports:
        yield from _service_port(port)
    yield from _endpoints(spec, {port.get("name") for port in ports})


def _endpoints(spec: _Spec, ports: set[str | None]) -> Iterator[str]:
    resolution, endpoints = spec.get("resolution") or "NONE", spec.get("endpoints") or []
    if resolution == "NONE" and endpoints:
        yield "no endpoints should be provided for discovery type none"
    if resolution == "STATIC" and not endpoints:
        yield "endpoints must be provided if service entry discovery mode is static"
    if resolution == "DNS" and not endpoints:
        for host in spec.get("hosts") or []:
            if any(names.fqdn(host)):
                yield "hosts must be FQDN if no endpoints are provided for discovery mode DNS"
    for endpoint in endpoints:
        yield from _endpoint(endpoint, resolution, ports)


def _endpoint(endpoint: _Spec, resolution: str, ports: set[str | None]) -> Iterator[str]:
    address = endpoint.get("address") or ""
    if resolution == "DNS":
        yield from names.fqdn(address)
    elif resolution == "STATIC" and not address.startswith("unix://") and not _is_ipv4(address):
        yield f"{address} is not a valid IPv4 address"
    for port, number in (endpoint.get("ports") or {}).items():
        if port not in ports:
            yield f"endpoint port {port} is not defined by the service entry"
        yield from names.port(number)
    yield from names.labels(endpoint.get("labels"))


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def envoy_filter(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with an EnvoyFilter's spec."""
    del name, namespace
    filters = spec.get("filters") or []
    if not filters:
        yield "envoy filter: missing filters"
    for wanted in filters:
        position = wanted.get("insertPosition") or {}
        if position.get("index") in {"BEFORE", "AFTER"} and not position.get("relativeTo"):
            yield "envoy filter: missing relativeTo filter with BEFORE/AFTER index"
        if wanted.get("filterType") in {None, "INVALID"}:
            yield "envoy filter: missing filter type"
        if not wanted.get("filterName"):
            yield "envoy filter: missing filter name"
        if wanted.get("filterConfig") is None:
            yield "envoy filter: missing filter config"
