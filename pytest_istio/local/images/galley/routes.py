"""What Istio 1.0 requires of a VirtualService."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from pytest_istio.local.images.galley import names

__all__ = ["virtual_service"]

_Spec = Mapping[str, Any]
_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"])
_MESH = "mesh"


def virtual_service(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a VirtualService's spec."""
    del name, namespace
    gateways = spec.get("gateways") or []
    for gateway in gateways:
        yield from names.fqdn(gateway)
    yield from _hosts(spec.get("hosts") or [], in_mesh=not gateways or _MESH in gateways)
    if not any(spec.get(kind) for kind in ("http", "tls", "tcp")):
        yield "http, tcp or tls must be provided in virtual service"
    for route in spec.get("http") or []:
        yield from _http_route(route)
    for route in spec.get("tls") or []:
        yield from _tls_route(route)
    for route in spec.get("tcp") or []:
        yield from _tcp_route(route)


def _hosts(hosts: Sequence[str], *, in_mesh: bool) -> Iterator[str]:
    if not hosts:
        yield "virtual service must have at least one host"
    problems = [problem for host in hosts for problem in names.host(host)]
    if in_mesh and "*" in hosts:
        problems.append("wildcard host * is not allowed for virtual services bound to the mesh gateway")
    yield from problems
    if not problems:
        for one, other in combinations(hosts, 2):
            if _covers(one, other) or _covers(other, one):
                yield f"duplicate hosts in virtual service: {one} & {other}"


def _covers(host: str, other: str) -> bool:
    return host == other or (host.startswith("*") and other.lstrip("*").endswith(host[1:]))


def _http_route(route: _Spec) -> Iterator[str]:
    redirect, targets = route.get("redirect"), route.get("route") or []
    if redirect is not None:
        yield from _beside_redirect(route)
    elif not targets:
        yield "HTTP route or redirect is required"
    for match in route.get("match") or []:
        yield from _http_match(match)
    for header in route.get("appendHeaders") or {}:
        yield from names.header_name(header)
    for action in ("redirect", "rewrite"):
        wanted = route.get(action)
        if wanted is not None and not wanted.get("uri") and not wanted.get("authority"):
            yield f"{action} must specify URI, authority, or both"
    yield from _cors(route.get("corsPolicy"))
    yield from _fault(route.get("fault"))
    yield from _destination(route.get("mirror"))
    yield from _retries(route.get("retries"))
    yield from _weights(targets)
    yield from names.duration(route.get("timeout"))


def _beside_redirect(route: _Spec) -> Iterator[str]:
    for other in ("route", "fault", "rewrite"):
        if route.get(other):
            yield f"HTTP route cannot contain both {other} and redirect"
    if route.get("websocketUpgrade"):
        yield "WebSocket upgrade is not allowed on redirect rules"


def _http_match(match: _Spec) -> Iterator[str]:
    for field in ("uri", "scheme", "method", "authority"):
        yield from _string_match(field, match.get(field))
    for header, wanted in (match.get("headers") or {}).items():
        yield from names.header_name(header)
        yield from _string_match(f"header {header}", wanted)
    yield from _match_origin(match)


def _string_match(what: str, match: _Spec | None) -> Iterator[str]:
    if match is not None and len(match) > 1:
        yield f"{what} match must be one of exact, prefix or regex, not {' and '.join(sorted(match))}"


def _match_origin(match: _Spec) -> Iterator[str]:
    if match.get("port"):
        yield from names.port(match["port"])
    for subnet in [*(match.get("destinationSubnets") or []), match.get("sourceSubnet")]:
        if subnet:
            yield from names.cidr(subnet)
    yield from names.labels(match.get("sourceLabels"))
    for gateway in match.get("gateways") or []:
        yield from names.fqdn(gateway)


def _weights(targets: Sequence[_Spec]) -> Iterator[str]:
    for target in targets:
        if target.get("destination") is None:
            yield "destination is required"
        yield from _destination(target.get("destination"))
        yield from names.percent(target.get("weight"))
    total = sum(target.get("weight") or 0 for target in targets)
    # A single destination may leave its weight out; several must say how they share.
    if len(targets) > 1 and total != 100:  # noqa: PLR2004 - percent
        yield f"total destination weight {total} != 100"


def _destination(destination: _Spec | None) -> Iterator[str]:
    if destination is None:
        return
    if destination.get("host") == "*":
        yield "invalid destination host *"
    yield from names.host(destination.get("host"))
    if destination.get("subset"):
        yield from names.subset_name(destination["subset"])
    selector = destination.get("port")
    if selector is not None and not selector.get("name"):
        yield from names.port(selector.get("number"))


def _fault(fault: _Spec | None) -> Iterator[str]:
    if fault is None:
        return
    delay, abort = fault.get("delay"), fault.get("abort")
    if delay is None and abort is None:
        yield "HTTP fault injection must have an abort and/or a delay"
    if delay is not None:
        yield from names.percent(delay.get("percent"))
        yield from names.duration(delay.get("fixedDelay"))
        if delay.get("exponentialDelay"):
            yield "exponentialDelay not supported yet"
    if abort is not None:
        yield from _abort(abort)


def _abort(abort: _Spec) -> Iterator[str]:
    yield from names.percent(abort.get("percent"))
    if abort.get("grpcStatus"):
        yield "gRPC abort fault injection not supported yet"
    if abort.get("http2Error"):
        yield "HTTP/2 abort fault injection not supported yet"
    status = abort.get("httpStatus") or 0
    if not 0 <= status <= 600:  # noqa: PLR2004 - upstream's bound
        yield f"HTTP status {status} is not in range 0-600"


def _retries(retries: _Spec | None) -> Iterator[str]:
    if retries is None:
        return
    if (retries.get("attempts") or 0) <= 0:
        yield "attempts must be positive"
    yield from names.duration(retries.get("perTryTimeout"))


def _cors(policy: _Spec | None) -> Iterator[str]:
    if policy is None:
        return
    for method in policy.get("allowMethods") or []:
        if method not in _METHODS:
            yield f'"{method}" is not a supported HTTP method'
    for header in [*(policy.get("allowHeaders") or []), *(policy.get("exposeHeaders") or [])]:
        yield from names.header_name(header)
    yield from names.duration(policy.get("maxAge"))


def _tls_route(route: _Spec) -> Iterator[str]:
    if not route.get("match"):
        yield "TLS route must have at least one match condition"
    for match in route.get("match") or []:
        if not match.get("sniHosts"):
            yield "TLS match must have at least one SNI host"
        for host in match.get("sniHosts") or []:
            yield from names.host(host)
        yield from _match_origin(match)
    yield from _one_destination("TLS", route)


def _tcp_route(route: _Spec) -> Iterator[str]:
    for match in route.get("match") or []:
        yield from _match_origin(match)
    yield from _one_destination("TCP", route)


def _one_destination(protocol: str, route: _Spec) -> Iterator[str]:
    targets = route.get("route") or []
    if len(targets) != 1:
        yield f"{protocol} route must have exactly one destination"
    yield from _weights(targets)
