"""The parts of Envoy's configuration that several of its resources are made of."""

from __future__ import annotations

import re
from typing import Any

from pytest_istio.local import addresses
from pytest_istio.local.images.pilot.mesh_config import mesh_config
from pytest_istio.local.images.proxy import bootstrap

__all__ = [
    "address",
    "cluster_name",
    "discovered_routes",
    "duration",
    "filter_chain",
    "http_manager",
    "tcp_proxy",
    "typed",
]

Json = dict[str, Any]

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|m|s)")

_ACCESS_LOG = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_peer": "%UPSTREAM_PEER_URI_SAN%",
    "downstream_peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
}


def duration(text: str) -> str:
    """Return a duration as Envoy wants it, in seconds, given one as Istio's objects have it (``1m0.5s``).

    Raises:
        ValueError: It is none.
    """
    parts = _DURATION_PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        msg = f"no duration: {text!r}"
        raise ValueError(msg)
    return f"{sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts):.6f}s"


def cluster_name(direction: str, port: int, subset: str, host: str) -> str:
    """Return Istio's name of a cluster, such as ``outbound|9080|v1|reviews.default.svc.cluster.local``."""
    return f"{direction}|{port}|{subset}|{host}"


def address(host: str, port: int) -> Json:
    """Return the socket address that a literal address of the cluster's objects stands for."""
    return {"socket_address": {"address": addresses.wire_host(host), "port_value": addresses.wire_port(port)}}


def typed(kind: str, **fields: Any) -> Json:  # noqa: ANN401  # JSON values
    """Return an extension's configuration, by its name below ``envoy.extensions``."""
    return {"@type": f"{_EXTENSIONS}.{kind}", **fields}


def access_log() -> list[Json]:
    """Return the access log of every listener: a JSON object a line, to the container's log."""
    if not mesh_config().get("accessLogFile", "/dev/stdout"):
        return []
    log = typed("access_loggers.stream.v3.StdoutAccessLog", log_format={"json_format": _ACCESS_LOG})
    return [{"name": "envoy.access_loggers.stdout", "typed_config": log}]


def http_manager(stat_prefix: str, **fields: Any) -> Json:  # noqa: ANN401  # JSON values
    """Return the network filter that speaks HTTP.

    Args:
        stat_prefix: What its statistics are called.
        fields: What differs between listeners, routes first of all.
    """
    http_filters = [
        {"name": "envoy.filters.http.cors", "typed_config": typed("filters.http.cors.v3.Cors")},
        {"name": "envoy.filters.http.fault", "typed_config": typed("filters.http.fault.v3.HTTPFault")},
        {"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router")},
    ]
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=stat_prefix,
        server_name="istio-envoy",
        access_log=access_log(),
        upgrade_configs=[{"upgrade_type": "websocket"}],
        http_filters=http_filters,
        **fields,
    )
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def discovered_routes(name: str) -> Json:
    """Return the reference to a route configuration that is discovered the way everything else is."""
    return {"route_config_name": name, "config_source": bootstrap.discovered()}


def tcp_proxy(cluster: str) -> Json:
    """Return the network filter that passes bytes on to a cluster."""
    proxy = typed(
        "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix=cluster, cluster=cluster, access_log=access_log()
    )
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}


def filter_chain(network_filter: Json, *, match: Json | None = None, tls: Json | None = None) -> Json:
    """Return a filter chain: one network filter, for the connections that match, behind TLS or not."""
    chain: Json = {"filters": [network_filter]}
    if match:
        chain["filter_chain_match"] = match
    if tls:
        chain["transport_socket"] = tls
    return chain
