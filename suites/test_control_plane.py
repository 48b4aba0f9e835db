"""CP: the control plane runs, answers and does its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.findings import finding, report
from pytest_istio.istio import observations
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from pytest_istio.istio.mesh import Mesh

MIXER = [
    "CP-001[istio-policy]",
    "CP-001[istio-telemetry]",
    "CP-003[istio-policy]",
    "CP-003[istio-telemetry]",
]
PILOT = ["CP-001[istio-pilot]", "CP-003[istio-pilot]"]
GALLEY = ["CP-001[istio-galley]", "CP-003[istio-galley]"]
INJECTOR = ["CP-001[istio-sidecar-injector]", "CP-003[istio-sidecar-injector]"]


@pytest.mark.istio("CP-001", level="core")
def test_component_available(mesh: Mesh, component: str) -> None:
    """Each deployment of the control plane has all its replicas updated and available.

    Source: Kubernetes, "Deployments", status; a field that is missing counts as 0.
    """
    problems = observations.component_available(mesh, component)
    assert not problems, report(problems)


@pytest.mark.istio("CP-002", level="core")
def test_no_restarts(mesh: Mesh) -> None:
    """No container of the control plane has restarted since it was ready, and none was killed for memory.

    Source: Kubernetes, "Pod Lifecycle", container states.
    """
    problems = observations.restarts(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("CP-003", level="core", requires=["INV-002", "CP-001"])
def test_services_have_endpoints(mesh: Mesh) -> None:
    """Each service of the control plane has at least one ready address behind it.

    Source: Kubernetes, "EndpointSlices".
    """
    problems = observations.services_have_endpoints(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("CP-004", level="core", requires=PILOT)
def test_discovery_is_ready(mesh: Mesh) -> None:
    """Discovery says itself that its caches are filled and it can configure proxies.

    Source: Pilot's /ready on port 8080, asked through the API server's service proxy.
    """
    problems = observations.discovery_ready(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("CP-005", level="core", requires=PILOT)
def test_version_reported(mesh: Mesh) -> None:
    """Discovery reports the version that was installed.

    Source: Pilot's /version on its monitoring port 9093.
    """
    problems = observations.version_reported(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("CP-006", level="core", requires=INJECTOR, features=["automatic-injection"])
def test_injector_webhook_is_live(mesh: Mesh) -> None:
    """A pod that asks for a sidecar is admitted with one: the webhook is registered, trusted and answers.

    Source: Kubernetes, "Dynamic Admission Control". Seen by creating a pod and deleting it again; a dry run
    will not do, since the webhooks of 1.0 declare no side effects and the API server refuses to call them.
    Where the injector cannot enter its certificate authority, the run has done that, and has recorded it.
    """
    problems = observations.injector_live(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("CP-007", level="core", requires=["INV-001[istio-pilot]", *GALLEY])
def test_valid_configuration_is_accepted(mesh: Mesh) -> None:
    """A valid gateway, virtual service and destination rule are accepted, whoever validates them.

    Source: Istio's validation webhook, before every change of configuration. Seen by creating them in a
    namespace of the run and deleting them again, for a host that nobody has; a dry run will not do, as for
    the injector.
    """
    problems = observations.configuration_accepted(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("CP-011", level="core", until="1.4", requires=MIXER)
@pytest.mark.parametrize("service", ["istio-policy", "istio-telemetry"])
def test_mixer_answers(mesh: Mesh, service: str) -> None:
    """Both halves of Mixer answer on their monitoring port.

    Source: Mixer's /version on port 9093, which its liveness probe asks as well.
    """
    problems = observations.http_ok(mesh, service, 9093, "/version")
    assert not problems, report(problems)


@pytest.mark.istio("CP-012", level="core", requires=["CP-001[istio-pilot]", "CP-001[istio-galley]"])
def test_jobs_succeeded(mesh: Mesh) -> None:
    """Every job of the installation has completed.

    Source: Kubernetes, "Jobs", condition Complete.
    """
    jobs = [Ref.of(obj) for obj in mesh.objects if obj["kind"] == "Job"]
    names = sorted(ref.name for ref in jobs)
    # Where Istio was there before, Helm has taken away the hooks that succeeded, and not run all of them.
    installed = mesh.settings.use_installed
    if installed and mesh.release.jobs and not jobs:
        pytest.skip("this run applied no jobs, and none of the release's is left")
    assert installed or set(mesh.release.jobs) <= set(names), finding(
        "the manifests",
        expected=f"jobs {', '.join(mesh.release.jobs)}",
        seen=", ".join(names) or "no Job",
        cause="rendered without the chart's hooks",
    )
    problems = [problem for ref in jobs for problem in observations.job_complete(mesh, ref)]
    assert not problems, report(problems)
