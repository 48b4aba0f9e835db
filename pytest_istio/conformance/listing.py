"""Listing the checks, as pytest collects them."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from pytest_istio.conformance.check import Check, check_of
from pytest_istio.conformance.profiles import PROFILES
from pytest_istio.conformance.selection import title_of
from pytest_istio.errors import PytestIstioError
from pytest_istio.paths import suites_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["listing"]


class _Collector:
    def __init__(self) -> None:
        self.found: dict[str, tuple[Check, str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the checks."""
        for item in session.items:
            if check := check_of(item):
                self.found[check.id] = (check, title_of(item))


def listing() -> Iterable[str]:
    """Return a line for each check: id, level, profiles, versions, what is required, and its features.

    Raises:
        PytestIstioError: The checks cannot be collected.
    """
    collector = _Collector()
    folder = str(suites_folder())
    # Nothing of the folder that the command is called in may have a say.
    quiet = [
        "--collect-only",
        "-qqq",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        folder,
        folder,
    ]
    with redirect_stdout(StringIO()):
        status = pytest.main(quiet, plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise PytestIstioError(
            f"the checks in {folder} cannot be collected; see: pytest --collect-only {folder}"
        )
    for identity, (check, title) in sorted(collector.found.items()):
        profiles = ",".join(name for name, profile in PROFILES.items() if profile.holds(check))
        versions = f"{check.since or ''}-{check.until or ''}" if check.since or check.until else "all"
        features = f" [{', '.join(check.features)}]" if check.features else ""
        yield f"{identity:<7}  {check.level:<8}  {profiles:<28}  {versions:<8}  {title}{features}"
