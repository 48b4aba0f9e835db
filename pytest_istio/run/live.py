"""Showing what a long step is doing, and noting how long each phase took."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Protocol

from pytest_istio.run.states import PHASES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import pytest
    from _pytest.terminal import TerminalReporter

    from pytest_istio.run.folder import RunFolder

__all__ = ["Live", "Screen", "Terminal", "durations"]

TERMINAL_PERIOD = 0.25
FILE_PERIOD = 8.0


class Screen(Protocol):
    """Where progress is shown."""

    @property
    def period(self) -> float:
        """Seconds between two updates."""
        ...

    def line(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def update(self, text: str) -> None:
        """Show how things stand, in place of the previous update if possible."""
        ...


class Terminal:
    """Pytest's terminal, past its capturing; nothing is shown under ``-q``."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._updated = False

    @property
    def period(self) -> float:
        """Seconds between two updates: a line that is overwritten may move, lines that stay are few."""
        reporter = self._reporter
        return TERMINAL_PERIOD if reporter and reporter.isatty else FILE_PERIOD

    def line(self, text: str) -> None:
        """Show a line that stays."""
        if reporter := self._reporter:
            with self._uncaptured():
                self._begin_line(reporter)
                reporter.write_line(text)
                # A pipe's reader, such as a CI's log, is to see it when it happens, too.
                reporter.flush()

    def update(self, text: str) -> None:
        """Show how things stand: over the previous update on a terminal, else a line of its own."""
        reporter = self._reporter
        if reporter and reporter.isatty:
            with self._uncaptured():
                if not self._updated:
                    self._begin_line(reporter)
                reporter.rewrite(text[: self._config.get_terminal_writer().fullwidth - 1], erase=True)
                self._updated = True
        else:
            self.line(text)

    def _begin_line(self, reporter: TerminalReporter) -> None:
        """Leave what others have written, such as the dots of tests, and go over one's own update."""
        if self._updated:
            reporter.rewrite("", erase=True)
            reporter.rewrite("")
            self._updated = False
            return
        reporter.ensure_newline()
        if self._config.get_terminal_writer().width_of_current_line:
            reporter.write("\n")

    @property
    def _reporter(self) -> TerminalReporter | None:
        # Asked for anew each time: pytest makes it after plugins are configured.
        if self._config.get_verbosity() < 0:
            return None
        reporter: TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter

    def _uncaptured(self) -> AbstractContextManager[None]:
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else nullcontext()


class Live:
    """Progress that is shown while it happens, and whose phases' durations go to the run's folder.

    Phases may lie within one another or overlap in threads; the one that began last is shown.
    """

    def __init__(self, screen: Screen, folder: RunFolder, process: str) -> None:
        self._screen = screen
        self._folder = folder
        self._state = f"{PHASES}{process}"
        self._lock = threading.Lock()
        self._open: list[tuple[str, float]] = []
        self._done: list[tuple[str, float]] = []
        self._waiting = ""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show the phase while it lasts, then how long it took."""
        mine = (name, time.monotonic())
        with self._lock:
            outermost = not self._open
            self._open.append(mine)
            self._waiting = ""
        verdict = "failed after"
        try:
            with self._ticking() if outermost else nullcontext():
                yield
            verdict = "took"
        finally:
            seconds = time.monotonic() - mine[1]
            with self._lock:
                self._open.remove(mine)
                self._waiting = ""
                self._done.append((name, seconds))
                # A disk that is full is no reason to leave the phase's work undone.
                with suppress(OSError):
                    self._folder.write(self._state, self._done)
            self._screen.line(f"istio: {name} {verdict} {seconds:.1f} s")

    def waiting(self, what: str) -> None:
        """Note what is awaited; shown with the next tick."""
        self._waiting = what

    def note(self, what: str) -> None:
        """Show a line that stays."""
        self._screen.line(f"istio: {what}")

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        over = threading.Event()

        def tick() -> None:
            while not over.wait(self._screen.period):
                self._screen.update(self._text())

        thread = threading.Thread(target=tick, name="istio-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _text(self) -> str:
        with self._lock:
            name, began = self._open[-1]
            waiting = f": {self._waiting}" if self._waiting else ""
            return f"istio: {name}, {time.monotonic() - began:.0f} s{waiting}"


def durations(folder: RunFolder) -> list[tuple[str, float]]:
    """Return the phases that the run's processes have been through, with their seconds."""
    return [(name, seconds) for phases in folder.read_all(PHASES) for name, seconds in phases]
