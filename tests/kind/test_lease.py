"""A run learns that its claim to a cluster is void, and that of nothing less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters import lease
from pytest_istio.errors import ClusterError
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.kube.client import Kube


@pytest.fixture
def mine(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> Iterator[lease.Lease]:
    monkeypatch.setattr(lease, "_RENEWAL", 0.1)
    mine = lease.Lease.take(kube, "run-1", "1.0.5")
    yield mine
    mine.give_back()


def renewed(kube: Kube) -> str:
    time: str = kube.get(*lease.KIND, lease.NAME, lease.NAMESPACE)["spec"]["renewTime"]
    return time


def test_another_runs_lease_is_trouble(kube: Kube, mine: lease.Lease) -> None:
    found = lease.owner(kube)
    assert found
    assert until(lambda: mine.trouble, bool, timeout=1.0) is None
    lease.remove_lease(kube, found.uid)
    theirs = lease.Lease.take(kube, "run-2", "1.0.5")
    try:
        trouble = until(lambda: mine.trouble, bool, timeout=10.0)
        assert trouble
        # The next run may be seen between its predecessor's Lease and its own.
        assert "is now that of" in trouble or "is gone" in trouble
        assert trouble.startswith(
            "The cluster is lost: Lease kube-system/pytest-istio, this run's claim to it, is"
        )
        assert "\n" not in trouble
        assert theirs.trouble is None
    finally:
        theirs.give_back()


def test_a_login_that_fails_for_a_while_does_not_end_the_renewal(
    kube: Kube, mine: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []

    def fail(*_: object) -> None:
        failed.append("")
        raise ClusterError("the program for logging in hangs")

    with monkeypatch.context() as patched:
        patched.setattr(kube, "find", fail)
        assert until(lambda: len(failed), lambda times: times > 1, timeout=10.0) > 1
    before = renewed(kube)
    assert until(lambda: renewed(kube), lambda time: time != before, timeout=10.0) != before
    assert mine.trouble is None
