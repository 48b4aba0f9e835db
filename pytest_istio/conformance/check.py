"""What makes a test a conformance check: the marker, read into a value."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

__all__ = ["Check", "check_of", "name_of"]

LEVELS = ("core", "extended")
IDENTITY = re.compile(r"[A-Z]{2,4}-\d{3}")
VERSION = re.compile(r"\d+(\.\d+)*")


@dataclass(frozen=True)
class Check:
    """A conformance check's identity and conditions.

    Attributes:
        id: Its stable name, such as ``ING-002``.
        level: ``core`` or ``extended``.
        since: First version of Istio it applies to, such as ``1.1``; None for all.
        until: Last version it applies to: ``1.4`` includes every 1.4.x; None for no end.
        requires: Checks whose prerequisites must be met, such as ``CP-001`` or ``CP-001[istio-pilot]``.
        capabilities: What the cluster must be capable of (see `pytest_istio.clusters.base.Cluster`).
        features: Optional features that it is about, such as ``automatic-injection``.
        disruptive: Whether it takes something away that others on the cluster may rely on.
    """

    id: str
    level: str = "core"
    since: str | None = None
    until: str | None = None
    requires: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    disruptive: bool = False

    @classmethod
    def from_mark(cls, mark: pytest.Mark) -> Check:
        """Read an ``istio`` marker.

        Raises:
            ValueError: The marker does not describe a check.
        """
        if len(mark.args) != 1 or not IDENTITY.fullmatch(str(mark.args[0])):
            raise ValueError(f"istio marker: expected one argument, an id like ING-002, got {mark.args!r}")
        if unknown := set(mark.kwargs) - {field.name for field in fields(cls)[1:]}:
            raise ValueError(f"istio marker of {mark.args[0]}: unknown {', '.join(sorted(unknown))}")
        check = cls(mark.args[0], **{name: _frozen(value) for name, value in mark.kwargs.items()})
        if check.level not in LEVELS:
            raise ValueError(
                f"istio marker of {check.id}: level {check.level!r} is none of {', '.join(LEVELS)}"
            )
        for bound in (check.since, check.until):
            if bound is not None and not VERSION.fullmatch(bound):
                raise ValueError(f"istio marker of {check.id}: {bound!r} is not a version such as 1.1")
        return check

    def applies_to(self, version: str) -> bool:
        """Return whether the check is about this version of Istio."""
        numbers = _numbers(version)
        since, until = _numbers(self.since or "0"), _numbers(self.until or "")
        return numbers >= since and numbers[: len(until)] <= until


def check_of(item: pytest.Item) -> Check | None:
    """Return the check that a test is, or None; the closest marker wins, a parameter's above all."""
    # pytest itself puts a function's own marker before those of its parameters.
    own = [mark for mark in item.own_markers if mark.name == "istio"]
    mark = own[-1] if own else item.get_closest_marker("istio")
    return Check.from_mark(mark) if mark else None


def name_of(item: pytest.Item, check: Check) -> str:
    """Return the check's name with the test's parameters: ``CP-001[istio-pilot]``."""
    callspec = getattr(item, "callspec", None)
    return f"{check.id}[{callspec.id}]" if callspec else check.id


def _frozen(value: Any) -> Any:  # noqa: ANN401 (whatever the marker holds)
    return tuple(value) if isinstance(value, list | set) else value


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".") if number)
