"""Which failures of the checks have been seen: every finding that the code can put into words."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_istio.istio import explain, observations
from pytest_istio.paths import suites_folder

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["UNSEEN", "Site", "sites", "unseen"]

UNSEEN = {
    "application.py: _no_pod": "a moment between two pods of a Deployment, which nothing holds still",
    "test_prerequisites.py: test_api_is_reachable": "an API server that does not answer ends the run before",
}
"""Why no fault brings about a finding on `local`, by `Site.name`."""


class Site(NamedTuple):
    """A call of `finding`.

    Attributes:
        file: The source file.
        function: The function that it is in.
        first: Its first line.
        last: Its last line.
    """

    file: Path
    function: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """File and function, for people and for `UNSEEN`."""
        return f"{self.file.name}: {self.function}"

    def __str__(self) -> str:
        return f"{self.name}, line {self.first}"


def sites() -> list[Site]:
    """Return where the suites, and the observations that they assert on, put a failure into words."""
    files = [*suites_folder().glob("test_*.py"), Path(explain.__file__)]
    files += Path(observations.__file__).parent.glob("*.py")
    return [site for file in sorted(files) for site in _sites_in(file)]


def _sites_in(file: Path) -> list[Site]:
    return [
        Site(file, function.name, call.lineno, call.end_lineno or call.lineno)
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "finding"
    ]


def unseen(seen: Collection[str]) -> list[Site]:
    """Return the findings that are not among those seen (as ``file:line``), nor known to be out of reach."""
    lines = {(Path(file), int(line)) for file, _, line in (each.rpartition(":") for each in seen)}
    return [
        site
        for site in sites()
        if site.name not in UNSEEN
        and not any((site.file, line) in lines for line in range(site.first, site.last + 1))
    ]
