"""Watches that go on whatever the API server answers, against a server that answers by script."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from pytest_istio.local.api import Api, ApiError, Informer
from pytest_istio.local.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

Object = dict[str, Any]
HOST = "127.0.0.1"


def config_map(name: str, version: int) -> Object:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}}


class Script:
    """An API server with one collection; each list and each watch gets the next answer of its script."""

    def __init__(self, lists: list[list[Object]], watches: list[tuple[int, list[Object]]]) -> None:
        self._lists = iter(lists)
        self._watches = iter(watches)
        self._last: list[Object] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer secret"
        if "watch" not in request.query:
            self._last = next(self._lists, self._last)
            body = {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7"}}
            return web.json_response({**body, "items": self._last})
        status, events = next(self._watches, (0, []))
        if status == 0:
            await asyncio.sleep(3600)
        if status != 200:
            failure = {"kind": "Status", "code": status, "message": "storage is (re)initializing"}
            return web.json_response(failure, status=status)
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(json.dumps(event).encode() + b"\n")
        return response


def against(script: Script, folder: Path, use: Callable[[Api], Awaitable[None]]) -> None:
    async def run() -> None:
        authority = Authority(folder)
        pair = authority.issue("server", "server", addresses=[HOST])
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", script.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(pair.certificate, pair.key)
        site = web.TCPSite(runner, HOST, 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        api = Api(f"https://{HOST}:{port}", authority.certificate, "secret")
        try:
            await asyncio.wait_for(use(api), 20)
        finally:
            await api.close()
            await runner.cleanup()

    asyncio.run(run())


def test_a_watch_goes_on_after_every_way_to_end(tmp_path: Path) -> None:
    old, new = config_map("a", 1), config_map("a", 5)
    script = Script(
        lists=[[old], [old], [old], [new, config_map("b", 6)], [config_map("b", 6)]],
        watches=[
            (429, []),
            (410, []),
            (200, [{"type": "ERROR", "object": {"code": 504, "message": "Too large resource version"}}]),
            (200, []),
            (200, [{"type": "ADDED", "object": config_map("c", 8)}]),
        ],
    )
    seen: list[tuple[str, str]] = []

    async def use(api: Api) -> None:
        async for kind, obj in api.watch("/api/v1/configmaps"):
            seen.append((kind, obj["metadata"]["name"]))
            if obj["metadata"]["name"] == "c":
                break

    against(script, tmp_path, use)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("ADDED", "c")]


def test_an_informer_holds_what_there_is(tmp_path: Path) -> None:
    script = Script(
        lists=[[config_map("a", 1)], [config_map("b", 2)]],
        watches=[(200, [{"type": "MODIFIED", "object": config_map("a", 3)}])],
    )
    changes: list[str] = []

    async def use(api: Api) -> None:
        informer = Informer(api, "/api/v1/configmaps", on_change=lambda kind, _obj: changes.append(kind))
        task = asyncio.ensure_future(informer.run())
        await informer.synced.wait()
        assert ("default", "a") in informer.store
        found = await informer.until(lambda store: store.get(("default", "b")))
        assert found["kind"] == "ConfigMap"
        task.cancel()

    against(script, tmp_path, use)
    assert changes == ["ADDED", "MODIFIED", "DELETED", "ADDED"]


def test_a_server_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    async def use(_api: Api) -> None:
        nobody = Api(f"https://{HOST}:1", tmp_path / "ca.crt", "secret")
        with pytest.raises(ApiError) as raised:
            await nobody.get("/version")
        assert raised.value.status == 504
        await nobody.close()

    against(Script([], []), tmp_path, use)
