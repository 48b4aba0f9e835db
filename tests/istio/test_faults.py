"""Each fault shows in the message of the check that is about it, and is over when the fault is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.gateway import GatewayError
from pytest_istio.istio import observations
from pytest_istio.istio.explain import pods_of
from pytest_istio.istio.mesh import MANAGER
from pytest_istio.istio.registration import Registering
from pytest_istio.kube.apply import apply
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, wait_gone, wait_ready
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.kube.objects import Object
    from tests.istio.conftest import Installed

pytestmark = pytest.mark.cluster

SYSTEM = "istio-system"
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
WEBHOOK = ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "istio-sidecar-injector")


def deployment(name: str) -> Ref:
    return Ref("apps/v1", "Deployment", SYSTEM, name)


ROUTE = Ref("networking.istio.io/v1alpha3", "VirtualService", "default", "bookinfo")


@contextmanager
def changed(local: Installed, ref: Ref, patch: Object) -> Iterator[None]:
    """Change an object and put it back.

    Of a workload, the pods there were are gone first, as they serve until the end of their grace period; and
    it is ready again afterwards.
    """
    kube, place = local.mesh.kube, (ref.api_version, ref.kind, ref.name, ref.namespace)
    before = kube.get(*place)
    pods = [Ref.of(pod) for pod in pods_of(kube, before)] if ref.kind == "Deployment" else []
    kube.patch(*place, patch)
    try:
        wait_gone(kube, pods, timeout=60, progress=Silent())
        yield
    finally:
        kube.patch(*place, restoring(before, patch))
        if ref.kind == "Deployment":
            wait_ready(kube, [ref], timeout=60, progress=Silent())


def restoring(before: Any, patch: Any) -> Any:  # noqa: ANN401  # JSON values
    """Return the merge patch that undoes another one."""
    if not isinstance(patch, dict):
        return before
    given = before if isinstance(before, dict) else {}
    return {key: restoring(given.get(key), value) for key, value in patch.items()}


def test_a_component_scaled_to_zero(local: Installed) -> None:
    policy = deployment("istio-policy")
    with changed(local, policy, {"spec": {"replicas": 0}}):
        text = local.problems("CP-001[istio-policy]")
        assert "scaled to zero" in text
        assert "--replicas=1" in text
        assert local.problems("CP-001[istio-telemetry]") == ""
    assert local.problems("CP-001") == ""


def test_an_image_that_is_not_there(local: Installed) -> None:
    citadel, image = deployment("istio-citadel"), "docker.io/istio/citadel-of-another-world:1.0.5"
    given = local.mesh.kube.get("apps/v1", "Deployment", "istio-citadel", SYSTEM)
    container = {**given["spec"]["template"]["spec"]["containers"][0], "image": image}
    patch = {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None},
                      "template": {"spec": {"containers": [container]}}}}  # fmt: skip
    with changed(local, citadel, patch):
        with pytest.raises(NotReadyError, match="citadel-of-another-world"):
            wait_ready(local.mesh.kube, [citadel], timeout=20, progress=Silent())
        text = local.problems("CP-001[istio-citadel]")
        assert image in text
        assert "name or tag is wrong" in text
    assert local.problems("CP-001[istio-citadel]") == ""


def test_a_definition_that_is_missing(local: Installed) -> None:
    kube, name = local.mesh.kube, "statsds.config.istio.io"
    definition = next(each for each in local.mesh.objects if each["metadata"]["name"] == name)
    kube.delete(*CRD, name)
    wait_gone(kube, [Ref(*CRD, None, name)], timeout=20, progress=Silent())
    text = local.problems("INV-001")
    assert text.startswith(f"CustomResourceDefinition {name}")
    assert "deleted after the installation" in text
    kube.apply(definition, manager="pytest-istio")
    wait_ready(kube, [Ref.of(definition)], timeout=20, progress=Silent())
    assert local.problems("INV-001") == ""


def test_a_webhook_that_is_missing(local: Installed) -> None:
    mesh = local.mesh
    mesh.kube.delete(*WEBHOOK)
    assert "not on the cluster" in local.problems("CP-006")
    webhook = [each for each in mesh.objects if each["kind"] == WEBHOOK[1]]
    apply(mesh.kube, webhook, manager=MANAGER, labels=mesh.labels, timeouts=mesh.timeouts, progress=Silent())
    assert "caBundle is empty: this run did" in local.problems("CP-006")
    with Registering(mesh, mesh.registrations, timeout=20) as registering:
        assert registering.troubles(within=20) == ()
    assert observations.injector_live(mesh) == ()


def test_a_webhook_that_nothing_answers(local: Installed) -> None:
    injector = deployment("istio-sidecar-injector")
    with changed(local, injector, {"spec": {"replicas": 0}}):
        text = local.problems("CP-006")
        assert "the pod is refused" in text
        assert "istio-sidecar-injector" in text
    assert observations.injector_live(local.mesh) == ()


def test_a_route_that_leads_nowhere(local: Installed) -> None:
    nowhere = {"destination": {"host": "nowhere", "port": {"number": 9080}}}
    routes = [{"match": [{"uri": {"exact": "/productpage"}}], "route": [nowhere]}]
    with changed(local, ROUTE, {"spec": {"http": routes}}):
        local.gateway.wait_answer("/productpage", 503)
        with pytest.raises(GatewayError, match=r"(?s)seen: +\d+ x 503.*likely: +the route's destination"):
            local.gateway.wait_answer("/productpage", timeout=0.5)
    local.gateway.wait_answer("/productpage")


def test_a_gateway_that_opens_nothing(local: Installed) -> None:
    with changed(local, ROUTE, {"spec": {"gateways": ["no-such-gateway"]}}):
        local.gateway.wait_answer("/productpage", 404)
        with pytest.raises(GatewayError, match="no VirtualService leads this host and path anywhere"):
            local.gateway.wait_answer("/productpage", timeout=0.5)
    local.gateway.wait_answer("/productpage")
