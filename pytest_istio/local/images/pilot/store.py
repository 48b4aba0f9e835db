"""Follows the cluster's objects with the rights of the discovery service's own ServiceAccount.

Only what configuration depends on is kept of an object, so that a status that changes, or a heartbeat,
wakes nobody up.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_istio.local.images.environment import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_istio.local.images.cluster_api import ClusterApi

__all__ = ["Kind", "Store"]

Json = dict[str, Any]
Key = tuple[str, str]


class Kind(NamedTuple):
    """A kind of object that is followed.

    Attributes:
        name: The kind.
        path: The collection of all namespaces.
        keep: Returns what matters of an object; comparable by ``==``.
        query: Query parameters that choose among the objects.
        accept: The form of objects to ask for.
    """

    name: str
    path: str
    keep: Callable[[Json], Any]
    query: Mapping[str, str] = {}
    accept: str = "application/json"


def _key(item: Json) -> Key:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Store:
    """The objects of several kinds, each followed by a thread of its own."""

    def __init__(self, api: ClusterApi, kinds: Iterable[Kind], changed: Callable[[], None]) -> None:
        """Follow nothing yet.

        Args:
            api: Where the objects are.
            kinds: What to follow.
            changed: Called, from the threads, after something that matters has changed.
        """
        self._api = api
        self._changed = changed
        self._lock = threading.Lock()
        self._kinds = {kind.name: kind for kind in kinds}
        self._objects: dict[str, dict[Key, Any]] = {name: {} for name in self._kinds}
        self._unseen = dict.fromkeys(self._kinds, "not listed yet")

    def start(self) -> None:
        """Begin to follow."""
        for kind in self._kinds.values():
            threading.Thread(target=self._follow, args=[kind], name=kind.name, daemon=True).start()

    def unseen(self) -> dict[str, str]:
        """Return the kinds whose objects have not been seen yet, and why."""
        with self._lock:
            return dict(self._unseen)

    def objects(self) -> dict[str, dict[Key, Any]]:
        """Return what is kept of all objects, by kind and then by namespace and name."""
        with self._lock:
            return {name: dict(objects) for name, objects in self._objects.items()}

    def _follow(self, kind: Kind) -> None:
        last = ""

        def trouble(error: Exception) -> None:
            nonlocal last
            with self._lock:
                if kind.name in self._unseen:
                    self._unseen[kind.name] = str(error)
            if str(error) != last:
                last = str(error)
                log("watch failed, trying again", level="warning", kind=kind.name, error=last)

        watch = self._api.watch(kind.path, on_error=trouble, query=kind.query, accept=kind.accept)
        for event in watch:
            if event.type == "LISTED":
                last = ""
                self._replace(kind, event.objects)
            else:
                self._change(kind, event.objects[0], gone=event.type == "DELETED")

    def _replace(self, kind: Kind, items: list[Json]) -> None:
        objects = {_key(item): kind.keep(item) for item in items}
        with self._lock:
            same = self._objects[kind.name] == objects and kind.name not in self._unseen
            self._objects[kind.name] = objects
            self._unseen.pop(kind.name, None)
        if not same:
            self._changed()

    def _change(self, kind: Kind, item: Json, *, gone: bool) -> None:
        key, value = _key(item), None if gone else kind.keep(item)
        with self._lock:
            objects = self._objects[kind.name]
            before = objects.pop(key, None)
            if value is not None:
                objects[key] = value
        if value != before:
            self._changed()
