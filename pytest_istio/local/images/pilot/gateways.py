"""Envoy listeners of a gateway, by the Gateway objects that select its pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.local.addresses import listening_host
from pytest_istio.local.images.pilot import routes, tls
from pytest_istio.local.images.pilot.envoy import address, discovered_routes, filter_chain, http_manager
from pytest_istio.local.images.pilot.listeners import TLS_INSPECTOR
from pytest_istio.local.images.pilot.mesh import UNREADABLE, left_out, matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_istio.local.images.pilot.mesh import Mesh, Proxy, Rule

__all__ = ["listeners", "routes_named"]

Json = dict[str, Any]
Server = tuple["Rule", Json]

_PLAIN = ("HTTP", "HTTP2", "GRPC")


def listeners(mesh: Mesh, proxy: Proxy) -> list[Json]:
    """Return a gateway's listeners: one for each port that has a server, whatever Gateway that comes from."""
    by_port: dict[int, list[Json]] = {}
    for name, (port, servers) in _route_names(mesh, proxy).items():
        chain = _chain(name, servers[0])
        if chain:
            by_port.setdefault(port, []).append(chain)
    return [_listener(proxy, port, chains) for port, chains in by_port.items()]


def routes_named(mesh: Mesh, proxy: Proxy, name: str) -> Json:
    """Return the routes of one name; of a name that is no longer known, routes that lead nowhere."""
    port, servers = _route_names(mesh, proxy).get(name, (0, []))
    return routes.for_gateway(mesh, proxy, name, port, servers)


def _route_names(mesh: Mesh, proxy: Proxy) -> Mapping[str, tuple[int, list[Server]]]:
    """Return port and servers by the name of their routes; plain servers of a port share theirs."""
    found: dict[str, tuple[int, list[Server]]] = {}
    for gateway in mesh.gateways:
        for name, port, server in _servers(gateway, proxy):
            found.setdefault(name, (port, []))[1].append((gateway, server))
    return found


def _servers(gateway: Rule, proxy: Proxy) -> list[tuple[str, int, Json]]:
    """Return route name, port and settings of each server of a Gateway that selects the proxy."""
    try:
        if matches(gateway.spec.get("selector") or {}, proxy.pod.labels):
            servers = [(*_name_and_port(gateway, server), server) for server in gateway.spec["servers"]]
            return [server for server in servers if server[0]]
    except UNREADABLE as error:
        left_out("Gateway", str(gateway), repr(error))
    return []


def _name_and_port(gateway: Rule, server: Json) -> tuple[str, int]:
    """Return the name of a server's routes, and its port; an empty name if its protocol is not served."""
    port = server["port"]
    number, protocol = int(port["number"]), port["protocol"].upper()
    if protocol in _PLAIN:
        return f"http.{number}", number
    if protocol == "HTTPS" and server["tls"]["mode"] in {"SIMPLE", "MUTUAL"}:
        return f"https.{number}.{port['name']}.{gateway.name}.{gateway.namespace}", number
    left_out("Gateway", str(gateway), f"protocol {protocol} is not served")
    return "", number


def _chain(name: str, server: Server) -> Json | None:
    gateway, settings = server
    manager = http_manager(
        name,
        rds=discovered_routes(name),
        use_remote_address=True,
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"subject": True, "uri": True, "dns": True},
    )
    if name.startswith("http."):
        return filter_chain(manager)
    try:
        hosts = [host for host in settings["hosts"] if host != "*"]
        return filter_chain(
            manager, match={"server_names": hosts} if hosts else None, tls=tls.server(settings["tls"])
        )
    except UNREADABLE as error:
        left_out("Gateway", str(gateway), repr(error))
        return None


def _listener(proxy: Proxy, port: int, chains: list[Json]) -> Json:
    listener: Json = {
        "name": f"0.0.0.0_{port}",
        "address": address(listening_host(proxy.ip), port),
        "traffic_direction": "OUTBOUND",
        "filter_chains": chains,
    }
    if any("filter_chain_match" in chain for chain in chains):
        listener["listener_filters"] = [TLS_INSPECTOR]
    return listener
