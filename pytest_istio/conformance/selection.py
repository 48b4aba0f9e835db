"""Choosing among the collected tests: what applies, what the profile holds, what needs a cluster."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.conformance.check import check_of, name_of
from pytest_istio.conformance.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_istio.conformance.check import Check
    from pytest_istio.settings import Settings

__all__ = ["Chosen", "Selection", "concerns_istio", "describe", "fixtures_of", "select", "skip", "title_of"]


@dataclass(frozen=True)
class Chosen:
    """A check among the collected tests: what a report needs to know of it, as plain data."""

    name: str
    level: str
    title: str


@dataclass
class Selection:
    """What became of the collected tests, as plain data: a worker hands it to the controller.

    Attributes:
        checks: The checks that run, by node id.
        not_applicable: The checks that are not about this version of Istio.
        other_profile: How many checks the profile leaves out.
        cluster: Whether a test that runs needs the cluster.
        bookinfo: Whether a test that runs needs the sample application.
        complaints: Names that are those of no check or feature, or of two: a complaint each.
    """

    checks: dict[str, Chosen] = field(default_factory=dict)
    not_applicable: list[Chosen] = field(default_factory=list)
    other_profile: int = 0
    cluster: bool = False
    bookinfo: bool = False
    complaints: list[str] = field(default_factory=list)

    def to_state(self) -> dict[str, Any]:
        """Return the selection as JSON values."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Selection:
        """Return the selection that `to_state` wrote."""
        return cls(
            checks={node: Chosen(**chosen) for node, chosen in state["checks"].items()},
            not_applicable=[Chosen(**chosen) for chosen in state["not_applicable"]],
            other_profile=state["other_profile"],
            cluster=state["cluster"],
            bookinfo=state["bookinfo"],
            complaints=state["complaints"],
        )


def concerns_istio(item: pytest.Item) -> bool:
    """Return whether a test needs an Istio run: it is a check, or uses the run's cluster."""
    return item.get_closest_marker("istio") is not None or "istio_cluster" in fixtures_of(item)


def fixtures_of(item: pytest.Item) -> list[str]:
    """Return the names of the fixtures that a test needs, directly or not; none for what is no function."""
    names: list[str] = getattr(item, "fixturenames", [])
    return names


def select(items: Iterable[pytest.Item], settings: Settings, selection: Selection) -> list[pytest.Item]:
    """Return the tests that run by version and profile, and note in `selection` what became of the others.

    Tests that are no checks always stay.
    """
    assert settings.istio_version is not None
    profile = PROFILES[settings.profile]
    chosen: list[pytest.Item] = []
    for item in items:
        check = check_of(item)
        if check is None:
            chosen.append(item)
        elif not check.applies_to(settings.istio_version):
            selection.not_applicable.append(_chosen(item, check))
        elif not profile.holds(check):
            selection.other_profile += 1
        else:
            chosen.append(item)
    return chosen


def skip(items: Iterable[pytest.Item], settings: Settings) -> None:
    """Mark the checks that are to be left out; what they look at still decides whether others are blocked."""
    for item in items:
        check = check_of(item)
        reason = _left_out(check, name_of(item, check), settings) if check else None
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _left_out(check: Check, name: str, settings: Settings) -> str | None:
    """Return why the settings leave a check out; None where it runs."""
    reasons = dict(settings.skips)
    for given in (name, check.id):
        if given in reasons:
            return f"{reasons[given]} (--istio-skip)"
    for feature in check.features:
        if feature in settings.unsupported:
            return f"{feature} is not supported here (--istio-unsupported)"
    if check.disruptive and settings.disruptive == "never":
        return "disruptive (--istio-disruptive=never)"
    return None


def describe(items: Iterable[pytest.Item], selection: Selection) -> None:
    """Note in the selection what runs in the end, after every plugin has had its say."""
    for item in items:
        if item.get_closest_marker("skip") is None:
            selection.cluster = selection.cluster or concerns_istio(item)
            selection.bookinfo = selection.bookinfo or "bookinfo" in fixtures_of(item)
        if check := check_of(item):
            selection.checks[item.nodeid] = _chosen(item, check)


def _chosen(item: pytest.Item, check: Check) -> Chosen:
    return Chosen(name_of(item, check), check.level, title_of(item))


def title_of(item: pytest.Item) -> str:
    """Return the first line of a test's docstring, its name if it has none."""
    text = getattr(getattr(item, "function", None), "__doc__", None) or item.name
    return text.strip().splitlines()[0]
