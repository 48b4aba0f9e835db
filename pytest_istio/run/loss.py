"""Ending a run whose cluster is lost: each of its tests would wait for the cluster until its bound."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Loss"]

PERIOD = 0.5


class Loss:
    """Has the run ended, in whatever test it is, once its cluster has a trouble."""

    def __init__(self, trouble: Callable[[], str | None], end: Callable[[], None]) -> None:
        """Prepare to look.

        Args:
            trouble: Returns why the cluster is lost, None while it is not.
            end: Ends the run; called once, by a thread.
        """
        self._trouble = trouble
        self._end = end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="istio-loss", daemon=True)

    def watch(self) -> None:
        """Look from now on; asked again, do nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Look no longer."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(PERIOD):
            if self._trouble():
                self._end()
                return
