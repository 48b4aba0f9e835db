"""PRE: what the cluster must offer. Judged on what the preflight recorded before anything was installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.findings import finding, report

if TYPE_CHECKING:
    from pytest_istio.istio.mesh import Mesh


@pytest.mark.istio("PRE-001", level="core")
def test_api_is_reachable(mesh: Mesh) -> None:
    """The API server answers within the bound on one request.

    Source: Kubernetes, "API health endpoints".
    """
    version = mesh.kube.version()
    assert version.get("gitVersion"), finding(
        f"GET {mesh.kube.server}/version", expected="a version", seen=version, look="kubectl version"
    )


@pytest.mark.istio("PRE-002", level="core")
def test_kubernetes_version_is_supported(mesh: Mesh, request: pytest.FixtureRequest) -> None:
    """The Kubernetes version is one that this Istio supports, or one to which its manifests were migrated.

    Source: Istio, "Supported Releases". Outside upstream's range the check passes with a recorded deviation
    where every object could be migrated, since the pods then show whether it works.
    """
    preflight = mesh.preflight
    if preflight.deviation:
        # Not by record_property, which warns where --junitxml writes the newer of pytest's two forms.
        request.node.user_properties.append(("deviation", preflight.deviation))
    assert not preflight.version_problems, report(preflight.version_problems)


@pytest.mark.istio("PRE-003", level="core")
def test_api_versions_are_served(mesh: Mesh) -> None:
    """Every kind of the migrated manifests is served by the API server or defined by the manifests.

    Source: Kubernetes, "Deprecated API Migration Guide".
    """
    assert not mesh.preflight.unserved, report(mesh.preflight.unserved)


@pytest.mark.istio("PRE-004", level="core")
def test_user_may_install(mesh: Mesh) -> None:
    """The user of the run may create, change, list and delete each kind of object that the manifests hold.

    Source: Kubernetes, SelfSubjectAccessReview.
    """
    assert not mesh.preflight.forbidden, report(mesh.preflight.forbidden)


@pytest.mark.istio("PRE-006", level="core")
def test_no_previous_istio(mesh: Mesh) -> None:
    """There was no Istio on the cluster before this run installed one.

    Source: Istio, "Installation": a second control plane fights with the first over webhooks and definitions.
    """
    assert not mesh.preflight.previous_istio, report(mesh.preflight.previous_istio)


@pytest.mark.istio("PRE-007", level="core")
def test_nodes_are_ready_and_have_room(mesh: Mesh) -> None:
    """A schedulable node is Ready, and what the manifests request fits into what is free.

    Source: Kubernetes, "Resource Management for Pods"; pilot of 1.0 requests 2048 MiB of memory.
    """
    assert not mesh.preflight.capacity_problems, report(mesh.preflight.capacity_problems)


@pytest.mark.istio("PRE-014", level="core")
def test_context_is_safe(mesh: Mesh) -> None:
    """The cluster was made by this run, or its owner has agreed to its use.

    Source: the report of Istio's tests having been run against somebody's production cluster.
    """
    assert not mesh.preflight.consent_problems, report(mesh.preflight.consent_problems)
