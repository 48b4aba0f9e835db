"""INJ: which pods get a sidecar, and which do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.findings import finding, report
from pytest_istio.istio import observations
from pytest_istio.istio.inject import SeveralTemplatesError

if TYPE_CHECKING:
    from pytest_istio.bookinfo import Bookinfo
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

LIVE_INJECTOR = ["CP-001[istio-sidecar-injector]", "CP-003[istio-sidecar-injector]", "CP-006"]
AUTOMATIC = ["automatic-injection"]


@pytest.mark.istio("INJ-001", level="core", requires=LIVE_INJECTOR, features=AUTOMATIC)
def test_labelled_namespace_injects(mesh: Mesh, istio_namespace: str) -> None:
    """A pod created in a namespace labelled istio-injection=enabled gets the init container and the sidecar.

    Source: Istio, "Automatic sidecar injection"; the image is the one of the installed injection template.
    """
    try:
        wanted = observations.wanted_sidecar(mesh)
    except SeveralTemplatesError as error:
        pytest.skip(f"{error}; that pods get a sidecar is shown by CP-006")
    pod = _admitted(mesh, istio_namespace)
    seen = observations.sidecar_of(mesh, pod)
    assert seen == wanted, finding(
        f"Pod {istio_namespace}/{pod['metadata']['name']}",
        expected="; ".join(wanted),
        seen="; ".join(seen) or "neither sidecar nor init container",
        cause="the injector has read another template than the one that was installed",
        look=f"kubectl -n {mesh.namespace} get configmap istio-sidecar-injector -o yaml",
    )


@pytest.mark.istio("INJ-002", level="core", requires=LIVE_INJECTOR, features=AUTOMATIC)
def test_unlabelled_namespace_does_not_inject(mesh: Mesh, istio_plain_namespace: str) -> None:
    """A pod in a namespace without the label is left as it is.

    Source: Istio, "Automatic sidecar injection".
    """
    _assert_not_injected(
        mesh, _admitted(mesh, istio_plain_namespace), "its namespace does not ask for injection"
    )


@pytest.mark.istio("INJ-003", level="core", requires=LIVE_INJECTOR, features=AUTOMATIC)
def test_annotation_opts_out(mesh: Mesh, istio_namespace: str) -> None:
    """A pod with the annotation sidecar.istio.io/inject: "false" is left as it is in a labelled namespace.

    Source: Istio, "Automatic sidecar injection", policy.
    """
    pod = _admitted(mesh, istio_namespace, annotations={"sidecar.istio.io/inject": "false"})
    _assert_not_injected(mesh, pod, "its annotation opts out")


@pytest.mark.istio("INJ-004", level="core", requires=LIVE_INJECTOR, features=AUTOMATIC)
def test_host_network_is_skipped(mesh: Mesh, istio_namespace: str) -> None:
    """A pod on the node's own network is never injected: its rules would capture the node's traffic.

    Source: Istio's injector, `injectRequired`.
    """
    pod = _admitted(mesh, istio_namespace, spec={"hostNetwork": True})
    _assert_not_injected(mesh, pod, "it is on the node's own network")


@pytest.mark.istio(
    "INJ-008", level="core", requires=["CP-001[istio-pilot]", "CP-003[istio-pilot]", "CP-004", "BKI-002"]
)
def test_sidecars_are_synced(mesh: Mesh, bookinfo: Bookinfo) -> None:
    """Every sidecar of bookinfo has accepted the configuration that discovery has sent it last.

    Source: Pilot's /debug/syncz, which `istioctl proxy-status` reads: CDS, LDS, EDS and RDS. A sidecar of
    1.0 has no readiness probe, so two ready containers do not show this.
    """
    problems = observations.sidecars_synced(mesh, bookinfo.namespace)
    assert not problems, report(problems)


def _admitted(
    mesh: Mesh, namespace: str, *, annotations: dict[str, str] | None = None, spec: Object | None = None
) -> Object:
    """Return a pod as the API server has admitted it; the namespace's removal takes it away."""
    pod = observations.probe_pod(mesh, namespace)
    pod["metadata"].setdefault("annotations", {}).update(annotations or {})
    pod["spec"].update(spec or {})
    return mesh.kube.create(pod)


def _assert_not_injected(mesh: Mesh, pod: Object, why: str) -> None:
    names = [c["name"] for c in pod["spec"]["containers"] + pod["spec"].get("initContainers", [])]
    assert mesh.release.sidecar.container not in names, finding(
        f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}",
        expected=f"no sidecar, since {why}",
        seen=f"containers {', '.join(names)}",
        cause="the webhook's namespace selector, or its injection policy",
        look="kubectl get mutatingwebhookconfiguration istio-sidecar-injector -o yaml",
    )
