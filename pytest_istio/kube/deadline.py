"""A point in time by which something must have happened."""

from __future__ import annotations

import time

__all__ = ["Deadline"]


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
