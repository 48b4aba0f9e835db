"""The hooks of every process that collects tests."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters import resolve
from pytest_istio.conformance.check import check_of, name_of
from pytest_istio.conformance.declared import Declared
from pytest_istio.conformance.selection import concerns_istio, describe, fixtures_of, select, skip
from pytest_istio.errors import PytestIstioError
from pytest_istio.options import OPTIONS
from pytest_istio.reading import place
from pytest_istio.run.context import worker_name
from pytest_istio.run.states import SELECTION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.run.context import Run

__all__ = ["Collecting"]

GUARD = "_istio_prerequisites"


class Collecting:
    """Chooses the checks, and has each test's prerequisites looked at before its fixtures are made."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._declared = Declared()
        self._tests: dict[str, list[str]] = {}

    # Before -k and the profile have had their say.
    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note which checks there are."""
        if check := check_of(item):
            name = name_of(item, check)
            self._declared.add(check, name)
            if check.applies_to(self._run.settings.istio_version or ""):
                self._tests.setdefault(name, []).append(item.nodeid)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what is not about this version or not in the profile."""
        chosen = select(items, self._run.settings, self._run.selection)
        if len(chosen) < len(items):
            kept = set(chosen)
            config.hook.pytest_deselected(items=[item for item in items if item not in kept])
            items[:] = chosen
        skip(items, self._run.settings)

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
        # What could not be collected cannot be known either.
        if not session.testsfailed:
            self._run.selection.complaints += [
                *self._unknown_names(session.config),
                *self._names_of_two(),
                *self._clashes_with_pytest_kind(session),
            ]
        if worker := worker_name(session.config):
            self._run.folder.write(f"{SELECTION}{worker}", self._run.selection.to_state())

    def _unknown_names(self, config: pytest.Config) -> Iterator[str]:
        """Give what is wrong with the names of that which is to be left out."""
        settings = self._run.settings
        asked = {
            "skips": (self._declared.complaint_about_check, [name for name, _ in settings.skips]),
            "unsupported": (self._declared.complaint_about_feature, settings.unsupported),
        }
        for option in OPTIONS:
            if option.field in asked and not _collects_a_part(config, settings.sources[option.field]):
                complain, names = asked[option.field]
                shown = place(option, settings.sources[option.field], config)
                yield from (f"{shown}: {text}" for text in map(complain, names) if text)

    def _names_of_two(self) -> Iterator[str]:
        """Give which checks of this version are more than one test each."""
        for name, tests in self._tests.items():
            # A test may be collected twice, by two arguments.
            first, *others = dict.fromkeys(tests)
            if others:
                yield f"two tests are the check {name}: {first} and {others[0]}; give one another id"

    def _clashes_with_pytest_kind(self, session: pytest.Session) -> Iterator[str]:
        """Give what keeps pytest-kind's own fixture from working beside the run's cluster."""
        settings = self._run.settings
        theirs = session.config.getoption("cluster_name", default=None)
        if settings.kind_name is None or settings.kind_name != theirs or not self._run.selection.cluster:
            return
        if not any("kind_cluster" in fixtures_of(item) for item in session.items):
            return
        # What is wrong with the choice is told where the cluster is started.
        with suppress(PytestIstioError):
            if resolve(settings) == "kind":
                yield (
                    f"pytest-kind's --cluster-name: its fixture kind_cluster makes a cluster {theirs}, and "
                    "so would this run; give the run's another name with --istio-kind-name"
                )


def _collects_a_part(config: pytest.Config, source: str) -> bool:
    """Return whether the user's own checks may have been left uncollected, so that nobody can know them.

    What the ini file says holds for all runs; who runs a single file need not care.
    """
    named = [argument.partition("::") for argument in config.args]
    return (
        bool(config.getoption("lf", default=False))
        or any(separator for _, separator, _ in named)
        or (source == "ini" and any(Path(file).is_file() for file, _, _ in named))
    )
