"""Envoy clusters: one for each port of each service, and for each subset of those; and the proxy's own."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from pytest_istio.local import addresses
from pytest_istio.local.images.environment import embedded
from pytest_istio.local.images.pilot import policy, tls
from pytest_istio.local.images.pilot.envoy import address, cluster_name, duration
from pytest_istio.local.images.pilot.mesh import UNREADABLE, left_out, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_istio.local.images.pilot.mesh import Endpoint, Mesh, Pod, Port, Proxy, Service

__all__ = ["inbound", "outbound", "own_port"]

Json = dict[str, Any]

_CONNECT_TIMEOUT = "10s"
_HTTP2 = ("http2", "grpc")
_BALANCERS = {
    "ROUND_ROBIN": "ROUND_ROBIN",
    "LEAST_CONN": "LEAST_REQUEST",
    "RANDOM": "RANDOM",
    "PASSTHROUGH": "ROUND_ROBIN",
}
_THRESHOLDS = {
    ("tcp", "maxConnections"): "max_connections",
    ("http", "http1MaxPendingRequests"): "max_pending_requests",
    ("http", "http2MaxRequests"): "max_requests",
    ("http", "maxRetries"): "max_retries",
}


def own_port(port: Port, owner: Pod) -> int | None:
    """Return the port that a pod itself listens at for a port of its service; None if it declares none."""
    if isinstance(port.target, int):
        return port.target
    return next((number for number, name in owner.ports.items() if name == port.target), None)


def inbound(mesh: Mesh, proxy: Proxy) -> list[Json]:
    """Return the clusters of the application behind a sidecar, by the port it listens at."""
    found: dict[int, Json] = {}
    for service in mesh.services_of(proxy.pod):
        for port in service.ports:
            number = own_port(port, proxy.pod)
            if number is not None and number not in found:
                name = cluster_name("inbound", port.number, port.name, service.host)
                found[number] = _application(name, proxy.ip, number, http2=port.protocol in _HTTP2)
    for number in proxy.pod.ports:
        found.setdefault(number, _application(cluster_name("inbound", number, "", ""), proxy.ip, number))
    return list(found.values())


def _application(name: str, pod_ip: str, port: int, *, http2: bool = False) -> Json:
    application = addresses.application_host(pod_ip)
    where = {"address": application, "port_value": addresses.wire_port(port)}
    ends: list[Json] = [{"endpoint": {"address": {"socket_address": where}}}]
    return _cluster(name, ends) | _protocol(http2, {})


def outbound(mesh: Mesh) -> list[Json]:
    """Return the clusters of all services and their subsets."""
    return list(_outbound(mesh))


def _outbound(mesh: Mesh) -> Iterator[Json]:
    for host in sorted(mesh.services):
        service = mesh.services[host]
        for port in service.ports:
            for subset, labels in {"": {}, **_usable_subsets(mesh, host)}.items():
                ends = [end for end in service.endpoints[port.number] if matches(labels, end.labels)]
                yield _destination(mesh, service, port, subset, [end for end in ends if _may_reach(end)])


def _usable_subsets(mesh: Mesh, host: str) -> Json:
    try:
        return dict(policy.subsets(mesh, host))
    except UNREADABLE as error:
        left_out("DestinationRule", host, repr(error))
        return {}


def _destination(mesh: Mesh, service: Service, port: Port, subset: str, ends: list[Endpoint]) -> Json:
    """Return the cluster of a subset, given its endpoints."""
    name = cluster_name("outbound", port.number, subset, service.host)
    base = _cluster(name, [{"endpoint": {"address": address(end.host, end.port)}} for end in ends])
    try:
        settings = policy.traffic_policy(mesh, service.host, port.number, subset)
        sni = f"outbound_.{port.number}_.{subset}_.{service.host}"
        security = _security(settings.get("tls") or {}, sni, _identities(end.pod for end in ends if end.pod))
        return base | _settings(settings, port) | security
    except UNREADABLE as error:
        left_out("DestinationRule", service.host, repr(error))
        return base | _protocol(port.protocol in _HTTP2, {})


def _may_reach(end: Endpoint) -> bool:
    """Tell whether a proxy may connect there: on the embedded Kubernetes nothing leaves the machine."""
    return not embedded() or (_is_address(end.host) and ip_address(addresses.wire_host(end.host)).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _cluster(name: str, ends: list[Json]) -> Json:
    hosts = [end["endpoint"]["address"]["socket_address"]["address"] for end in ends]
    return {
        "name": name,
        "type": "STATIC" if all(map(_is_address, hosts)) else "STRICT_DNS",
        "connect_timeout": _CONNECT_TIMEOUT,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": ends}]},
    }


def _identities(pods: Iterable[Pod]) -> list[str]:
    return sorted({f"spiffe://cluster.local/ns/{one.namespace}/sa/{one.account}" for one in pods})


def _security(settings: Json, sni: str, identities: list[str]) -> Json:
    """Return the TLS that a DestinationRule asks for; without one, 1.0 speaks plain text."""
    mode = settings.get("mode")
    if mode == "ISTIO_MUTUAL":
        return {"transport_socket": tls.mesh_client(sni, identities)}
    if mode in {"SIMPLE", "MUTUAL"}:
        return {"transport_socket": tls.client(settings)}
    return {}


def _settings(settings: Json, port: Port) -> Json:
    pool = settings.get("connectionPool") or {}
    found: Json = {}
    thresholds = {
        envoy: int(pool[part][name])
        for (part, name), envoy in _THRESHOLDS.items()
        if name in (pool.get(part) or {})
    }
    if thresholds:
        found["circuit_breakers"] = {"thresholds": [thresholds]}
    if "connectTimeout" in (pool.get("tcp") or {}):
        found["connect_timeout"] = duration(pool["tcp"]["connectTimeout"])
    if settings.get("outlierDetection") is not None:
        found["outlier_detection"] = _outliers(settings["outlierDetection"])
    return found | _balancer(settings.get("loadBalancer") or {}) | _protocol(port.protocol in _HTTP2, pool)


def _protocol(http2: bool, pool: Json) -> Json:
    """Return the options of HTTP towards a cluster, none where Envoy's own will do."""
    http = pool.get("http") or {}
    if not http2 and "maxRequestsPerConnection" not in http:
        return {}
    kind = "http2_protocol_options" if http2 else "http_protocol_options"
    options: Json = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {kind: {}},
    }
    if "maxRequestsPerConnection" in http:
        options["common_http_protocol_options"] = {
            "max_requests_per_connection": int(http["maxRequestsPerConnection"])
        }
    return {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        }
    }


def _balancer(settings: Json) -> Json:
    if "consistentHash" in settings:
        return {"lb_policy": "RING_HASH"}
    simple = settings.get("simple", "ROUND_ROBIN")
    return {"lb_policy": _BALANCERS[simple]}


def _outliers(settings: Json) -> Json:
    found: Json = {}
    if "consecutiveErrors" in settings:
        found["consecutive_5xx"] = int(settings["consecutiveErrors"])
    for name, envoy in (("interval", "interval"), ("baseEjectionTime", "base_ejection_time")):
        if name in settings:
            found[envoy] = duration(settings[name])
    if "maxEjectionPercent" in settings:
        found["max_ejection_percent"] = int(settings["maxEjectionPercent"])
    return found
