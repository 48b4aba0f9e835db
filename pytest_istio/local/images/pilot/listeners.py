"""Envoy listeners: a sidecar's, where the pod's Service sends to and where its application calls from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.local.images.environment import ANY_HOST, embedded
from pytest_istio.local.images.pilot import policy, routes, tls
from pytest_istio.local.images.pilot.clusters import own_port
from pytest_istio.local.images.pilot.envoy import (
    address,
    cluster_name,
    discovered_routes,
    filter_chain,
    http_manager,
    tcp_proxy,
)

if TYPE_CHECKING:
    from pytest_istio.local.images.pilot.mesh import Mesh, Port, Proxy, Service

__all__ = ["TLS_INSPECTOR", "for_sidecar"]

Json = dict[str, Any]

# The sidecar's port by which applications leave: their environment names it as a proxy, or, in an ordinary
# pod, the init container's rules redirect everything to it.
_OUTBOUND_PORT = 15001
# Where these rules redirect what arrives. Applications there listen at the pod's own address, as anywhere.
_INBOUND_PORT = 15006
_NOWHERE = "BlackHoleCluster"

TLS_INSPECTOR: Json = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    },
}

ORIGINAL_DESTINATION: Json = {
    "name": "envoy.filters.listener.original_dst",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
    },
}

_FROM_MESH = {"transport_protocol": "tls", "application_protocols": ["istio"]}


def for_sidecar(mesh: Mesh, proxy: Proxy) -> list[Json]:
    """Return the listeners of a sidecar: one for each port of its application, and one for what it calls."""
    found: dict[int, Json] = {}
    for service in mesh.services_of(proxy.pod):
        for port in service.ports:
            number = own_port(port, proxy.pod)
            if number is not None and number not in found:
                found[number] = _service_port(mesh, proxy, service, port, number)
    for number in proxy.pod.ports:
        if number not in found:
            # No service says what it carries, or who may connect: bytes are passed on as they come.
            passed_on = tcp_proxy(cluster_name("inbound", number, "", ""))
            found[number] = _listener(proxy, number, [filter_chain(passed_on)], inspected=False)
    redirected = [] if embedded() else [_redirected()]
    return [*found.values(), *redirected, _outbound(proxy)]


def _service_port(mesh: Mesh, proxy: Proxy, service: Service, port: Port, number: int) -> Json:
    cluster = cluster_name("inbound", port.number, port.name, service.host)
    carried = _inbound_http(cluster, number) if port.http else tcp_proxy(cluster)
    mode = policy.mutual_tls(mesh, service, port)
    chains = []
    if mode == policy.STRICT or (mode == policy.PERMISSIVE and mesh.has_certificate(proxy.pod)):
        chains.append(filter_chain(carried, match=_FROM_MESH, tls=tls.mesh_server()))
    if mode != policy.STRICT:
        chains.append(filter_chain(carried))
    return _listener(proxy, number, chains, inspected=len(chains) > 1 or mode == policy.STRICT)


def _listener(proxy: Proxy, port: int, chains: list[Json], *, inspected: bool) -> Json:
    listener: Json = {
        "name": f"{proxy.ip}_{port}",
        "address": address(proxy.ip, port),
        "traffic_direction": "INBOUND",
        "filter_chains": chains,
        "bind_to_port": embedded(),
    }
    if inspected:
        listener["listener_filters"] = [TLS_INSPECTOR]
        # Where the server speaks first the client says nothing that could be looked at.
        listener["listener_filters_timeout"] = "0.1s"
        listener["continue_on_listener_filters_timeout"] = True
    return listener


def _redirected() -> Json:
    """Return the listener that hands on what arrives to the one of its original destination."""
    return {
        "name": "redirected",
        "address": address(ANY_HOST, _INBOUND_PORT),
        "traffic_direction": "INBOUND",
        "use_original_dst": True,
        "listener_filters": [ORIGINAL_DESTINATION],
        "filter_chains": [filter_chain(tcp_proxy(_NOWHERE))],
    }


def _inbound_http(cluster: str, port: int) -> Json:
    everything = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}
    virtual_host = {"name": f"inbound|http|{port}", "domains": ["*"], "routes": [everything]}
    return http_manager(
        f"inbound_{port}",
        route_config={"name": cluster, "virtual_hosts": [virtual_host]},
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"subject": True, "uri": True, "dns": True},
        use_remote_address=False,
    )


def _outbound(proxy: Proxy) -> Json:
    manager = http_manager("outbound", rds=discovered_routes(routes.HTTP_PROXY), use_remote_address=False)
    return {
        "name": "http_proxy",
        "address": address(proxy.ip if embedded() else ANY_HOST, _OUTBOUND_PORT),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [filter_chain(manager)],
    }
