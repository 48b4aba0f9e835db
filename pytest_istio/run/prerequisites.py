"""Looking at what a check builds on, before its fixtures are made: missing means skipped, broken blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.conformance.outcomes import block
from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import one_line
from pytest_istio.run.states import FAILED

if TYPE_CHECKING:
    from pytest_istio.clusters.base import Cluster
    from pytest_istio.conformance.check import Check
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.run.context import Run

__all__ = ["need", "need_bookinfo", "need_capabilities", "need_consent", "need_installation"]

ABOUT_BOOKINFO = ("BKI", "INJ", "ING")
ABOUT_GATEWAY = ("ING", "BKI-008")
"""Areas and checks whose prerequisites are observed with the help of a fixture."""
DEPLOYED = "BKI-001"
"""The check that bookinfo is deployed."""


def need_capabilities(cluster: Cluster, check: Check) -> None:
    """Skip a check that the cluster is not capable of."""
    if missing := sorted(set(check.capabilities) - cluster.capabilities):
        pytest.skip(f"a {cluster.provider} cluster has no {', '.join(missing)}")


def need_consent(cluster: Cluster, check: Check, disruptive: str) -> None:
    """Skip a disruptive check on a cluster that others may rely on."""
    if check.disruptive and disruptive == "auto" and not cluster.created:
        pytest.skip(
            "disruptive, and this run did not make the cluster; --istio-disruptive=always runs it anyway"
        )


def need_installation(item: pytest.Item, run: Run) -> None:
    """Block a check when Istio could not be applied; the test that tried fails and tells all of it."""
    if trouble := run.folder.read(FAILED):
        block(item, f"the installation: {trouble.splitlines()[0]}")


def need_bookinfo(request: pytest.FixtureRequest, check: Check) -> None:
    """Block a check when bookinfo cannot be applied; the check that it is deployed fails and says why."""
    if check.id == DEPLOYED:
        return
    try:
        request.getfixturevalue("bookinfo")
    except pytest.fail.Exception as error:
        block(request.node, f"{DEPLOYED}: {one_line(str(error))}")


def need(request: pytest.FixtureRequest, mesh: Mesh, requirement: str) -> None:
    """Block a check when the prerequisite behind a required check is not met."""
    try:
        namespace = (
            request.getfixturevalue("bookinfo").namespace if requirement.startswith(ABOUT_BOOKINFO) else None
        )
        gateway = request.getfixturevalue("gateway") if requirement.startswith(ABOUT_GATEWAY) else None
        problems = mesh.problems(requirement, bookinfo=namespace, gateway=gateway)
    except (PytestIstioError, pytest.fail.Exception) as error:
        problems = (str(error),)
    except LookupError as error:
        pytest.fail(f"istio marker, requires: {error}", pytrace=False)
    if problems:
        block(request.node, f"{requirement}: {one_line(problems[0])}")
