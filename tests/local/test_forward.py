"""Forwarding of connections, with real sockets on loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_istio.local.addresses import Plan
from pytest_istio.local.forward import Listener, serve_connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PLAN = Plan(31)
POD = "127.191.0.9"
HERE = "127.191.0.8"


@asynccontextmanager
async def echo_server(prefix: bytes = b"") -> AsyncIterator[int]:
    """Answer what was sent once the client has ended, like a server of HTTP/1.0."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(prefix + await reader.read())
        writer.close()

    server = await asyncio.start_server(answer, POD, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def listening(*targets: tuple[str, int]) -> AsyncIterator[int]:
    listener = Listener((HERE, 0))
    listener.targets = targets
    await listener.open()
    assert listener._server
    try:
        yield listener._server.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HERE, port)
    writer.write(data)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


async def connect(path: Path, request: bytes, data: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    if data:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def test_one_direction_can_end_before_the_other() -> None:
    async def scenario() -> None:
        async with echo_server() as target, listening((POD, target)) as port:
            large = b"x" * 5_000_000
            assert await exchange(port, b"hello") == b"hello"
            assert await exchange(port, large) == large

    asyncio.run(scenario())


def test_targets_take_turns() -> None:
    async def scenario() -> None:
        async with echo_server(b"a") as a, echo_server(b"b") as b, listening((POD, a), (POD, b)) as port:
            assert sorted([await exchange(port, b"") for _ in range(4)]) == [b"a", b"a", b"b", b"b"]

    asyncio.run(scenario())


@pytest.mark.parametrize("targets", [(), ((POD, 1),)], ids=["none", "refusing"])
def test_a_client_without_a_target_is_reset(targets: tuple[tuple[str, int], ...]) -> None:
    async def scenario() -> None:
        async with listening(*targets) as port:
            with pytest.raises(ConnectionResetError):
                await exchange(port, b"hello")

    asyncio.run(scenario())


def test_the_api_server_reaches_cluster_addresses_by_connect(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await serve_connect(tmp_path / "s", PLAN)
        async with echo_server() as target:
            request = f"CONNECT 10.191.0.9:{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            assert await connect(tmp_path / "s", request, b"hello") == b"hello"
        server.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("CONNECT 192.0.2.1:443", b"403"),
        ("CONNECT example.com:443", b"403"),
        ("CONNECT 127.0.0.1:22", b"403"),
        ("CONNECT 10.191.0.9:http", b"403"),
        ("GET /", b"403"),
        ("", b"403"),
        ("CONNECT 10.191.0.9:1", b"502"),
        ("x" * 10_000, b"400"),
    ],
)
def test_the_tunnel_leads_nowhere_else(tmp_path: Path, request_line: str, status: bytes) -> None:
    async def scenario() -> bytes:
        server = await serve_connect(tmp_path / "s", PLAN)
        end = "" if len(request_line) > 9000 else " HTTP/1.1\r\n\r\n"
        answer = await connect(tmp_path / "s", f"{request_line}{end}".encode())
        server.close()
        return answer

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 " + status)
