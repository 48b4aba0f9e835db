"""What happens to the checks when no Istio version was asked for: they are skipped, and one line says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.conformance.selection import concerns_istio

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = ["Unasked"]

REASON = "needs --istio-version"


class Unasked:
    """Hooks of a run without ``--istio-version``."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip what needs an Istio run."""
        for item in items:
            if concerns_istio(item):
                item.add_marker(pytest.mark.skip(reason=REASON))

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say how to run what was skipped."""
        skipped = sum(REASON in str(report.longrepr) for report in terminalreporter.getreports("skipped"))
        if skipped:
            terminalreporter.write_line(
                f"istio: {skipped} conformance tests skipped; run them with: pytest --istio-version=1.0.5"
            )
