"""HTTP answers that are taken within bounds, as whoever answers at an address may be anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from pytest_istio.kube.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BODY_BYTES", "BoundedTransport"]

BODY_BYTES = 16 * 2**20
"""The length of a body as it is sent; pages, metrics and configuration are far below it."""


class BoundedTransport(httpx.HTTPTransport):
    """Bounds the length of bodies, and the time for all of one: the same as for a silence."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer; reading its body raises `httpx.ReadError` or `ReadTimeout` at the bounds."""
        response = super().handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Bounded(response.stream, request)
        return response


class _Bounded(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, request: httpx.Request) -> None:
        self._stream = stream
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        seconds = self._request.extensions["timeout"]["read"]
        deadline, length = Deadline(seconds), 0
        for part in self._stream:
            length += len(part)
            if length > BODY_BYTES:
                msg = f"the answer is longer than {BODY_BYTES // 2**20} MiB"
                raise httpx.ReadError(msg, request=self._request)
            if deadline.expired:
                msg = f"the answer did not end within {seconds:g} s"
                raise httpx.ReadTimeout(msg, request=self._request)
            yield part

    def close(self) -> None:
        self._stream.close()
