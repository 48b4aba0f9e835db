"""The kubelet's HTTPS server: what the API server asks it for logs, exec and port-forward."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from aiohttp import web

from pytest_istio.local.node.image import has_sidecar
from pytest_istio.local.node.logs import LogQuery
from pytest_istio.local.node.remote import RemoteCommand
from pytest_istio.local.node.spdy_streams import execute_over_spdy, forward_over_spdy
from pytest_istio.local.node.websocket import execute_over_websocket, forward_over_websocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.node.container import Container
    from pytest_istio.local.node.pod import PodWorker
    from pytest_istio.local.node.run import Run
    from pytest_istio.local.pki import KeyPair

__all__ = ["KubeletServer"]

_CLIENT = "kube-apiserver-kubelet-client"
_STOPPED_WITHIN = 0.5


class KubeletServer:
    """Serves the API server, and nobody else."""

    def __init__(
        self,
        find: Callable[[str, str], PodWorker | None],
        plan: Plan,
        serving: KeyPair,
        authority: Path,
    ) -> None:
        """Describe the server; `start` starts it.

        Args:
            find: Returns the worker of a pod, by namespace and name.
            plan: The cluster's addresses.
            serving: The server's certificate.
            authority: The certificate of the authority that clients' certificates must be from.
        """
        self._find = find
        self._plan = plan
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_cert_chain(serving.certificate, serving.key)
        application = web.Application(middlewares=[_only_the_api_server])
        application.add_routes(
            [
                web.get("/healthz", _healthy),
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
                web.route("*", "/exec/{namespace}/{pod}/{container}", self._exec),
                web.route("*", "/attach/{namespace}/{pod}/{container}", _no_attach),
                web.route("*", "/portForward/{namespace}/{pod}", self._port_forward),
            ]
        )
        # Who follows a silent log and leaves must not be waited upon for ever.
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=_STOPPED_WITHIN, handler_cancellation=True
        )

    async def start(self) -> int:
        """Listen at the node's address and return the port.

        Raises:
            OSError: It cannot listen.
        """
        await self._runner.setup()
        host, _ = self._plan.wire(self._plan.node, 0)
        site = web.TCPSite(self._runner, host, 0, ssl_context=self._tls)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        container = self._container(request)
        try:
            query = LogQuery.of(request.query)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        log = container.previous_log if query.previous else container.log
        if log is None:
            raise web.HTTPBadRequest(text=_no_log(request, container, previous=query.previous))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        async for data in log.read(query):
            await response.write(data)
        return response

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        run = self._running(request)
        command = RemoteCommand.of(request.query)
        if not command.argv:
            raise web.HTTPBadRequest(text="you must specify at least 1 command")
        if _wants(request, "websocket"):
            return await execute_over_websocket(request, run, command)
        _require_spdy(request)
        await execute_over_spdy(request, run, command)
        # The connection is no longer HTTP's, so there is nothing to answer.
        raise asyncio.CancelledError

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        worker = self._worker(request)
        if _wants(request, "websocket"):
            ports = [int(port) for value in request.query.getall("port", request.query.getall("ports", []))
                     for port in value.split(",")]  # fmt: skip
            return await forward_over_websocket(request, ports, lambda port: self._targets(worker, port))
        _require_spdy(request)
        await forward_over_spdy(request, lambda port: self._targets(worker, port))
        raise asyncio.CancelledError

    def _targets(self, worker: PodWorker, port: int) -> list[tuple[str, int]]:
        """Return where a port of a pod may be served: by the application, or by the sidecar before it.

        In a real pod both are the pod's own loopback address.
        """
        host, wire_port = self._plan.wire(worker.ip, port)
        application = [(self._plan.application(worker.ip), wire_port)] if has_sidecar(worker.pod) else []
        return [*application, (host, wire_port)]

    def _worker(self, request: web.Request) -> PodWorker:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        worker = self._find(namespace, name)
        if worker is None:
            raise web.HTTPNotFound(text=f'pod "{namespace}/{name}" does not run on this node')
        return worker

    def _container(self, request: web.Request) -> Container:
        worker, name = self._worker(request), request.match_info["container"]
        for container in worker.containers:
            if container.name == name:
                return container
        raise web.HTTPNotFound(text=f'container "{name}" not found in pod "{request.match_info["pod"]}"')

    def _running(self, request: web.Request) -> Run:
        container = self._container(request)
        if container.run is None or not container.running:
            raise web.HTTPNotFound(text=f'container "{container.name}" is not running')
        return container.run


@web.middleware
async def _only_the_api_server(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    certificate = (request.transport and request.transport.get_extra_info("peercert")) or {}
    names = {value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"}
    if _CLIENT not in names:
        raise web.HTTPForbidden(text=f"only {_CLIENT} may ask this kubelet")
    return await handler(request)


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _no_attach(_request: web.Request) -> web.Response:
    text = "the containers of the cluster `local` are plain processes; nothing can attach to them, try exec"
    raise web.HTTPNotImplemented(text=text)


def _wants(request: web.Request, protocol: str) -> bool:
    return request.headers.get("Upgrade", "").lower() == protocol


def _require_spdy(request: web.Request) -> None:
    if not _wants(request, "spdy/3.1"):
        raise web.HTTPBadRequest(text="the request must be upgraded to SPDY/3.1 or WebSocket")


def _no_log(request: web.Request, container: Container, *, previous: bool) -> str:
    pod = request.match_info["pod"]
    if previous:
        return f'previous terminated container "{container.name}" in pod "{pod}" not found'
    waiting = container.status()["state"].get("waiting", {})
    return f'container "{container.name}" in pod "{pod}" is waiting to start: {waiting.get("reason")}'
