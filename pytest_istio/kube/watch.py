"""Following objects as they change, through everything that ends a watch."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, Literal

import urllib3

from pytest_istio.kube.errors import KubeError, NotFoundError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from pytest_istio.kube.connection import Connection
    from pytest_istio.kube.deadline import Deadline
    from pytest_istio.kube.objects import Object

__all__ = ["Event", "Watch"]

SESSION_SECONDS = 300.0
"""How long the server is asked to keep one watch open; afterwards everything is listed again."""

SILENCE_SECONDS = 90.0
"""A server sends a bookmark each minute; a connection that is silent for longer is dead."""


@dataclass(frozen=True)
class Event:
    """What happened to an object.

    Attributes:
        type: ``ADDED``, ``MODIFIED`` or ``DELETED``; ``SYNCED`` (without an object) each time that all
            which exists has been reported.
        object: The object as it is now, or as it was last.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]
    object: Object


class Watch:
    """Iterates over the changes of a collection, starting with an ``ADDED`` for all that exists.

    An expired version (410), a throttled or restarting storage (429, 5xx), an ERROR event, a reset and the
    end of the stream all lead to a new list, compared with what was reported before, so that nothing is
    missed and nothing vanishes unseen. A kind that is not served (404) counts as an empty collection.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        query: Mapping[str, Any],
        pages: Callable[[], Iterator[Object]],
        deadline: Deadline,
    ) -> None:
        """Prepare to follow a collection; nothing is sent yet.

        Args:
            connection: The way to the API server.
            path: The collection.
            query: The label and field selectors, as in the list.
            pages: Gives the list answers that together hold the collection.
            deadline: When to stop.
        """
        self._connection = connection
        self._path = path
        self._query = query
        self._pages = pages
        self._deadline = deadline
        self._closed = Flag()
        self._stream: urllib3.BaseHTTPResponse | None = None
        self._known: dict[tuple[str | None, str], Object] = {}

    def close(self) -> None:
        """End the iteration, also from another thread while it waits for the server."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            # Between two connections there is nothing to shut down; the flag ends the iteration then.
            with suppress(ValueError, RuntimeError, OSError):
                stream.shutdown()

    def __iter__(self) -> Iterator[Event]:
        pause = 0.0
        while not self._over() and not self._closed.wait(self._deadline.bound(pause)):
            started = self._deadline.elapsed()
            try:
                version = yield from self._synchronise()
                yield from self._follow(version)
            except UnreachableError:
                # The list has been tried again for a while before it gave up: the server is down.
                raise
            except KubeError as error:
                if error.status not in _PASSING:
                    raise
            lived = self._deadline.elapsed() - started
            pause = 0.0 if lived > 1.0 else min(1.0, 2 * pause + 0.05)

    def _over(self) -> bool:
        return self._closed.is_set() or self._deadline.expired

    def _synchronise(self) -> Generator[Event, None, str]:
        """List the collection, report what differs from what was known, and return the list's version."""
        version = ""
        current: dict[tuple[str | None, str], Object] = {}
        try:
            for page in self._pages():
                version = version or page["metadata"]["resourceVersion"]
                current.update((_key(item), item) for item in page["items"])
        except NotFoundError:
            pass
        for key, before in self._known.items():
            # What was made anew meanwhile is another object of the same name.
            if key not in current or current[key]["metadata"]["uid"] != before["metadata"]["uid"]:
                yield Event("DELETED", before)
        for key, item in current.items():
            known = self._known.get(key)
            if known is None or known["metadata"]["uid"] != item["metadata"]["uid"]:
                yield Event("ADDED", item)
            elif known["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                yield Event("MODIFIED", item)
        self._known = current
        yield Event("SYNCED", {})
        return version

    def _follow(self, version: str) -> Iterator[Event]:
        """Report what the server streams, until the stream ends in whatever way."""
        try:
            for line in self._lines(version):
                event = json.loads(line)
                kind, obj = event["type"], event["object"]
                if kind == "ERROR":
                    return
                if kind == "BOOKMARK":
                    continue
                if kind == "DELETED":
                    self._known.pop(_key(obj), None)
                else:
                    self._known[_key(obj)] = obj
                yield Event(kind, obj)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, UnreachableError):
            # Reset, silent for too long, cut off inside a line, or shut down by `close`.
            return

    def _lines(self, version: str) -> Iterator[bytes]:
        left = self._deadline.bound(SESSION_SECONDS)
        query = {
            **self._query,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": math.ceil(left),
        }
        stream = self._connection.ask(self._path, query=query, timeout=min(left + 0.1, SILENCE_SECONDS))
        self._stream = stream
        try:
            rest = b""
            while not self._over():
                block = stream.read1()
                if not block:
                    return
                *lines, rest = (rest + block).split(b"\n")
                yield from lines
        finally:
            self._stream = None
            stream.close()


_PASSING = frozenset({404, 410, 429, 500, 502, 503, 504})


def _key(obj: Object) -> tuple[str | None, str]:
    metadata = obj["metadata"]
    return metadata.get("namespace"), metadata["name"]
