"""The workers of pytest-xdist: what they would show is shown by the controller, whose end is theirs.

They note it in the run's folder, and the controller looks there.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.run.states import SHOWN

if TYPE_CHECKING:
    from pytest_istio.run.folder import RunFolder
    from pytest_istio.run.live import Screen

__all__ = ["Relay", "Workers", "end_with_controller"]

PERIOD = 0.25


def end_with_controller(controller: int) -> None:
    """End this worker soon after its controller was killed, which pytest-xdist leaves to a test's end.

    There is nothing to take away: what a run makes is the controller's, or ends with the cluster.

    Args:
        controller: The id of the controller's process, which is this one's parent.
    """

    def look() -> None:
        while os.getppid() == controller:
            threading.Event().wait(PERIOD)
        os._exit(1)

    threading.Thread(target=look, name="istio-controller", daemon=True).start()


class Relay:
    """The screen of a worker."""

    period = PERIOD

    def __init__(self, folder: RunFolder, worker: str) -> None:
        self._folder = folder
        self._worker = worker
        self._lock = threading.Lock()
        self._lines: list[str] = []

    def line(self, text: str) -> None:
        """Have a line shown that stays."""
        with self._lock:
            self._lines.append(text)
            self._note("")

    def update(self, text: str) -> None:
        """Have shown how things stand."""
        with self._lock:
            self._note(text)

    def _note(self, now: str) -> None:
        state = {"worker": self._worker, "lines": self._lines, "now": now}
        self._folder.write(f"{SHOWN}{self._worker}", state)


class Workers:
    """Shows in the controller what the workers do, while they do it."""

    def __init__(self, folder: RunFolder, screen: Screen) -> None:
        self._folder = folder
        self._screen = screen
        self._shown: dict[str, int] = {}
        self._crashed: set[str] = set()
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="istio-workers", daemon=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Start to show."""
        self._thread.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 (pytest-xdist may not be there)
        """Show no longer what a worker was at that is not there any more."""
        self._crashed.add(node.gateway.id)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Show the rest, before the summary."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._show()

    def _follow(self) -> None:
        while not self._over.wait(PERIOD):
            self._show()

    def _show(self) -> None:
        states = list(self._folder.read_all(SHOWN))
        for state in states:
            for line in state["lines"][self._shown.get(state["worker"], 0) :]:
                self._screen.line(line)
                self._last = time.monotonic()
            self._shown[state["worker"]] = len(state["lines"])
        now = [state["now"] for state in states if state["now"] and state["worker"] not in self._crashed]
        if now and not self._over.is_set() and time.monotonic() - self._last >= self._screen.period:
            self._screen.update(now[0])
            self._last = time.monotonic()
