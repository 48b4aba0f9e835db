"""Ctrl-C and SIGTERM: the run ends as after its last test, so that what it started is taken away."""

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

__all__ = ["Interrupts"]

ENDING = b"\nistio: the run is ending already; one more interrupt leaves the rest to: pytest-istio cleanup\n"


class Interrupts:
    """Has the first signal interrupt the run, the second be noted, and one after that give up.

    People press Ctrl-C twice, and what ends a job sends SIGTERM after it; neither is to leave a cluster.
    """

    def __init__(self) -> None:
        self._ending = False
        self._noted = False
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

    # Around all others: the fixtures' and the cluster's end are not to be interrupted half-way.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Finish although a signal comes meanwhile, and say so by the exit code."""
        self._ending = True
        yield
        if self._noted:
            session.exitstatus = pytest.ExitCode.INTERRUPTED

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self._ending and not self._noted:
            self._noted = True
            # Not by way of Python's files, which may be in the middle of writing.
            with suppress(OSError, ValueError):
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, ENDING)
            return
        self._ending = True
        raise KeyboardInterrupt(*([] if number == signal.SIGINT else ["SIGTERM"]))
