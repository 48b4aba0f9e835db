"""Gathering what the checks came to while they run, here or in workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_istio.conformance.outcomes import outcome_in
from pytest_istio.report.model import CheckResult

if TYPE_CHECKING:
    import pytest

    from pytest_istio.conformance.selection import Selection

__all__ = ["Results"]


class Results:
    """The reports of all tests, by node id."""

    def __init__(self) -> None:
        self._reports: dict[str, list[pytest.TestReport]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report."""
        self._reports.setdefault(report.nodeid, []).append(report)

    def checks(self, selection: Selection) -> tuple[CheckResult, ...]:
        """Return what each check came to, those that do not apply at the end.

        A check that was broken off has come to nothing, and is not among them.
        """
        ran = [
            CheckResult(
                chosen.name,
                chosen.level,
                chosen.title,
                outcome,
                sum(report.duration for report in reports if report.when == "call"),
                _message(reports),
            )
            for node, reports in self._reports.items()
            if (chosen := selection.checks.get(node)) and (outcome := _outcome(reports))
        ]
        return (
            *ran,
            *(CheckResult(c.name, c.level, c.title, "not applicable") for c in selection.not_applicable),
        )


def _outcome(reports: list[pytest.TestReport]) -> str | None:
    """Return the worst that the reports tell, as several processes may have run the check."""
    # The crash of a worker leaves a report without marks, but that one is a failure.
    told = {"failed" if report.failed else outcome_in(report) for report in reports}
    return next((outcome for outcome in ("failed", "blocked", "skipped", "passed") if outcome in told), None)


def _message(reports: list[pytest.TestReport]) -> str:
    for report in reports:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            if crash:
                return str(crash.message)
            # As text it would name the worker, where there are some.
            return report.longrepr if isinstance(report.longrepr, str) else report.longreprtext
        if report.skipped and (reason := getattr(report, "wasxfail", None)) is not None:
            return f"expected to fail: {reason or 'no reason is given'}"
        if report.skipped and isinstance(report.longrepr, tuple):
            return report.longrepr[2].removeprefix("Skipped: ")
    return ""
