"""Which checks a profile holds, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_istio.conformance.check import Check

__all__ = ["PROFILES", "Profile"]


@dataclass(frozen=True)
class Profile:
    """A named choice of checks: by level, and by id."""

    levels: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    def holds(self, check: Check) -> bool:
        """Return whether the check belongs to the profile."""
        return check.level in self.levels or check.id in self.ids


SMOKE = """
    PRE-001 PRE-002 PRE-003 PRE-004 PRE-006 PRE-007 PRE-014
    INV-001 INV-002 INV-004
    CP-001 CP-004 CP-006
    INJ-008
    BKI-001 BKI-002 BKI-005
    ING-002
"""

# What can be seen without making or changing anything in the mesh.
READONLY = """
    PRE-001 PRE-002 PRE-003 PRE-004 PRE-006 PRE-007 PRE-014
    INV-001 INV-002 INV-003 INV-004 INV-006 INV-008 INV-010
    CP-001 CP-002 CP-003 CP-004 CP-005
    INJ-008
    BKI-001 BKI-002 BKI-003 BKI-004
"""

PROFILES = {
    "smoke": Profile(ids=frozenset(SMOKE.split())),
    "readonly": Profile(ids=frozenset(READONLY.split())),
    "core": Profile(levels=frozenset({"core"})),
    "extended": Profile(levels=frozenset({"core", "extended"})),
}
