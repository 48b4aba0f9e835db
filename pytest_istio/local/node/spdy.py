"""SPDY/3.1 as far as Kubernetes uses it: streams in one connection, opened by the client.

The API server speaks it to kubelets for exec and port-forward. Frames are as in the SPDY protocol, draft
3.1, sections 2.2 (framing), 2.6 (control frames) and 2.6.10 (header blocks and their dictionary). Nobody
here speaks HTTP over it, and the other side ignores flow-control windows, so TCP's own flow control is
all there is.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SpdyConnection", "SpdyStream"]

_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING = 1, 2, 3, 6
_FIN = 0x01
_LARGEST_FRAME = 2**24 - 1
_BUFFERED = 256 * 1024


def _dictionary() -> bytes:
    names = (  # noqa: SIM905  # a list of these would be a page long
        "options head post put delete trace accept accept-charset accept-encoding accept-language "
        "accept-ranges age allow authorization cache-control connection content-base content-encoding "
        "content-language content-length content-location content-md5 content-range content-type date etag "
        "expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since "
        "last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer "
        "retry-after server te trailer transfer-encoding upgrade user-agent vary via warning "
        "www-authenticate method get status"
    ).split()
    names += ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
    rest = (
        "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
        "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
        "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
        "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
        "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
        "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    )
    return b"".join(struct.pack(">I", len(name)) + name.encode() for name in names) + rest.encode()


_DICTIONARY = _dictionary()


class SpdyStream:
    """One stream of a connection.

    Attributes:
        headers: What the client opened it with, names in lower case.
        reader: What the client sends.
    """

    def __init__(self, connection: SpdyConnection, number: int, headers: dict[str, str]) -> None:
        """Take a stream that the client has opened."""
        self._connection = connection
        self._number = number
        self.headers = headers
        self.reader = asyncio.StreamReader(limit=_BUFFERED)
        self.reader.set_transport(connection.transport)

    async def write(self, data: bytes) -> None:
        """Send data; wait while the client does not take any more."""
        await self._connection.send(self._number, data)

    def close(self) -> None:
        """Say that no more will be sent."""
        self._connection.finish(self._number)


class SpdyConnection(asyncio.Protocol):
    """The server's side of a connection that was upgraded to SPDY.

    Attributes:
        transport: The connection's.
        closed: Set when the connection is lost.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        on_stream: Callable[[SpdyStream], None],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        """Take over a transport.

        Args:
            transport: The connection's.
            on_stream: Called with each stream that the client opens.
            on_lost: Called when the connection is lost.
        """
        self.transport = transport
        self.closed = asyncio.Event()
        self._on_stream = on_stream
        self._on_lost = on_lost
        self._received = b""
        self._streams: dict[int, SpdyStream] = {}
        self._half_ended: set[int] = set()
        self._writable = asyncio.Event()
        self._writable.set()
        self._compressor = zlib.compressobj(zdict=_DICTIONARY)
        self._decompressor = zlib.decompressobj(zdict=_DICTIONARY)
        transport.set_protocol(self)

    async def send(self, number: int, data: bytes) -> None:
        """Send data on a stream.

        Raises:
            ConnectionResetError: The connection is lost.
        """
        for start in range(0, len(data), _LARGEST_FRAME):
            await self._writable.wait()
            if self.closed.is_set():
                raise ConnectionResetError("the client has closed the connection")
            piece = data[start : start + _LARGEST_FRAME]
            self.transport.write(struct.pack(">II", number, len(piece)) + piece)

    def finish(self, number: int) -> None:
        """End a stream in the direction of the client."""
        if not self.closed.is_set():
            self.transport.write(struct.pack(">II", number, _FIN << 24))
            self._end_half(number)

    def data_received(self, data: bytes) -> None:
        """Take apart what arrives."""
        self._received += data
        while len(self._received) >= 8:  # noqa: PLR2004  # the size of a frame's head
            head, flags_and_size = struct.unpack_from(">II", self._received)
            flags, size = flags_and_size >> 24, flags_and_size & _LARGEST_FRAME
            if len(self._received) < 8 + size:
                return
            payload = self._received[8 : 8 + size]
            self._received = self._received[8 + size :]
            if head >> 31:
                self._control(head & 0xFFFF, flags, payload)
            else:
                self._data(head, flags, payload)

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _SYN_STREAM:
            number = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
            headers = _decoded(self._decompressor.decompress(payload[10:]))
            stream = self._streams[number] = SpdyStream(self, number, headers)
            self._send_control(_SYN_REPLY, struct.pack(">I", number) + self._no_headers())
            self._on_stream(stream)
            self._data(number, flags, b"")
        elif kind == _RST_STREAM:
            number = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
            if number in self._streams:
                self._streams.pop(number).reader.feed_eof()
        elif kind == _PING:
            self._send_control(_PING, payload)

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        if payload:
            stream.reader.feed_data(payload)
        if flags & _FIN:
            stream.reader.feed_eof()
            self._end_half(number)

    def _end_half(self, number: int) -> None:
        """Forget a stream once both sides have ended it."""
        if number in self._half_ended:
            self._half_ended.discard(number)
            self._streams.pop(number, None)
        else:
            self._half_ended.add(number)

    def _no_headers(self) -> bytes:
        return self._compressor.compress(struct.pack(">I", 0)) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def _send_control(self, kind: int, payload: bytes) -> None:
        self.transport.write(struct.pack(">HHI", 0x8000 | _VERSION, kind, len(payload)) + payload)

    def pause_writing(self) -> None:
        """Hold back what is to be sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let go on what is to be sent."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all streams."""
        self.closed.set()
        self._writable.set()
        for stream in self._streams.values():
            stream.reader.feed_eof()
        self._on_lost(exc)


def _decoded(block: bytes) -> dict[str, str]:
    """Return the headers of a decompressed block: a count, then names and values with their lengths."""
    texts = []
    place = 4
    for _ in range(2 * cast("int", struct.unpack_from(">I", block)[0])):
        (size,) = struct.unpack_from(">I", block, place)
        texts.append(block[place + 4 : place + 4 + size].decode())
        place += 4 + size
    return dict(zip([name.lower() for name in texts[::2]], texts[1::2], strict=True))
