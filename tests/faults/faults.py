"""The faults as data: what is changed, and which checks must then fail or be blocked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["NOTHING", "Fault", "all_faults", "matches"]

FILES = sorted(Path(__file__).parent.glob("*.yaml"))


@dataclass(frozen=True)
class Fault:
    """A fault, as in the YAML files beside this one.

    Attributes:
        name: Says what is broken.
        why: What the fault stands for, where the name does not say it.
        manifests: Changes to Istio's manifests before they are installed.
        before: Changes to the cluster before anything is installed.
        live: Changes to the mesh once it and bookinfo are up.
        fails: Checks that must fail: an area, an id, or an id with its parameters.
        blocks: Checks that must be blocked; what fails is no part of it.
        alone: Whether a live fault wants a cluster of its own, since it cannot be taken back.
    """

    name: str
    why: str = ""
    manifests: list[dict[str, Any]] = field(default_factory=list)
    before: list[dict[str, Any]] = field(default_factory=list)
    live: list[dict[str, Any]] = field(default_factory=list)
    fails: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    alone: bool = False

    @property
    def shares(self) -> bool:
        """Whether it can be brought about on a mesh that others have used, and be taken back."""
        return bool(self.live) and not (self.manifests or self.before or self.alone)

    def expected(self, check: str) -> str:
        """Return the outcome that a check must come to under this fault."""
        if any(matches(check, each) for each in self.fails):
            return "failed"
        return "blocked" if any(matches(check, each) for each in self.blocks) else "passed"

    def neighbours(self, checks: Collection[str]) -> list[str]:
        """Return the checks that the fault is about, and all others of their areas."""
        areas = {each.partition("-")[0] for each in self.fails}
        return [
            check for check in checks if check.partition("-")[0] in areas or self.expected(check) == "blocked"
        ]


NOTHING = Fault("nothing")
"""No fault at all: every check passes."""


def matches(check: str, pattern: str) -> bool:
    """Return whether ``ING``, ``ING-002`` or ``TRF-003[50-50]`` means a check."""
    return pattern in (check, check.partition("[")[0], check.partition("-")[0])


@cache
def all_faults() -> dict[str, Fault]:
    """Return the faults by name."""
    found = [
        Fault(**entry)
        for path in FILES
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["faults"]
    ]
    named = {fault.name: fault for fault in found}
    assert len(named) == len(found), "two faults of the same name"
    return named
