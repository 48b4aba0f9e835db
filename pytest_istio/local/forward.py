"""Forwarding of TCP connections: to the endpoints of a service, and for the API server by HTTP CONNECT."""

from __future__ import annotations

import asyncio
import http
import socket
import struct
from typing import TYPE_CHECKING

from pytest_istio.local.addresses import is_cluster_address

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_istio.local.addresses import Plan

__all__ = ["Address", "Listener", "serve_connect"]

Address = tuple[str, int]

# The API server's request has one line and few headers.
_LONGEST_REQUEST = 8192


class _End(asyncio.Protocol):
    """One end of a forwarded connection: what arrives here is written to the other end, the peer."""

    transport: asyncio.Transport

    def __init__(self, peer: asyncio.Transport | None = None, greeting: bytes = b"") -> None:
        self.peer = peer
        self.ended = False
        self._greeting = greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.peer and self._greeting:
            self.peer.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        if self.peer:
            self.peer.write(data)

    def eof_received(self) -> bool:
        """Pass the end on, and keep the other direction open until it has ended too."""
        self.ended = True
        if self.peer is None or self.peer.is_closing():
            return True
        self.peer.write_eof()
        other = self.peer.get_protocol()
        if isinstance(other, _End) and other.ended:
            self.peer.close()
            return False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer and exc:
            self.peer.abort()
        elif self.peer:
            self.peer.close()

    def pause_writing(self) -> None:
        if self.peer:
            self.peer.pause_reading()

    def resume_writing(self) -> None:
        if self.peer:
            self.peer.resume_reading()


class _Accepted(_End):
    """The client's end; keeps what arrives before the other end is there."""

    def __init__(self) -> None:
        super().__init__()
        self._early = b""
        # The event loop itself holds tasks only weakly.
        self._joining: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if self.peer:
            self.peer.write(data)
        else:
            self._early += data

    async def _join(self, target: Address, greeting: bytes = b"") -> None:
        """Connect to the target, tell the client with a greeting, and forward from then on.

        Raises:
            OSError: The target takes no connection.
        """
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: _End(self.transport, greeting), *target)
        if self.transport.is_closing():
            transport.abort()
            return
        transport.write(self._early)
        self.peer = transport
        if self.ended:
            transport.write_eof()


class _Client(_Accepted):
    """A client of a service, joined to one of its endpoints."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._joining = asyncio.ensure_future(self._forward())

    async def _forward(self) -> None:
        target = self._listener.next_target()
        try:
            if target:
                await self._join(target)
        except OSError:
            target = None
        if target is None:
            # So that the client sees a reset, and not an empty answer.
            no_linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            self.transport.abort()


class _ApiServer(_Accepted):
    """The API server's end, which says first where it wants to go."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._joining:
            return
        if b"\r\n\r\n" in self._early:
            request, _, self._early = self._early.partition(b"\r\n\r\n")
            self._joining = asyncio.ensure_future(self._connect(request.decode("latin-1")))
        elif len(self._early) > _LONGEST_REQUEST:
            self._refuse(http.HTTPStatus.BAD_REQUEST)

    async def _connect(self, request: str) -> None:
        method, _, rest = request.partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        # Anything but an address of the cluster would be a way out of the machine.
        if method != "CONNECT" or not is_cluster_address(host) or not port.isdecimal():
            self._refuse(http.HTTPStatus.FORBIDDEN)
            return
        try:
            await self._join(self._plan.wire(host, int(port)), b"HTTP/1.1 200 OK\r\n\r\n")
        except OSError:
            self._refuse(http.HTTPStatus.BAD_GATEWAY)

    def _refuse(self, status: http.HTTPStatus) -> None:
        answer = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: 0\r\n\r\n"
        self.transport.write(answer.encode())
        self.transport.close()


class Listener:
    """A listening address whose connections go in turn to the targets of the moment."""

    def __init__(self, address: Address) -> None:
        """Describe the listener; `open` makes it."""
        self.address = address
        self.targets: Sequence[Address] = ()
        self._turn = 0
        self._server: asyncio.Server | None = None

    def next_target(self) -> Address | None:
        """Return the target whose turn it is, None when there are none."""
        self._turn += 1
        return self.targets[self._turn % len(self.targets)] if self.targets else None

    async def open(self) -> None:
        """Start to listen.

        Raises:
            OSError: The address is taken, or may not be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), *self.address)

    def close(self) -> None:
        """Take no more connections; those that are open go on."""
        if self._server:
            self._server.close()


async def serve_connect(path: Path, plan: Plan) -> asyncio.Server:
    """Serve HTTP CONNECT to the cluster's addresses on a Unix socket, for the API server."""
    return await asyncio.get_running_loop().create_unix_server(lambda: _ApiServer(plan), path)
