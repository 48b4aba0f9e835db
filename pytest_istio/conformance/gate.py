"""What keeps a run from being taken as a proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["shortcoming"]


def shortcoming(outcomes: Iterable[str], *, rehearsal: bool) -> str | None:
    """Return why a run without failures proves nothing of a cluster; None when it does.

    Args:
        outcomes: What each check came to.
        rehearsal: Whether stand-ins did Istio's work.
    """
    counted = list(outcomes)
    if "passed" not in counted:
        return "no check passed, so nothing is proven; see what -k, --istio-profile and --istio-skip leave"
    if blocked := counted.count("blocked"):
        return f"{blocked} of {len(counted)} checks blocked; mend what blocked them and run again"
    if rehearsal:
        return "a rehearsal proves nothing of a cluster; take --istio-cluster=kind or existing"
    return None
