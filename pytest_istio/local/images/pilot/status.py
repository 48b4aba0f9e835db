"""What the discovery service tells of itself: whether it is ready, who is in sync, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.local.images.monitoring import metrics_response, process_metrics
from pytest_istio.local.images.pilot.discovery import CLUSTERS, LISTENERS, ROUTES
from pytest_istio.local.images.web import json_response, text_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_istio.local.images.pilot.discovery import Discovery
    from pytest_istio.local.images.pilot.mesh import Mesh
    from pytest_istio.local.images.web import Handler, Request, Response

__all__ = ["Debug", "monitoring"]

Json = dict[str, Any]

_FIELDS = {CLUSTERS: ("cluster", "endpoint"), LISTENERS: ("listener",), ROUTES: ("route",)}
_EVERYTHING = 100


def _syncz(discovery: Discovery) -> list[Json]:
    """Return what each proxy was sent and has accepted.

    Endpoints travel inside clusters here, so they are as much in sync as those. Of several routes all
    have to be accepted.
    """
    mesh = discovery.mesh
    proxies: dict[str, Json] = {}
    for (node, _, kind, _), sent in sorted(discovery.sent().items()):
        if mesh is None or mesh.proxy(node) is None or not sent.version:
            continue
        entry = proxies.setdefault(node, {"proxy": node.split("~")[2]})
        for field in _FIELDS[kind]:
            entry[f"{field}_sent"] = entry.get(f"{field}_sent", "") + sent.version
            entry[f"{field}_acked"] = entry.get(f"{field}_acked", "") + sent.accepted
            if sent.refused:
                entry[f"{field}_refused"] = sent.refused
        if kind == CLUSTERS:
            entry["endpoint_percent"] = _EVERYTHING if sent.version == sent.accepted else 0
    return list(proxies.values())


def _endpointz(mesh: Mesh) -> list[Json]:
    return [
        {
            "svc": f"{service.host}:{port.name or port.number}",
            "ep": [
                {"endpoint": {"Address": end.host, "Port": end.port}, "labels": end.labels} for end in ends
            ],
        }
        for service in mesh.services.values()
        for port in service.ports
        for ends in [service.endpoints[port.number]]
    ]


def _registryz(mesh: Mesh) -> list[Json]:
    return [
        {
            "hostname": service.host,
            "address": service.address,
            "ports": [
                {"name": port.name, "port": port.number, "protocol": port.protocol.upper()}
                for port in service.ports
            ],
        }
        for service in mesh.services.values()
    ]


class Debug:
    """Answers at the port of readiness and debugging."""

    def __init__(self, discovery: Discovery, unready: Callable[[], Mapping[str, str]]) -> None:
        """Take what is to be told of.

        Args:
            discovery: What proxies were sent.
            unready: Says what is still missing before proxies can be served, and why.
        """
        self._discovery = discovery
        self._unready = unready

    def answer(self, request: Request) -> Response:
        """Answer ``/ready`` and ``/debug/...``."""
        if request.path == "/ready":
            return self._ready()
        mesh = self._discovery.mesh
        if mesh is None:
            return text_response("nothing was served yet\n", 503)
        match request.path:
            case "/debug/syncz":
                return json_response(_syncz(self._discovery))
            case "/debug/endpointz":
                return json_response(_endpointz(mesh))
            case "/debug/registryz":
                return json_response(_registryz(mesh))
            case _:
                return text_response(f"no such page: {request.path}\n", 404)

    def _ready(self) -> Response:
        missing = self._unready()
        if missing or self._discovery.mesh is None:
            told = "".join(f"{kind}: {why}\n" for kind, why in sorted(missing.items()))
            return text_response(told or "nothing was served yet\n", 503)
        return text_response("ready\n")


def monitoring(discovery: Discovery, version: str) -> Handler:
    """Return what answers ``/version`` and ``/metrics`` at the port for monitoring."""

    def answer(request: Request) -> Response:
        if request.path == "/version":
            return text_response(f"{version}\n")
        if request.path == "/metrics":
            return metrics_response(process_metrics() + _figures(discovery))
        return text_response(f"no such page: {request.path}\n", 404)

    return answer


def _figures(discovery: Discovery) -> str:
    mesh = discovery.mesh
    figures = {
        "pilot_xds": len({key.node for key in discovery.sent()}),
        "pilot_services": len(mesh.services) if mesh else 0,
        "pilot_virt_services": len(mesh.virtual_services) if mesh else 0,
    }
    short = {CLUSTERS: "cds", LISTENERS: "lds", ROUTES: "rds"}
    figures |= {
        f'pilot_xds_pushes{{type="{short[kind]}"}}': count for kind, count in discovery.pushes.items()
    }
    figures |= {f"pilot_xds_{short[kind]}_reject": count for kind, count in discovery.refusals.items()}
    return "".join(f"{name} {value}\n" for name, value in figures.items())
