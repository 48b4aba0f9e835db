"""Each fault makes its checks fail, those that build on them are blocked, and their neighbours pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.faults import NOTHING, all_faults
from tests.faults.proof import unseen
from tests.faults.runner import all_checks, run_all

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.faults.runner import Run

SHARING = [name for name, fault in all_faults().items() if fault.shares]
OWN = [name for name in all_faults() if name not in SHARING]
RAN: dict[str, frozenset[str]] = {}
"""The findings that each fault has brought about."""


class Runs:
    """The runs of the chosen faults, made as far as they are asked for."""

    def __init__(self, names: Collection[str]) -> None:
        faults = [fault for name, fault in all_faults().items() if name in names]
        self._coming = run_all((fault, fault.neighbours(all_checks())) for fault in faults)
        self._done: list[Run] = []

    def of(self, name: str) -> Run:
        while not any(run.fault.name == name for run in self._done):
            self._done.append(next(self._coming))
        return next(run for run in self._done if run.fault.name == name)

    def after_all_live_ones(self) -> Run:
        self._done += self._coming
        before_and_after = [run for run in self._done if run.fault == NOTHING]
        if not before_and_after:
            pytest.skip("no live fault was chosen")
        return before_and_after[-1]

    def close(self) -> None:
        """End what runs still, as after -x."""
        self._coming.close()


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, kube_binaries: object) -> Iterator[Runs]:
    chosen = [
        item.callspec.params["name"]
        for item in request.session.items
        if item.get_closest_marker("faults") and hasattr(item, "callspec")
    ]
    found = Runs(chosen)
    yield found
    found.close()


@pytest.mark.faults
@pytest.mark.parametrize("name", SHARING)
def test_live_fault(name: str, runs: Runs) -> None:
    _assert_as_declared(runs.of(name))


@pytest.mark.faults
@pytest.mark.parametrize("name", OWN)
def test_fault(name: str, runs: Runs) -> None:
    _assert_as_declared(runs.of(name))


@pytest.mark.faults
def test_live_faults_are_taken_back(runs: Runs) -> None:
    _assert_as_declared(runs.after_all_live_ones())


@pytest.mark.faults
def test_every_finding_was_seen() -> None:
    if missing := all_faults().keys() - RAN.keys():
        pytest.skip(f"{len(missing)} faults did not run")
    never = unseen(frozenset().union(*RAN.values()))
    assert not never, f"no fault has brought these about: {', '.join(map(str, never))}"


def _assert_as_declared(run: Run) -> None:
    RAN[run.fault.name] = run.sites
    surprises = run.surprises()
    assert not surprises, "\n".join([*surprises, run.text[-20_000:]])
