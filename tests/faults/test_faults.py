"""Each fault makes its checks fail, those that build on them are blocked, and their neighbours pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.faults import NOTHING, all_faults
from tests.faults.proof import unseen
from tests.faults.runner import all_checks, run, run_series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.runner import Run

SHARING = [name for name, fault in all_faults().items() if fault.shares]
OWN = [name for name in all_faults() if name not in SHARING]
RAN: dict[str, frozenset[str]] = {}
"""The findings that each fault has brought about."""


class Series:
    """The runs of the chosen live faults, on one cluster, in the order of their declaration."""

    def __init__(self, names: list[str]) -> None:
        faults = [all_faults()[name] for name in all_faults() if name in names]
        self._coming = run_series((fault, fault.neighbours(all_checks())) for fault in faults)
        self._done: list[Run] = []

    def of(self, name: str) -> Run:
        while not any(run.fault.name == name for run in self._done):
            self._done.append(next(self._coming))
        return next(run for run in self._done if run.fault.name == name)

    def last(self) -> Run:
        self._done += self._coming
        return self._done[-1]

    def close(self) -> None:
        """End what runs still, as after -x."""
        self._coming.close()


@pytest.fixture(scope="module")
def series(request: pytest.FixtureRequest, kube_binaries: object) -> Iterator[Series]:
    chosen = [
        item.callspec.params.get("shared") for item in request.session.items if hasattr(item, "callspec")
    ]
    found = Series([name for name in chosen if name])
    yield found
    found.close()


@pytest.mark.faults
@pytest.mark.parametrize("shared", SHARING)
def test_live_fault(shared: str, series: Series) -> None:
    _assert_as_declared(series.of(shared))


@pytest.mark.faults
def test_live_faults_are_taken_back(series: Series) -> None:
    assert series.last().fault == NOTHING
    _assert_as_declared(series.last())


@pytest.mark.faults
@pytest.mark.usefixtures("kube_binaries")
@pytest.mark.parametrize("name", OWN)
def test_fault(name: str) -> None:
    fault = all_faults()[name]
    _assert_as_declared(run(fault, fault.neighbours(all_checks())))


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
