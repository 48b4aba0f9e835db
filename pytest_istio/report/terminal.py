"""The report for a person at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.paths import PACKAGE, suites_folder
from pytest_istio.report.model import COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from _pytest.terminal import TerminalReporter

    from pytest_istio.clusters.base import Cluster
    from pytest_istio.conformance.selection import Selection
    from pytest_istio.report.model import CheckResult, Report

__all__ = ["explain_kept", "facts", "point_to_suites", "summarise", "verdict", "way_in"]

SLOW = 1.0
SLOWEST = 5


def facts(cluster: Mapping[str, Any], istio: Mapping[str, Any]) -> list[str]:
    """Return what is known of a run once Istio is installed, a line each."""
    rewrites, adaptations = istio["rewrites"], istio["adaptations"]
    changes = f"{len(rewrites)} objects rewritten to API versions that the server has"
    again = ", reused" if cluster.get("reused") else ""
    return [
        f"istio: Kubernetes {istio['kubernetes']} by {cluster['provider']} ({cluster['description']}{again})",
        f"istio: manifests {istio['source']}, SHA-256 {istio['sha256']}",
        f"istio: {changes}, {len(adaptations)} adapted to the cluster",
        *(f"istio: adapted: {each['ref']}: {each['change']}" for each in adaptations),
        *(f"istio: note: {warning}" for warning in istio["warnings"]),
    ]


def way_in(gateway: Mapping[str, str]) -> str:
    """Return where the ingress gateway is asked, in one line."""
    asked = f", asked for host {gateway['host']}" if "host" in gateway else ""
    return f"istio: gateway at {gateway['url']}, found by {gateway['way']}{asked}"


def summarise(reporter: TerminalReporter, report: Report, selection: Selection) -> None:
    """Write counts by area, what was blocked and by what, and where the time went."""
    if not any(report.counts()[outcome] for outcome in COUNTED[:-1]):
        return
    reporter.section("Istio conformance")
    for line in _table(report.checks):
        reporter.write_line(line)
    for cause, names in _by_message(report.checks, "blocked").items():
        reporter.write_line(f"blocked: {', '.join(names)}: {cause.removeprefix('blocked ')}")
    for cause, names in _by_message(report.checks, "skipped").items():
        reporter.write_line(f"skipped: {', '.join(names)}: {cause}")
    not_applicable = [check.id for check in report.checks if check.outcome == "not applicable"]
    if not_applicable:
        reporter.write_line(f"not applicable to {report.istio['version']}: {', '.join(not_applicable)}")
    if selection.other_profile:
        reporter.write_line(f"{selection.other_profile} checks are not in profile {report.profile}")
    if report.phases:
        phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report.phases)
        reporter.write_line(f"phases: {phases}")
    slow = sorted(
        (check for check in report.checks if check.duration >= SLOW), key=lambda check: -check.duration
    )
    if slow:
        reporter.write_line(
            f"slow: {', '.join(f'{check.id} {check.duration:.1f} s' for check in slow[:SLOWEST])}"
        )


def point_to_suites(reporter: TerminalReporter) -> None:
    """Say how to run the checks that come with the program, where pytest has found no test at all."""
    installed = suites_folder().parent == PACKAGE
    place = f"--pyargs {PACKAGE.name}.{suites_folder().name}" if installed else str(suites_folder())
    reporter.write_line(f"istio: there are no tests here; to run the checks of pytest-istio, add: {place}")


def explain_kept(reporter: TerminalReporter, cluster: Cluster) -> None:
    """Say where a kept cluster is and how to be rid of it."""
    context = f" --context {cluster.context}" if cluster.context else ""
    reporter.write_line(f"The cluster {cluster.name} is kept. Look into it, then end it:")
    reporter.write_line(
        f"  export KUBECONFIG={cluster.kubeconfig}; kubectl{context} get pods --all-namespaces"
    )
    reporter.write_line(f"  pytest-istio cleanup{'' if cluster.created else context}")


def verdict(report: Report) -> str:
    """Return the run in one line, which says so where stand-ins did Istio's work."""
    assert report.cluster
    counts = (
        ", ".join(f"{count} {outcome}" for outcome, count in report.counts().items() if count) or "no checks"
    )
    text = (
        f"istio {report.istio['version']} on {report.cluster['provider']}, profile {report.profile}: {counts}"
    )
    if report.rehearsal:
        text += "; a REHEARSAL: stand-ins did Istio's work, so nothing is claimed for a cluster"
    return text


def _table(checks: Iterable[CheckResult]) -> list[str]:
    areas: dict[str, dict[str, int]] = {}
    for check in checks:
        area = areas.setdefault(check.id.split("-")[0], dict.fromkeys(COUNTED, 0))
        area[check.outcome] += 1
    areas = dict(sorted(areas.items()))
    areas["all"] = {outcome: sum(area[outcome] for area in areas.values()) for outcome in COUNTED}
    header = " " * 4 + "".join(f"{outcome:>{len(outcome) + 2}}" for outcome in COUNTED)
    return [
        header,
        *(
            f"{name:<4}" + "".join(f"{counts[outcome]:>{len(outcome) + 2}}" for outcome in COUNTED)
            for name, counts in areas.items()
        ),
    ]


def _by_message(checks: Iterable[CheckResult], outcome: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in checks:
        if check.outcome == outcome:
            found.setdefault(check.message, []).append(check.id)
    return found
