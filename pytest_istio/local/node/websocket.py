"""Exec and port-forward over WebSocket: every message starts with the number of its channel.

Stock kubectl arrives as SPDY; the official Python client, and others that speak the older channel
protocols, are passed on by the API server as they are.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from pytest_istio.local.node.portforward import forward
from pytest_istio.local.node.remote import execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from pytest_istio.local.node.remote import RemoteCommand
    from pytest_istio.local.node.run import Run

__all__ = ["execute_over_websocket", "forward_over_websocket"]

_EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_FORWARD_PROTOCOLS = ("v4.channel.k8s.io",)
_STDIN, _SIZES, _CLOSE = 0, 4, 255
_OUTPUTS = {"stdout": 1, "stderr": 2, "error": 3}


class _Channels:
    """The streams of a remote command; see `pytest_istio.local.node.remote.Streams`."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.stdin = asyncio.StreamReader()
        self.sizes = asyncio.StreamReader()
        self.closed = asyncio.Event()
        self._socket = socket

    async def write(self, name: str, data: bytes) -> None:
        await self._socket.send_bytes(bytes([_OUTPUTS[name]]) + data)

    async def receive(self) -> None:
        """Take apart what arrives, until the client is gone."""
        try:
            async for channel, data in _messages(self._socket):
                if channel == _STDIN:
                    self.stdin.feed_data(data)
                elif channel == _SIZES:
                    self.sizes.feed_data(data + b"\n")
                elif channel == _CLOSE and data == bytes([_STDIN]):
                    self.stdin.feed_eof()
        finally:
            self.closed.set()


async def _messages(socket: web.WebSocketResponse) -> AsyncIterator[tuple[int, bytes]]:
    async for message in socket:
        data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
        if data:
            yield data[0], data[1:]


async def execute_over_websocket(
    request: web.Request, run: Run, command: RemoteCommand
) -> web.WebSocketResponse:
    """Run a command with the channels of a WebSocket."""
    socket = web.WebSocketResponse(protocols=_EXEC_PROTOCOLS, max_msg_size=0)
    await socket.prepare(request)
    channels = _Channels(socket)
    receiving = asyncio.ensure_future(channels.receive())
    try:
        await execute(run, command, channels)
    finally:
        await socket.close()
        receiving.cancel()
    return socket


async def forward_over_websocket(
    request: web.Request, ports: Sequence[int], targets: Callable[[int], Sequence[tuple[str, int]]]
) -> web.WebSocketResponse:
    """Forward one connection to each of `ports`; the channels of the port at place i are 2i and 2i + 1.

    Args:
        request: The request.
        ports: Ports of the pod.
        targets: Returns where a port may be served.
    """
    socket = web.WebSocketResponse(protocols=_FORWARD_PROTOCOLS, max_msg_size=0)
    await socket.prepare(request)
    sources = [asyncio.StreamReader() for _ in ports]
    for number in range(2 * len(ports)):
        # Each channel starts with the port that it is for.
        await socket.send_bytes(struct.pack("<BH", number, ports[number // 2]))
    forwarding = [
        asyncio.ensure_future(_forward(socket, 2 * place, targets(port), sources[place]))
        for place, port in enumerate(ports)
    ]
    closing = asyncio.ensure_future(_close_after(socket, forwarding))
    try:
        async for channel, data in _messages(socket):
            if channel % 2 == 0 and channel // 2 < len(ports):
                sources[channel // 2].feed_data(data)
    finally:
        for task in (*forwarding, closing):
            task.cancel()
    return socket


async def _forward(
    socket: web.WebSocketResponse,
    channel: int,
    targets: Sequence[tuple[str, int]],
    source: asyncio.StreamReader,
) -> None:
    async def write(data: bytes) -> None:
        await socket.send_bytes(bytes([channel]) + data)

    failure = await forward(targets, source, write)
    if failure:
        await socket.send_bytes(bytes([channel + 1]) + failure.encode())


async def _close_after(socket: web.WebSocketResponse, forwarding: Sequence[asyncio.Future[None]]) -> None:
    await asyncio.wait(forwarding)
    await socket.close()
