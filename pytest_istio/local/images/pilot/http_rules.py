"""One HTTP route of a VirtualService, as Envoy's match and action.

Whatever cannot be understood raises one of `mesh.UNREADABLE`, so that the caller leaves that one object out
and keeps the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_istio.local.images.pilot import policy
from pytest_istio.local.images.pilot.envoy import cluster_name, duration, typed
from pytest_istio.local.images.pilot.mesh import full_name

if TYPE_CHECKING:
    from pytest_istio.local.images.pilot.mesh import Mesh, Rule

__all__ = ["action", "hash_policy", "match"]

Json = dict[str, Any]

_RETRY_ON = "5xx,connect-failure,refused-stream"
_PSEUDO_HEADERS = {"scheme": ":scheme", "method": ":method", "authority": ":authority"}
_HUNDRED = 100
_STATUSES = range(200, 600)


def match(condition: Json) -> Json:
    """Return the match of one of a route's conditions."""
    found = _path(condition["uri"]) if condition.get("uri") else {"prefix": "/"}
    headers = [
        _header(header, condition[name]) for name, header in _PSEUDO_HEADERS.items() if condition.get(name)
    ]
    headers += [_header(name.lower(), wanted) for name, wanted in (condition.get("headers") or {}).items()]
    return found | ({"headers": headers} if headers else {})


def _path(uri: Json) -> Json:
    ((how, value),) = uri.items()
    if how == "regex":
        return {"safe_regex": _regex(value)}
    return {{"exact": "path", "prefix": "prefix"}[how]: str(value)}


def _header(name: str, wanted: Json | None) -> Json:
    if not wanted:
        return {"name": name, "present_match": True}
    ((how, value),) = wanted.items()
    if how == "regex":
        return {"name": name, "string_match": {"safe_regex": _regex(value)}}
    return {"name": name, "string_match": {{"exact": "exact", "prefix": "prefix"}[how]: str(value)}}


def _regex(text: str) -> Json:
    try:
        re.compile(text)
    except re.error as error:
        msg = f"no regular expression: {text!r}: {error}"
        raise ValueError(msg) from error
    return {"regex": text}


def action(mesh: Mesh, rule: Rule, route: Json, port: int) -> Json:
    """Return what becomes of a request that a route matches: everything of an Envoy route but its match.

    Args:
        mesh: The picture.
        rule: The VirtualService.
        route: One of its ``http``.
        port: The port that the request came to; a destination that names none means this one.
    """
    found: Json = _headers(route)
    if route.get("redirect"):
        return found | {"redirect": _redirect(route["redirect"])}
    taken: Json = _destinations(mesh, rule, route["route"], port)
    if route.get("timeout"):
        taken["timeout"] = duration(route["timeout"])
    if route.get("retries"):
        taken["retry_policy"] = _retries(route["retries"])
    if route.get("rewrite"):
        taken |= _rewrite(route["rewrite"])
    if route.get("mirror"):
        taken["request_mirror_policies"] = [{"cluster": _cluster(mesh, rule, route["mirror"], port)}]
    filters: Json = {}
    if route.get("fault"):
        filters["envoy.filters.http.fault"] = _fault(route["fault"])
    if route.get("corsPolicy"):
        filters["envoy.filters.http.cors"] = _cors(route["corsPolicy"])
    return found | {"route": taken} | ({"typed_per_filter_config": filters} if filters else {})


def _cluster(mesh: Mesh, rule: Rule, destination: Json, port: int) -> str:
    host, number = _target(mesh, rule, destination, port)
    return cluster_name("outbound", number, destination.get("subset", ""), host)


def _target(mesh: Mesh, rule: Rule, destination: Json, port: int) -> tuple[str, int]:
    host = full_name(destination["host"], rule.namespace)
    service = mesh.services.get(host)
    if (destination.get("port") or {}).get("number"):
        return host, int(destination["port"]["number"])
    if service and len(service.ports) == 1:
        return host, service.ports[0].number
    return host, port


def _destinations(mesh: Mesh, rule: Rule, routes: list[Json], port: int) -> Json:
    if len(routes) == 1:
        destination = routes[0]["destination"]
        host, number = _target(mesh, rule, destination, port)
        hashed = hash_policy(mesh, host, number, destination.get("subset", ""))
        return {"cluster": _cluster(mesh, rule, destination, port)} | hashed
    weights = [int(one.get("weight", 0)) for one in routes]
    if sum(weights) != _HUNDRED:
        msg = f"the weights add up to {sum(weights)}, not 100"
        raise ValueError(msg)
    names = [_cluster(mesh, rule, one["destination"], port) for one in routes]
    shares = [{"name": name, "weight": weight} for name, weight in zip(names, weights, strict=True) if weight]
    return {"weighted_clusters": {"clusters": shares}}


