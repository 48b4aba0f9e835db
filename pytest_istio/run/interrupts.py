"""A signal, a lost cluster: the run ends as after its last test, so that all is taken away."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial, wraps
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

    from _pytest._code.code import TracebackEntry

__all__ = ["LOST", "Interrupts"]

ENDING = b"\nistio: the run is ending already; one more interrupt leaves the rest to: pytest-istio cleanup\n"
LOST = "the cluster is lost"
INTERRUPTED = "a signal"
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WRITES = ("write", "write_raw", "flush")
"""The methods by which everything goes to pytest's terminal; older releases have fewer."""


class Interrupts:
    """Has the first signal interrupt the run, the second be noted, and one after that give up.

    People press Ctrl-C twice, and what ends a job sends SIGTERM after it; neither is to leave a cluster.
    A terminal that is closed, or a connection to it that breaks, sends SIGHUP, and takes no words any more.

    Attributes:
        heard: Whether there has been a signal.
    """

    def __init__(self) -> None:
        self._session: pytest.Session | None = None
        self._ending = False
        self.heard = False
        self._noted = False
        self._lost = False
        self._unheard = False
        self._before = {number: signal.getsignal(number) for number in HEARD}

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
        if self._unheard:
            _drop_unheard()
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
        """Learn whom to tell that no further test is to run, and have the end survive a dead terminal."""
        self._session = session
        if session.config.pluginmanager.has_plugin("terminalreporter"):
            writer = session.config.get_terminal_writer()
            for name in filter(partial(hasattr, writer), WRITES):
                setattr(writer, name, self._surviving(getattr(writer, name)))

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
        if self._ending and number == signal.SIGHUP:
            # The shell and the kernel each send one for the same terminal; nobody at it is impatient.
            return
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
        raise KeyboardInterrupt(*([] if number == signal.SIGINT else [signal.Signals(number).name]))

    def _surviving(self, write: Callable[..., None]) -> Callable[..., None]:
        """Return a way of writing whose failure does not keep the rest from being taken away.

        A closed terminal fails whatever is written, and so does a pipe to a program that ended with it.
        """

        @wraps(write)
        def attempt(*args: object, **options: object) -> None:
            try:
                write(*args, **options)
            except OSError:
                if not self._ending:
                    raise
                self._unheard = True

        return attempt


def _drop_unheard() -> None:
    """Lose what could not be written, which Python would try again at its very end, and fail."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        sys.stdout.flush()


def _has_line(entry: TracebackEntry) -> bool:
    try:
        return entry.lineno >= 0
    except TypeError:
        return False
