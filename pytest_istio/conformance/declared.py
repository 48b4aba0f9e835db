"""Which checks and features there are, so that nobody leaves out one by a name that none has."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pytest_istio.paths import suites_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_istio.conformance.check import Check

__all__ = ["Declared", "bundled"]

# Lower than difflib's own, so that PRE-999 has PRE-001 for a neighbour.
SIMILARITY = 0.5


@dataclass
class Declared:
    """Names of checks, ``CP-001`` and ``CP-001[istio-pilot]``, and the features that they are about."""

    names: set[str] = field(default_factory=set)
    features: set[str] = field(default_factory=set)

    def add(self, check: Check, name: str) -> None:
        """Note a check and its name with the test's parameters."""
        self.names |= {check.id, name}
        self.features |= set(check.features)

    def complaint_about_check(self, name: str) -> str | None:
        """Return what is wrong with the name of a check; None if there is such a check.

        The parameters of a bundled check are known only where it is among those noted.
        """
        if name in self.names:
            return None
        others = bundled().names
        identity = name.partition("[")[0]
        if identity in others - self.names:
            return None
        return f"no check is called {name!r}{_near(name, self.names | others)}"

    def complaint_about_feature(self, name: str) -> str | None:
        """Return what is wrong with the name of a feature; None if a check is about it."""
        known = self.features | bundled().features
        return None if name in known else f"no check is about the feature {name!r}{_near(name, known)}"


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), cutoff=SIMILARITY)
    return f", near are {', '.join(near)}; see `pytest-istio list`" if near else "; see `pytest-istio list`"


def bundled() -> Declared:
    """Return what the checks that ship with the program declare; read off their files, since nothing runs."""
    declared = Declared()
    for file in suites_folder().glob("test_*.py"):
        module = ast.parse(file.read_text(encoding="utf-8"))
        constants = dict(_constants(module))
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.istio":
                declared.names.add(ast.literal_eval(node.args[0]))
                declared.features.update(_features(node, constants))
    return declared


def _constants(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            yield statement.targets[0].id, statement.value


def _features(marker: ast.Call, constants: Mapping[str, ast.expr]) -> Any:  # noqa: ANN401 (a literal)
    for keyword in marker.keywords:
        if keyword.arg == "features":
            name = keyword.value.id if isinstance(keyword.value, ast.Name) else ""
            return ast.literal_eval(constants.get(name, keyword.value))
    return ()
