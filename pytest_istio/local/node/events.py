"""Events of pods, by which ``kubectl describe`` and waiting code show a cause."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_istio.local.api import ApiError

if TYPE_CHECKING:
    from pytest_istio.local.api import Api, Object

__all__ = ["Recorder", "now"]

_log = logging.getLogger(__name__)

# A start of many pods makes hundreds of ordinary events; they must not delay what the pods need.
_PAUSE = 0.05

_REMEMBERED = 1000


def now() -> str:
    """Return the time as the API's objects write it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class _Event:
    namespace: str
    pod: str
    uid: str
    container: str | None
    kind: str
    reason: str
    message: str


class Recorder:
    """Writes events one after the other, warnings first; one that happens again has its count raised."""

    def __init__(self, api: Api, node: str) -> None:
        """Take events; `run` writes them."""
        self._api = api
        self._node = node
        # Warnings first, then in order.
        self._queue: asyncio.PriorityQueue[tuple[bool, int, _Event, str]] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._written: dict[_Event, Object] = {}

    def record(
        self, pod: Object, reason: str, message: str, *, container: str | None = None, warning: bool = False
    ) -> None:
        """Take an event of a pod or of one of its containers."""
        metadata = pod["metadata"]
        kind = "Warning" if warning else "Normal"
        event = _Event(
            metadata["namespace"], metadata["name"], metadata["uid"], container, kind, reason, message
        )
        self._queue.put_nowait((not warning, next(self._numbers), event, now()))

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            normal, _, event, time = await self._queue.get()
            try:
                await self._write(event, time)
            except ApiError as error:
                # A namespace that is being deleted takes no more events.
                _log.debug("event %s of pod %s/%s: %s", event.reason, event.namespace, event.pod, error)
            if normal:
                await asyncio.sleep(_PAUSE)

    async def _write(self, event: _Event, time: str) -> None:
        path = f"/api/v1/namespaces/{event.namespace}/events"
        known = self._written.get(event)
        if known is None:
            self._written[event] = await self._api.create(path, self._object(event, time))
            if len(self._written) > _REMEMBERED:
                del self._written[next(iter(self._written))]
            return
        change = {"count": known["count"] + 1, "lastTimestamp": time}
        self._written[event] = await self._api.patch(f"{path}/{known['metadata']['name']}", change)

    def _object(self, event: _Event, time: str) -> Object:
        involved = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": event.namespace,
            "name": event.pod,
            "uid": event.uid,
        }
        if event.container:
            involved["fieldPath"] = f"spec.containers{{{event.container}}}"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{event.pod[:200]}.{secrets.token_hex(8)}", "namespace": event.namespace},
            "involvedObject": involved,
            "type": event.kind,
            "reason": event.reason,
            "message": event.message,
            "count": 1,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
        }