def hash_policy(mesh: Mesh, host: str, port: int, subset: str) -> Json:
    """Return what a request's endpoint depends on, where a DestinationRule asks for consistent hashing."""
    balancer = policy.traffic_policy(mesh, host, port, subset).get("loadBalancer") or {}
    wanted = balancer.get("consistentHash") or {}
    if "httpHeaderName" in wanted:
        return {"hash_policy": [{"header": {"header_name": wanted["httpHeaderName"]}}]}
    if "httpCookie" in wanted:
        cookie = wanted["httpCookie"]
        return {
            "hash_policy": [{"cookie": {"name": cookie["name"], "ttl": duration(cookie.get("ttl") or "0s")}}]
        }
    if wanted.get("useSourceIp"):
        return {"hash_policy": [{"connection_properties": {"source_ip": True}}]}
    return {}


def _redirect(wanted: Json) -> Json:
    found: Json = {}
    if wanted.get("uri"):
        found["path_redirect"] = wanted["uri"]
    if wanted.get("authority"):
        found["host_redirect"] = wanted["authority"]
    return found


def _rewrite(wanted: Json) -> Json:
    found: Json = {}
    if wanted.get("uri"):
        found["prefix_rewrite"] = wanted["uri"]
    if wanted.get("authority"):
        found["host_rewrite_literal"] = wanted["authority"]
    return found


def _retries(wanted: Json) -> Json:
    found: Json = {"num_retries": int(wanted["attempts"]), "retry_on": wanted.get("retryOn") or _RETRY_ON}
    if wanted.get("perTryTimeout"):
        found["per_try_timeout"] = duration(wanted["perTryTimeout"])
    return found


def _fault(wanted: Json) -> Json:
    found: Json = {}
    delay, abort = wanted.get("delay"), wanted.get("abort")
    if delay:
        found["delay"] = {"fixed_delay": duration(delay["fixedDelay"]), "percentage": _percentage(delay)}
    if abort:
        status = int(abort["httpStatus"])
        if status not in _STATUSES:
            msg = f"no HTTP status: {status}"
            raise ValueError(msg)
        found["abort"] = {"http_status": status, "percentage": _percentage(abort)}
    return typed("filters.http.fault.v3.HTTPFault", **found)


def _percentage(wanted: Json) -> Json:
    """Return how many of a hundred: ``percent`` is 1.0's, ``percentage`` what came after it."""
    percentage = wanted.get("percentage")
    value = float(percentage.get("value", 0)) if percentage is not None else float(wanted.get("percent", 0))
    if not 0 <= value <= _HUNDRED:
        msg = f"no percentage: {value}"
        raise ValueError(msg)
    return {"numerator": round(value * 10_000), "denominator": "MILLION"}


def _cors(wanted: Json) -> Json:
    found: Json = {
        "allow_origin_string_match": [
            {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin}
            for origin in wanted.get("allowOrigin") or []
        ],
        "allow_methods": ",".join(wanted.get("allowMethods") or []),
        "allow_headers": ",".join(wanted.get("allowHeaders") or []),
        "expose_headers": ",".join(wanted.get("exposeHeaders") or []),
    }
    if wanted.get("maxAge"):
        found["max_age"] = str(round(float(duration(wanted["maxAge"]).removesuffix("s"))))
    if wanted.get("allowCredentials") is not None:
        found["allow_credentials"] = bool(wanted["allowCredentials"])
    return typed("filters.http.cors.v3.CorsPolicy", **found)


def _headers(route: Json) -> Json:
    """Return headers to add and remove: 1.0's fields, and ``headers`` that came after it."""
    request = (route.get("headers") or {}).get("request") or {}
    response = (route.get("headers") or {}).get("response") or {}
    found = {
        "request_headers_to_add": [
            *_added(route.get("appendHeaders"), "APPEND_IF_EXISTS_OR_ADD"),
            *_added(request.get("add"), "APPEND_IF_EXISTS_OR_ADD"),
            *_added(request.get("set"), "OVERWRITE_IF_EXISTS_OR_ADD"),
        ],
        "request_headers_to_remove": [
            *(route.get("removeRequestHeaders") or []),
            *(request.get("remove") or []),
        ],
        "response_headers_to_add": [
            *_added(route.get("appendResponseHeaders"), "APPEND_IF_EXISTS_OR_ADD"),
            *_added(response.get("add"), "APPEND_IF_EXISTS_OR_ADD"),
            *_added(response.get("set"), "OVERWRITE_IF_EXISTS_OR_ADD"),
        ],
        "response_headers_to_remove": [
            *(route.get("removeResponseHeaders") or []),
            *(response.get("remove") or []),
        ],
    }
    return {name: value for name, value in found.items() if value}


def _added(headers: dict[str, str] | None, how: str) -> list[Json]:
    return [
        {"header": {"key": name, "value": str(value)}, "append_action": how}
        for name, value in (headers or {}).items()
    ]
