"""The API server's client inside the supervisor: asyncio, plain objects, watches that never die."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import aiohttp

from pytest_istio.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

__all__ = ["Api", "ApiError", "Informer", "Object"]

Object = dict[str, Any]
Objects = list[Object]
T = TypeVar("T")

_PATCH_TYPES = {
    "apply": "application/apply-patch+yaml",
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_MANAGER = "pytest-istio-local"

# A watch that is quiet for longer than the server was asked to keep it open is a dead connection.
_WATCH_SECONDS = 300
_WATCH_GRACE = 10
_RELIST_PAUSE = 0.1


class ApiError(ClusterError):
    """The API server's answer was not a success.

    Attributes:
        status: The HTTP status; 504 stands also for a server that cannot be reached.
        reason: The API's machine-readable reason, such as ``AlreadyExists``; empty if it gave none.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


_ENDS_A_WATCH = (ApiError, aiohttp.ClientError, TimeoutError, asyncio.TimeoutError, json.JSONDecodeError)


class Api:
    """A client of the cluster's own API server.

    Paths are API paths with their query left out, such as ``/api/v1/namespaces/default/pods/web``.
    """

    def __init__(self, server: str, authority: Path, token: str) -> None:
        """Connect to nothing yet.

        Args:
            server: The server's URL.
            authority: The certificate authority's certificate, a PEM file.
            token: The bearer token of the user that the client acts as.
        """
        self.server = server
        tls = ssl.create_default_context(cafile=authority)
        # No proxy of the environment is ever asked: the server is on this machine.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=30),
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Object | Objects | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send one request and return the decoded answer.

        Raises:
            ApiError: The answer is no success, or there is none.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        url = self.server + path
        try:
            async with self._session.request(method, url, params=query, data=data, headers=headers) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError) as error:
            raise ApiError(
                504, "Unreachable", f"{method} {path}: the API server does not answer: {error}"
            ) from error
        if answer.status >= 400:  # noqa: PLR2004  # errors start here
            raise _error(method, path, answer.status, text)
        return json.loads(text) if text.startswith("{") else {"text": text}

    async def get(self, path: str) -> Object:
        """Return one object."""
        return await self.request("GET", path)

    async def find(self, path: str) -> Object | None:
        """Return one object, or None when there is none."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:  # noqa: PLR2004  # Not Found
                return None
            raise

    async def list(self, path: str, query: Mapping[str, str | int] | None = None) -> Objects:
        """Return all objects of a collection; `query` may hold ``labelSelector`` and ``fieldSelector``."""
        return (await self._list(path, query))[0]

    async def create(self, path: str, body: Object) -> Object:
        """Create an object; `path` is its collection's, or a subresource's such as ``…/token``."""
        return await self.request("POST", path, body=body, query={"fieldManager": _MANAGER})

    async def patch(
        self,
        path: str,
        body: Object | Objects,
        how: Literal["apply", "json", "merge", "strategic"] = "merge",
    ) -> Object:
        """Change an object; with ``apply`` it is created if it does not exist."""
        query = {"fieldManager": _MANAGER} | ({"force": "true"} if how == "apply" else {})
        return await self.request("PATCH", path, body=body, query=query, content_type=_PATCH_TYPES[how])

    async def delete(self, path: str, *, grace: int | None = None, uid: str | None = None) -> None:
        """Delete an object; one that is gone, or has another `uid` by now, is fine.

        Args:
            path: The object's.
            grace: Seconds that its processes are given; 0 removes it at once; None leaves it to the object.
            uid: Delete only the object with this identity.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self.request("DELETE", path, body=options)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def watch(
        self, path: str, query: Mapping[str, str | int] | None = None, *, listed: asyncio.Event | None = None
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield ``ADDED``, ``MODIFIED`` and ``DELETED`` with the object, for ever, at first all there are.

        Whatever ends the stream (a closed connection, 410, 429, 504, an ERROR event) is answered by listing
        again: what vanished meanwhile is yielded as DELETED, what changed as MODIFIED. Around changes of
        custom resource definitions that is the API server's ordinary behaviour, not a fault.

        Args:
            path: The collection's.
            query: May hold ``labelSelector`` and ``fieldSelector``.
            listed: Set as soon as a first complete list was yielded.
        """
        known: dict[tuple[str | None, str], Object] = {}
        while True:
            try:
                items, version = await self._list(path, query)
                for event in _differences(known, items):
                    yield event
                if listed:
                    listed.set()
                async for kind, obj in self._stream(path, query, version):
                    if kind == "DELETED":
                        known.pop(_key(obj), None)
                    else:
                        known[_key(obj)] = obj
                    yield kind, obj
            except _ENDS_A_WATCH:  # noqa: PERF203  # the loop is one network connection a turn
                await asyncio.sleep(_RELIST_PAUSE)

    async def _list(self, path: str, query: Mapping[str, str | int] | None) -> tuple[Objects, str]:
        answer = await self.request("GET", path, query=query)
        kind = answer["kind"].removesuffix("List")
        items = [{"apiVersion": answer["apiVersion"], "kind": kind} | item for item in answer["items"] or []]
        return items, answer["metadata"]["resourceVersion"]

    async def _stream(
        self, path: str, query: Mapping[str, str | int] | None, version: str
    ) -> AsyncIterator[tuple[str, Object]]:
        params = {**(query or {}), "watch": "1", "resourceVersion": version, "timeoutSeconds": _WATCH_SECONDS}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=_WATCH_SECONDS + _WATCH_GRACE)
        async with self._session.get(self.server + path, params=params, timeout=timeout) as answer:
            if answer.status != 200:  # noqa: PLR2004  # OK
                raise _error("WATCH", path, answer.status, await answer.text())
            # Events can be larger than the buffer behind a line-wise read, hence chunks.
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _error(
                            "WATCH", path, event["object"].get("code", 500), json.dumps(event["object"])
                        )
                    yield event["type"], event["object"]


class Informer:
    """A copy of a collection that is kept up to date.

    Attributes:
        store: The objects by namespace (empty for cluster-scoped ones) and name.
        synced: Set once the store holds the first complete list.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        query: Mapping[str, str | int] | None = None,
        on_change: Callable[[str, Object], None] | None = None,
    ) -> None:
        """Describe the copy; `run` makes it.

        Args:
            api: The client.
            path: The collection's.
            query: May hold ``labelSelector`` and ``fieldSelector``.
            on_change: Called with the kind of change and the object, after the store was changed.
        """
        self._api = api
        self._path = path
        self._query = query
        self._on_change = on_change
        self._changed = asyncio.Condition()
        self.store: dict[tuple[str, str], Object] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Keep the store up to date until cancelled."""
        async for kind, obj in self._api.watch(self._path, self._query, listed=self.synced):
            namespace, name = _key(obj)
            if kind == "DELETED":
                self.store.pop((namespace or "", name), None)
            else:
                self.store[namespace or "", name] = obj
            if self._on_change:
                self._on_change(kind, obj)
            async with self._changed:
                self._changed.notify_all()

    async def until(self, found: Callable[[dict[tuple[str, str], Object]], T | None]) -> T:
        """Return what `found` finds in the store, as soon as that is not None."""
        async with self._changed:
            while (result := found(self.store)) is None:
                await self._changed.wait()
            return result


def _key(obj: Object) -> tuple[str | None, str]:
    return obj["metadata"].get("namespace"), obj["metadata"]["name"]


def _differences(
    known: dict[tuple[str | None, str], Object], items: list[Object]
) -> list[tuple[str, Object]]:
    """Bring `known` to the state of `items` and return the changes as events."""
    events: list[tuple[str, Object]] = []
    now = {_key(item): item for item in items}
    events += [("DELETED", known.pop(key)) for key in list(known) if key not in now]
    for key, item in now.items():
        before = known.get(key)
        if before is None:
            events.append(("ADDED", item))
        elif before["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            events.append(("MODIFIED", item))
        known[key] = item
    return events


def _error(method: str, path: str, status: int, text: str) -> ApiError:
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        answer = {}
    return ApiError(
        status, answer.get("reason", ""), f"{method} {path}: {status} {answer.get('message', text)}"
    )
