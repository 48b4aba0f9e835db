"""Forwarding a port of a pod to a remote client, whatever protocol brings the data."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_istio.local.node.errors import cause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["forward"]


async def forward(
    targets: Sequence[tuple[str, int]],
    source: asyncio.StreamReader,
    write: Callable[[bytes], Awaitable[None]],
) -> str | None:
    """Connect to a port and copy in both directions, until the port's side has ended.

    Args:
        targets: Where the port may be served, tried in this order.
        source: What the client sends.
        write: Sends to the client.

    Returns:
        Why there is no connection; None after one.
    """
    reason = ""
    for host, port in targets:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:  # noqa: PERF203  # at most two
            reason = cause(error)
        else:
            await _copy_both(source, write, reader, writer)
            return None
    return f"failed to connect to {targets[-1][0]}:{targets[-1][1]} inside the pod: {reason}"


async def _copy_both(
    source: asyncio.StreamReader,
    write: Callable[[bytes], Awaitable[None]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    sending = asyncio.ensure_future(_send(source, writer))
    try:
        # A connection that breaks ends the forwarding, from whichever side it comes.
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await write(data)
    finally:
        sending.cancel()
        writer.close()


async def _send(source: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
