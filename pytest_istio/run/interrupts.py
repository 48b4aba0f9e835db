"""Ctrl-C, SIGTERM, a lost cluster: the run ends as after its last test, so that all is taken away."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from _pytest._code.code import TracebackEntry

__all__ = ["LOST", "Interrupts"]

ENDING = b"\nistio: the run is ending already; one more interrupt leaves the rest to: pytest-istio cleanup\n"
LOST = "the cluster is lost"
INTERRUPTED = "a signal"


class Interrupts:
    """Has the first signal interrupt the run, the second be noted, and one after that give up.

    People press Ctrl-C twice, and what ends a job sends SIGTERM after it; neither is to leave a cluster.

    Attributes:
        heard: Whether there has been a signal.
    """

    def __init__(self) -> None:
        self._session: pytest.Session | None = None
        self._ending = False
        self.heard = False
        self._noted = False
        self._lost = False
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def install(self) -> None:
        """Hear the signals, where that is possible and nobody has them ignored."""
        if threading.current_thread() is threading.main_thread():
            for number, before in self._before.items():
                if before in (signal.default_int_handler, signal.SIG_DFL):
                    signal.signal(number, self._hear)

    def restore(self) -> None:
        """Leave the signals to who had them before."""
        for number, before in self._before.items():
            if signal.getsignal(number) == self._hear:
                signal.signal(number, before)
        # Python ends itself by SIGINT if an interrupt ever left a text that was executed, as dataclasses
        # are made, even when it was caught above; executing another one has it forget that.
        exec("")  # noqa: S102

    def end(self) -> None:
        """End the run for want of a cluster, from another thread; not where signals are somebody else's."""
        if signal.getsignal(signal.SIGTERM) == self._hear and not self._ending:
            self._lost = True
            # To this thread, as that also ends what it sleeps in.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Learn whom to tell that no further test is to run."""
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Have pytest show where the run was broken off, though Python cannot always tell the line.

        Python 3.11 notes none for the way back of some loops; pytest fails of that, and so would the run.
        """
        excinfo.traceback = type(excinfo.traceback)(filter(_has_line, excinfo.traceback))

    # Around all others: the fixtures' and the cluster's end are not to be interrupted half-way.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Finish although a signal comes meanwhile, and say so by the exit code."""
        self._ending = True
        yield
        if self.heard:
            session.exitstatus = pytest.ExitCode.INTERRUPTED

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        lost, self._lost = self._lost, False
        if lost and not self._ending:
            self._ending = True
            raise pytest.exit.Exception(LOST, pytest.ExitCode.TESTS_FAILED)
        if lost:
            return
        self.heard = True
        if self._ending and not self._noted:
            self._noted = True
            # Not by way of Python's files, which may be in the middle of writing.
            with suppress(OSError, ValueError):
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, ENDING)
            return
        self._ending = True
        if self._session:
            # The exception alone may come to nothing: code that it breaks off may drop it or raise another.
            self._session.shouldstop = INTERRUPTED
        raise KeyboardInterrupt(*([] if number == signal.SIGINT else ["SIGTERM"]))


def _has_line(entry: TracebackEntry) -> bool:
    try:
        return entry.lineno >= 0
    except TypeError:
        return False
