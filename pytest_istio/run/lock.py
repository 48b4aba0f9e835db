"""A lock between processes that many may share or one may hold alone.

Checks that only look at the mesh share it; one that changes routes or mesh-wide state takes it alone, so
that checks may run side by side and in any order.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SharedLock", "SharingError"]


class SharingError(Exception):
    """Who shares a lock cannot have it alone before letting go of it."""


class SharedLock:
    """A shared and exclusive lock over files in a folder; the kernel lets go of it when a process dies."""

    def __init__(self, folder: Path, name: str) -> None:
        self._lock = folder / f"{name}.lock"
        # Everybody passes through the gate, and who wants the lock alone waits in it: without that, a
        # stream of sharers that overlap would keep it waiting for ever.
        self._gate = folder / f"{name}.gate"
        self._sharing = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with others."""
        with self._hold(fcntl.LOCK_SH):
            self._sharing = True
            try:
                yield
            finally:
                self._sharing = False

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone.

        Raises:
            SharingError: This process itself shares it, and would wait for itself.
        """
        if self._sharing:
            raise SharingError
        with self._hold(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _hold(self, how: int) -> Iterator[None]:
        # Closing a file lets go of its lock.
        with self._lock.open("a") as lock:
            with self._gate.open("a") as gate:
                fcntl.flock(gate, fcntl.LOCK_EX)
                fcntl.flock(lock, how)
            yield
