"""What happens to several kinds of objects at once, in one queue."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING

from pytest_istio.errors import PytestIstioError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.deadline import Deadline
    from pytest_istio.kube.watch import Event, Watch

__all__ = ["Changes", "Collection"]

JOIN_SECONDS = 1.0
"""How long the end of a watch is waited for."""


@dataclass(frozen=True)
class Collection:
    """The objects of a kind in a namespace; without a namespace, those of the cluster."""

    api_version: str
    kind: str
    namespace: str | None


class Changes:
    """Watches several collections, each in a thread of its own, while the context lasts."""

    def __init__(self, kube: Kube, collections: Iterable[Collection], *, deadline: Deadline) -> None:
        """Prepare the watches.

        Args:
            kube: The API server.
            collections: What to watch; kinds that the server does not have are an error.
            deadline: When the watches end by themselves.
        """
        self._events: queue.SimpleQueue[tuple[Collection, Event | PytestIstioError]] = queue.SimpleQueue()
        self._watches = {
            item: kube.follow(item.api_version, item.kind, item.namespace, deadline=deadline)
            for item in collections
        }
        self._threads = [
            Thread(target=self._run, args=pair, name=f"watch {pair[0].kind}", daemon=True)
            for pair in self._watches.items()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for watch in self._watches.values():
            watch.close()
        for thread in self._threads:
            # One that is just asking a server that hangs ends by itself, later.
            thread.join(JOIN_SECONDS)

    def next(self, seconds: float) -> tuple[Collection, Event] | None:
        """Return the next event and where it happened, or None when there is none for so many seconds.

        Raises:
            KubeError: A watch cannot go on: the server is gone, or the user may not look.
        """
        try:
            collection, event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, PytestIstioError):
            raise event
        return collection, event

    def _run(self, collection: Collection, watch: Watch) -> None:
        try:
            for event in watch:
                self._events.put((collection, event))
        except PytestIstioError as error:
            self._events.put((collection, error))
