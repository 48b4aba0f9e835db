"""Exec and port-forward over SPDY: which stream is which, by the headers that opened it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pytest_istio.local.node.portforward import forward
from pytest_istio.local.node.remote import execute
from pytest_istio.local.node.spdy import SpdyConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiohttp import web

    from pytest_istio.local.node.remote import RemoteCommand
    from pytest_istio.local.node.run import Run
    from pytest_istio.local.node.spdy import SpdyStream

__all__ = ["execute_over_spdy", "forward_over_spdy"]

_EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_FORWARD_PROTOCOLS = ("portforward.k8s.io",)
_OPENED_WITHIN = 30.0
_CLOSED_WITHIN = 5.0


class _CommandStreams:
    """The streams of a remote command; see `pytest_istio.local.node.remote.Streams`."""

    def __init__(self, connection: SpdyConnection, streams: dict[str, SpdyStream]) -> None:
        nothing = asyncio.StreamReader()
        nothing.feed_eof()
        self.stdin = streams["stdin"].reader if "stdin" in streams else nothing
        self.sizes = streams["resize"].reader if "resize" in streams else nothing
        self.closed = connection.closed
        self._streams = streams

    async def write(self, name: str, data: bytes) -> None:
        if name in self._streams:
            await self._streams[name].write(data)


async def execute_over_spdy(request: web.Request, run: Run, command: RemoteCommand) -> None:
    """Upgrade a request to SPDY and run a command with the streams that the client opens."""
    expected = {"error"}
    for name in ("stdin", "stdout", "stderr"):
        expected |= {name} if getattr(command, name) else set()
    expected |= {"resize"} if command.tty else set()
    async with _upgraded(request, _EXEC_PROTOCOLS) as (connection, opened):
        streams: dict[str, SpdyStream] = {}
        while expected - streams.keys():
            stream = await asyncio.wait_for(opened.get(), _OPENED_WITHIN)
            streams[stream.headers.get("streamtype", "")] = stream
        await execute(run, command, _CommandStreams(connection, streams))
        for stream in streams.values():
            stream.close()


async def forward_over_spdy(
    request: web.Request, targets: Callable[[int], Sequence[tuple[str, int]]]
) -> None:
    """Upgrade a request to SPDY and forward a connection for each pair of streams that the client opens.

    Args:
        request: The request.
        targets: Returns where a port of the pod may be served.
    """
    forwarding: set[asyncio.Task[None]] = set()
    half: dict[str, SpdyStream] = {}
    async with _upgraded(request, _FORWARD_PROTOCOLS) as (connection, opened):
        try:
            while stream := await _next(opened, connection):
                other = half.pop(stream.headers["requestid"], None)
                if other is None:
                    half[stream.headers["requestid"]] = stream
                    continue
                pair = {one.headers["streamtype"]: one for one in (stream, other)}
                ports = targets(int(stream.headers["port"]))
                task = asyncio.ensure_future(_forward(ports, pair["data"], pair["error"]))
                forwarding.add(task)
                task.add_done_callback(forwarding.discard)
        finally:
            for task in forwarding:
                task.cancel()


async def _next(opened: asyncio.Queue[SpdyStream], connection: SpdyConnection) -> SpdyStream | None:
    """Return the next stream that the client opens; None when the connection is closed."""
    opening = asyncio.ensure_future(opened.get())
    closing = asyncio.ensure_future(connection.closed.wait())
    try:
        await asyncio.wait((opening, closing), return_when=asyncio.FIRST_COMPLETED)
        return opening.result() if opening.done() else None
    finally:
        opening.cancel()
        closing.cancel()


async def _forward(ports: Sequence[tuple[str, int]], data: SpdyStream, error: SpdyStream) -> None:
    try:
        failure = await forward(ports, data.reader, data.write)
        if failure:
            await error.write(failure.encode())
    finally:
        data.close()
        error.close()


@asynccontextmanager
async def _upgraded(
    request: web.Request, known: Sequence[str]
) -> AsyncIterator[tuple[SpdyConnection, asyncio.Queue[SpdyStream]]]:
    """Turn a request's connection into a SPDY one, and close it at the end."""
    offered = request.headers.getall("X-Stream-Protocol-Version", [])
    spoken = next((protocol for protocol in known if protocol in offered), known[-1])
    transport = request.transport
    assert isinstance(transport, asyncio.Transport)
    http = transport.get_protocol()
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {spoken}\r\n\r\n"
    )
    opened: asyncio.Queue[SpdyStream] = asyncio.Queue()
    # The HTTP server has to hear of the end, or it keeps the connection in its books.
    connection = SpdyConnection(transport, opened.put_nowait, http.connection_lost)
    transport.write(answer.encode())
    try:
        yield connection, opened
    finally:
        transport.close()
        try:
            await asyncio.wait_for(connection.closed.wait(), _CLOSED_WITHIN)
        except (TimeoutError, asyncio.TimeoutError):
            transport.abort()
