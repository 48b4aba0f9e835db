"""The conformance report as values, in the shape in which it is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["COUNTED", "CheckResult", "Report"]

FORMAT = 1
COUNTED = ("passed", "failed", "blocked", "skipped", "not applicable")


@dataclass(frozen=True)
class CheckResult:
    """What one check came to.

    Attributes:
        id: The check's name with its parameters, such as ``CP-001[istio-pilot]``.
        level: ``core`` or ``extended``.
        title: The first line of its specification.
        outcome: One of `COUNTED`.
        duration: Seconds of the check itself, without set-up.
        message: Why it failed, was blocked or skipped.
    """

    id: str
    level: str
    title: str
    outcome: str
    duration: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Report:
    """A whole run.

    Attributes:
        istio: The version; once it was installed, also the manifests' source and SHA-256, the rewrites and
            the adaptations.
        cluster: Name, provider and description of the cluster; None when there was none.
        profile: The profile that was run.
        rehearsal: Whether the cluster was one without containers, so that nothing is claimed for a vendor.
        exit_status: pytest's; 2 when the run was interrupted and checks are missing.
        phases: Name and seconds of each phase of set-up and teardown.
        checks: In the order in which they ended.
        gateway: Where the ingress gateway was asked: ``url``, and the ``way`` by which that was found
            (``load-balancer``, ``node-port`` or ``port-forward``), with the ``host`` that was asked for where
            the gateway is somebody else's; None when nobody looked for it.
    """

    istio: dict[str, Any]
    cluster: dict[str, Any] | None
    profile: str
    rehearsal: bool
    exit_status: int
    phases: tuple[tuple[str, float], ...]
    checks: tuple[CheckResult, ...]
    gateway: dict[str, str] | None = None

    def counts(self) -> dict[str, int]:
        """Return how many checks came to each outcome."""
        return {outcome: sum(check.outcome == outcome for check in self.checks) for outcome in COUNTED}

    def to_data(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        data = asdict(self)
        return {
            "format": FORMAT,
            **data,
            "phases": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in self.phases],
            "summary": self.counts(),
            "checks": [{**check, "duration": round(check["duration"], 3)} for check in data["checks"]],
        }
