"""What Envoy is started with: who it is, where it is administered, where it gets the rest from.

All of the mesh's configuration comes from the discovery service by REST, a poll that stays open until there
is something new. Certificates come from two files that name the mounted ones, since those change while Envoy
runs: it reads them again whenever the kubelet swaps the folder.
"""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

__all__ = [
    "CERTIFICATE_FILES",
    "ROOT_LINK",
    "START",
    "Forward",
    "Node",
    "certificate",
    "certificate_file",
    "discovered",
    "forwarder",
    "mesh_proxy",
]

Json = dict[str, Any]

ADMIN_CLUSTER = "prometheus_stats"
DISCOVERY_CLUSTER = "xds-grpc"

# Also how long Envoy waits before it asks again a discovery service that is not there.
_REFRESH_DELAY = "0.25s"
# Longer than the discovery service holds a request that it has nothing new for.
_POLL_TIMEOUT = "30s"

# All relative to Envoy's working folder, as listeners and clusters name them.
CERTIFICATE_FILES = {"identity": "identity.json", "roots": "roots.json"}
"""The files that name certificates, by secret."""

START = "START"
"""The metadata that tells one start of a proxy from the next."""

ROOT_LINK = "root"
"""Leads to the root of the container's filesystem."""

_TYPE = "type.googleapis.com/"
_MONITORS = f"{_TYPE}envoy.extensions.resource_monitors"
_TLS = f"{_TYPE}envoy.extensions.transport_sockets.tls.v3."


# More than any test has; without a limit Envoy begins each log with a warning.
_CONNECTIONS: Json = {
    "name": "envoy.resource_monitors.global_downstream_max_connections",
    "typed_config": {
        "@type": f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 10_000,
    },
}


class Node(NamedTuple):
    """Who a proxy is.

    Attributes:
        id: ``role~pod address~pod.namespace~domain``, from which the discovery service knows the pod.
        cluster: The service that the proxy belongs to.
        metadata: What else is told to the discovery service.
    """

    id: str
    cluster: str
    metadata: Json


class Forward(NamedTuple):
    """A port of a control-plane pod that its proxy passes on.

    Attributes:
        port: The address that is listened at.
        target: The address that connections are passed on to.
        mutual_tls: Whether clients have to show a certificate of the mesh.
    """

    port: tuple[str, int]
    target: tuple[str, int]
    mutual_tls: bool


def address(host: str, port: int) -> Json:
    """Return a socket address as Envoy wants it."""
    return {"socket_address": {"address": host, "port_value": port}}


def certificate_file(secret: str, folder: str) -> Json:
    """Return the contents of one of `CERTIFICATE_FILES`.

    Args:
        secret: ``identity`` or ``roots``.
        folder: Where the Secret that Citadel made for the ServiceAccount is mounted.
    """
    # The one link that the kubelet switches: at that moment the files behind it are all new, and read.
    current = f"{folder}/..data"
    watched = {"watched_directory": {"path": folder}}
    if secret == "identity":  # noqa: S105  # the name of one, not a secret
        value: Json = {
            "tls_certificate": {
                "certificate_chain": {"filename": f"{current}/cert-chain.pem"},
                "private_key": {"filename": f"{current}/key.pem"},
                **watched,
            }
        }
    else:
        value = {
            "validation_context": {"trusted_ca": {"filename": f"{current}/root-cert.pem"}, **watched},
        }
    return {"resources": [{"@type": f"{_TLS}Secret", "name": secret, **value}]}


def _cluster(name: str, where: tuple[str, int]) -> Json:
    try:
        ipaddress.ip_address(where[0])
        kind = "STATIC"
    except ValueError:
        kind = "STRICT_DNS"
    return {
        "name": name,
        "type": kind,
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(*where)}}]}],
        },
    }


def discovered() -> Json:
    """Return the source of whatever the discovery service tells of."""
    return {
        "resource_api_version": "V3",
        # A proxy without configuration is not ready, however long that takes.
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": [DISCOVERY_CLUSTER],
            "refresh_delay": _REFRESH_DELAY,
            "request_timeout": _POLL_TIMEOUT,
        },
    }


def _stats_listener(where: tuple[str, int]) -> Json:
    manager = {
        "@type": f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stats",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "stats",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/stats"}, "route": {"cluster": ADMIN_CLUSTER}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": "stats", "address": address(*where), "filter_chains": [{"filters": filters}]}


def _base(node: Node, admin: tuple[str, int], stats: tuple[str, int]) -> Json:
    return {
        "node": node._asdict(),
        "admin": {"address": address(*admin)},
        "overload_manager": {"resource_monitors": [_CONNECTIONS]},
        "static_resources": {
            "listeners": [_stats_listener(stats)],
            "clusters": [_cluster(ADMIN_CLUSTER, admin)],
        },
    }


def mesh_proxy(
    node: Node, *, admin: tuple[str, int], stats: tuple[str, int], discovery: tuple[str, int]
) -> Json:
    """Return the bootstrap of a sidecar or a gateway.

    Args:
        node: Who it is.
        admin: Where its administration listens.
        stats: Where Prometheus finds its statistics.
        discovery: Where the discovery service is.
    """
    config = _base(node, admin, stats)
    config["static_resources"]["clusters"].append(_cluster(DISCOVERY_CLUSTER, discovery))
    config["dynamic_resources"] = {"cds_config": discovered(), "lds_config": discovered()}
    return config


def certificate(secret: str) -> Json:
    """Return the reference to one of `CERTIFICATE_FILES`."""
    # Envoy watches the folder of a path, and refuses one that names none.
    source = {"path": f"./{CERTIFICATE_FILES[secret]}"}
    return {"name": secret, "sds_config": {"resource_api_version": "V3", "path_config_source": source}}


def _forward_listener(forward: Forward, cluster: str) -> Json:
    proxy = {
        "@type": f"{_TYPE}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": cluster,
        "cluster": cluster,
    }
    chain: Json = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
    if forward.mutual_tls:
        context = {
            "@type": f"{_TLS}DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificate_sds_secret_configs": [certificate("identity")],
                "validation_context_sds_secret_config": certificate("roots"),
            },
        }
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return {"name": f"in-{forward.port[1]}", "address": address(*forward.port), "filter_chains": [chain]}


def forwarder(node: Node, forwards: list[Forward], *, admin: tuple[str, int], stats: tuple[str, int]) -> Json:
    """Return the bootstrap of a proxy beside a component of the control plane.

    Args:
        node: Who it is.
        forwards: The ports that it passes on.
        admin: Where its administration listens.
        stats: Where Prometheus finds its statistics.
    """
    config = _base(node, admin, stats)
    for forward in forwards:
        name = f"in.{forward.target[1]}-{forward.port[1]}"
        config["static_resources"]["listeners"].append(_forward_listener(forward, name))
        config["static_resources"]["clusters"].append(_cluster(name, forward.target))
    return config
