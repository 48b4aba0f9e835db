"""The hooks of every process that collects tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.conformance.selection import concerns_istio, describe, fixtures_of, select, skip
from pytest_istio.run.context import worker_name
from pytest_istio.run.states import SELECTION

if TYPE_CHECKING:
    from pytest_istio.run.context import Run

__all__ = ["Collecting"]

GUARD = "_istio_prerequisites"


class Collecting:
    """Chooses the checks, and has each test's prerequisites looked at before its fixtures are made."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what is not about this version or not in the profile."""
        chosen = select(items, self._run.settings, self._run.selection)
        if len(chosen) < len(items):
            kept = set(chosen)
            config.hook.pytest_deselected(items=[item for item in items if item not in kept])
            items[:] = chosen
        self._run.selection.idle_skips += skip(items, self._run.settings)

    # First: pytest-xdist then tells the controller that the collection is finished.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what runs, in a worker for the controller too."""
        for item in session.items:
            names = fixtures_of(item)
            # In front, so that a check whose prerequisite is broken does not fail in a fixture before.
            if concerns_istio(item) and GUARD not in names:
                names.insert(0, GUARD)
        describe(session.items, self._run.selection)
        if worker := worker_name(session.config):
            self._run.folder.write(f"{SELECTION}{worker}", self._run.selection.to_state())
