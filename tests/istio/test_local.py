"""Installing, injecting and observing, on the embedded Kubernetes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_istio import bookinfo as application
from pytest_istio.errors import ClusterError
from pytest_istio.istio import install, observations
from pytest_istio.istio.mesh import MANAGER, RUN_LABEL
from pytest_istio.istio.namespaces import temporary_namespace
from pytest_istio.kube.apply import apply
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.polling import until
from pytest_istio.progress import Silent
from tests.istio.conftest import SETTINGS

if TYPE_CHECKING:
    from tests.istio.conftest import Installed

pytestmark = pytest.mark.cluster

RUN = f"{RUN_LABEL}=test"


def test_everything_is_ready_and_nothing_was_wrong_before(local: Installed) -> None:
    assert local.mesh.troubles == ()
    assert local.bookinfo.troubles == ()
    found = local.mesh.preflight
    assert (found.version_problems, found.unserved, found.forbidden) == ((), (), ())
    assert (found.previous_istio, found.capacity_problems, found.consent_problems) == ((), (), ())
    assert "1.9 to 1.15" in found.deviation


def test_nothing_is_there_that_was_not_asked_for(local: Installed) -> None:
    """The 134 objects of the manifests, what Istio makes at run time, and what the run makes in its stead."""
    added = [each.ref for each in local.mesh.adaptations if each.change == "added"]
    assert {ref.name for ref in added} == set(local.mesh.release.runtime_crds)
    assert len(local.mesh.objects) == 134 + len(added)
    assert all(local.mesh.kube.find(*reference(Ref.of(each))) for each in local.mesh.objects)
    definitions = local.mesh.kube.list("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert {each["metadata"]["name"] for each in definitions} == {
        *local.mesh.release.crds,
        *local.mesh.release.runtime_crds,
    }


def test_a_second_apply_changes_nothing(local: Installed) -> None:
    """Nor does it undo what the run has registered in the stead of Istio's programs."""
    # The first one brings back what other tests have made in another way.
    _, applied = (
        apply(
            local.mesh.kube, local.mesh.objects, manager=MANAGER, labels=local.mesh.labels,
            timeouts=SETTINGS.timeouts, progress=Silent(),
        )
        for _ in range(2)
    )  # fmt: skip
    assert applied.changed == ()
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        (found,) = local.mesh.kube.list("admissionregistration.k8s.io/v1", kind, labels=RUN)
        assert all(each["clientConfig"]["caBundle"] for each in found["webhooks"])


def reference(ref: Ref) -> tuple[str, str, str, str | None]:
    return ref.api_version, ref.kind, ref.name, ref.namespace


@pytest.mark.parametrize("check_id", list(observations.OBSERVATIONS))
def test_no_observation_has_a_problem(local: Installed, check_id: str) -> None:
    subject = observations.Subject(local.mesh, local.bookinfo.namespace, local.gateway)
    assert observations.observe(check_id, subject) == ()


def test_one_request_passes_every_proxy(local: Installed) -> None:
    assert observations.hops_of_one_request(local.mesh, "default", local.gateway) == ()


def test_the_rest_of_the_control_plane_answers(local: Installed) -> None:
    assert observations.version_reported(local.mesh) == ()
    assert observations.restarts(local.mesh) == ()
    assert observations.bookinfo_images(local.mesh, "default") == ()
    for service in local.mesh.release.control_plane_services:
        assert observations.service_has_endpoints(local.mesh, "istio-system", service.name) == ()


def test_productpage_answers_inside_the_mesh(local: Installed) -> None:
    answer = until(
        lambda: local.bookinfo.request_inside("/productpage"), lambda seen: seen.status == 200, timeout=30
    )
    assert answer.status == 200
    assert "<title>Simple Bookstore App</title>" in answer.text
    assert local.bookinfo.request_inside("/no-such-path").status == 404


def test_all_three_versions_of_reviews_answer(local: Installed) -> None:
    assert set(local.gateway.review_versions(30)) == {"v1", "v2", "v3"}


def test_the_mesh_can_be_attached_to(local: Installed) -> None:
    attached = install.attach(local.mesh.kube, SETTINGS, local.mesh.manifests, local.mesh.to_state())
    assert attached.objects == local.mesh.objects
    assert attached.adaptations == local.mesh.adaptations
    assert attached.preflight == local.mesh.preflight
    assert attached.restarts == local.mesh.restarts


def test_a_second_istio_is_refused_on_a_cluster_that_is_not_ours(local: Installed) -> None:
    mesh = local.mesh
    with pytest.raises(ClusterError, match="Istio is on the cluster already"):
        install.start(mesh.kube, SETTINGS, mesh.manifests, created=False, run="x", progress=Silent())


def test_the_pods_of_a_labelled_namespace_only_are_injected(local: Installed) -> None:
    for injected in (True, False):
        with temporary_namespace(local.mesh, "test", injected=injected, progress=Silent()) as namespace:
            pod = local.mesh.kube.create(observations.probe_pod(local.mesh, namespace))
            is_whole = observations.sidecar_of(local.mesh, pod) == observations.wanted_sidecar(local.mesh)
            assert is_whole == injected


def test_bookinfo_can_be_injected_by_the_webhook_and_taken_away(local: Installed) -> None:
    automatic = replace(local.mesh, settings=replace(SETTINGS, injection="automatic"))
    applied = application.start(automatic, "elsewhere", progress=Silent())
    found = application.finish(applied, progress=Silent())
    assert found.troubles == ()
    assert observations.bookinfo_pods_ready(automatic, "elsewhere") == ()
    # Its sidecars may still be getting their configuration.
    answer = until(lambda: found.request_inside("/productpage"), lambda seen: seen.status == 200, timeout=30)
    assert answer.status == 200
    found.remove(progress=Silent())
    assert local.mesh.kube.find("v1", "Namespace", "elsewhere") is None
