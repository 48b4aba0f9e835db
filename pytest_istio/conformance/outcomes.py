"""What a check came to: pytest's outcomes, and blocked, which pytest knows as a kind of skip."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_istio.conformance.check import check_of, name_of
from pytest_istio.errors import PytestIstioError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Outcomes", "block", "outcome_in"]

NAME = "istio_check"
OUTCOME = "istio_outcome"
BLOCKED = pytest.StashKey[bool]()


def block(item: pytest.Item, by: str) -> NoReturn:
    """End a check because something that it builds on is broken, which `by` names."""
    item.stash[BLOCKED] = True
    pytest.skip(f"blocked by {by}")


def outcome_in(report: pytest.TestReport) -> str | None:
    """Return the outcome of the check that a report is about so far, None when it is about no check."""
    found = dict(report.user_properties).get(OUTCOME)
    return str(found) if found else None


class Outcomes:
    """Hooks that mark each report of a check with name and outcome; JUnit and pytest-xdist carry them on."""

    def __init__(self) -> None:
        self._so_far: dict[str, str] = {}

    # First: prerequisites block a check while it is set up.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Forget what a check came to before, where something has it run again."""
        self._so_far.pop(item.nodeid, None)
        item.stash[BLOCKED] = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to a report the check's name and what it has come to so far; tell our own errors plainly."""
        report = yield
        if report.failed and call.excinfo is not None and isinstance(call.excinfo.value, PytestIstioError):
            # The way through this program tells a user nothing, and the message all.
            report.longrepr = str(call.excinfo.value)
        check = check_of(item)
        if check is None:
            return report
        if report.failed:
            self._so_far[item.nodeid] = "failed"
        elif report.skipped:
            self._so_far[item.nodeid] = "blocked" if item.stash.get(BLOCKED, False) else "skipped"
        elif report.when == "call":
            self._so_far.setdefault(item.nodeid, "passed")
        report.user_properties.append((NAME, name_of(item, check)))
        # One that was broken off has come to nothing.
        if outcome := self._so_far.get(item.nodeid):
            report.user_properties.append((OUTCOME, outcome))
        return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show a blocked check as such, not among the skipped."""
    if report.when == "setup" and report.skipped and outcome_in(report) == "blocked":
        return "blocked", "B", "BLOCKED"
    return None
