"""Points in time by which something must have happened."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deadline", "OverdueError", "within"]

T = TypeVar("T")


class Deadline:
    """Counts down from a number of seconds, on a clock that nobody can set."""

    def __init__(self, seconds: float) -> None:
        self._started = time.monotonic()
        self._end = self._started + seconds

    def remaining(self) -> float:
        """Return the seconds that are left; 0 when there are none."""
        return max(0.0, self._end - time.monotonic())

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0.0

    def bound(self, seconds: float) -> float:
        """Return `seconds`, or what is left if that is less."""
        return min(seconds, self.remaining())

    def shorten(self, seconds: float) -> None:
        """End no later than `seconds` from now."""
        self._end = min(self._end, time.monotonic() + seconds)


class OverdueError(TimeoutError):
    """Something was not done in time; not raised by what was done itself."""


def within(seconds: float, attempt: Callable[[], T], name: str) -> T:
    """Return what `attempt` returns, or raise what it raises; for what knows no bound itself.

    It goes on in a thread of that name, which nobody waits for any longer.

    Raises:
        OverdueError: It takes longer.
    """
    came: SimpleQueue[tuple[T] | Exception] = SimpleQueue()

    def run() -> None:
        try:
            came.put((attempt(),))
        except Exception as error:  # noqa: BLE001  # raised again by whoever waits
            came.put(error)

    Thread(target=run, name=name, daemon=True).start()
    try:
        answer = came.get(timeout=seconds)
    except Empty:
        raise OverdueError(f"not done within {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer[0]
