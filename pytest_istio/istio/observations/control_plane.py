"""What of the control plane is not as its manifests and its release want it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_istio.findings import finding
from pytest_istio.istio import explain
from pytest_istio.kube import readiness
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from pytest_istio.istio.catalog import Endpoint
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

__all__ = [
    "ask_pod",
    "component_available",
    "crds_established",
    "discovery_ready",
    "http_ok",
    "job_complete",
    "pods_of",
    "restarts",
    "service_has_endpoints",
    "services_have_endpoints",
    "version_reported",
]

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
SLICE = ("discovery.k8s.io/v1", "EndpointSlice")


def pods_of(mesh: Mesh, workload: Object) -> list[Object]:
    """Return the pods that a workload's selector finds and that are not about to go."""
    return explain.pods_of(mesh.kube, workload)


def component_available(mesh: Mesh, component: str) -> tuple[str, ...]:
    """Return why a Deployment of the control plane is not available with all its replicas."""
    is_gateway = component == mesh.release.gateway.deployment
    return explain.deployment_problems(
        mesh.kube, mesh.gateway_namespace if is_gateway else mesh.namespace, component
    )


def crds_established(mesh: Mesh, component: str | None = None) -> tuple[str, ...]:
    """Return which definitions of the manifests and of the release are missing, or not Established.

    Args:
        mesh: The installation.
        component: The Deployment that cannot become available without those that are looked at; None for all.
    """
    given = {each["metadata"]["name"] for each in mesh.objects if each["kind"] == CRD[1]}
    there = {each["metadata"]["name"]: each for each in mesh.kube.list(*CRD)}
    wanted = {name for each in mesh.release.components if each.name == component for name in each.definitions}
    problems = []
    for name in sorted(given.union(mesh.release.crds) if component is None else wanted):
        found = there.get(name)
        seen = "not on the cluster" if found is None else readiness.problem(found)
        lost = "deleted after the installation" if name in given else "the manifests leave it out"
        if seen is not None:
            problems.append(
                finding(
                    f"CustomResourceDefinition {name}",
                    expected="exists and is Established",
                    seen=seen,
                    cause=lost if found is None else "its names clash with another's",
                    look=f"kubectl describe crd {name}" if found else "kubectl get crd | grep istio.io",
                )
            )
    return tuple(problems)


def restarts(mesh: Mesh) -> tuple[str, ...]:
    """Return which containers of the control plane have restarted since it was ready."""
    problems = []
    for workload in mesh.objects:
        if workload["kind"] != "Deployment":
            continue
        for pod in pods_of(mesh, workload):
            for container in pod.get("status", {}).get("containerStatuses") or []:
                before = (mesh.restarts or {}).get(f"{pod['metadata']['name']}/{container['name']}", 0)
                if container.get("restartCount", 0) > before:
                    problems.append(_restarted(pod, container, before))
    return tuple(problems)


def _restarted(pod: Object, container: Object, before: int) -> str:
    metadata, last = pod["metadata"], (container.get("lastState") or {}).get("terminated") or {}
    why = f"exit code {last.get('exitCode', '?')} ({last.get('reason', 'no reason given')})"
    return finding(
        f"{Ref.of(pod)}, container {container['name']}",
        expected=f"{before} restarts, as when it was ready",
        seen=f"{container['restartCount']} restarts, the last one after {why}",
        cause="a limit on memory"
        if last.get("reason") == "OOMKilled"
        else "it crashed, or its liveness probe failed",
        look=f"kubectl -n {metadata['namespace']} logs {metadata['name']} -c {container['name']} --previous",
    )


def job_complete(mesh: Mesh, ref: Ref) -> tuple[str, ...]:
    """Return why a Job has not completed."""
    job = mesh.kube.find(ref.api_version, ref.kind, ref.name, ref.namespace)
    seen = "not on the cluster" if job is None else readiness.problem(job)
    if seen is None:
        return ()
    look = f"kubectl -n {ref.namespace} get jobs"
    why = explain.why(mesh.kube, job) if job else explain.Why("", "deleted after the installation", look)
    problem = finding(
        str(ref),
        expected="condition Complete",
        seen=f"{seen}; {why.seen}" if why.seen else seen,
        cause=why.cause,
        look=why.look,
    )
    return (problem,)


def services_have_endpoints(mesh: Mesh, name: str | None = None) -> tuple[str, ...]:
    """Return which Services of the control plane lead nowhere, and why.

    Args:
        mesh: The installation.
        name: The only one that is looked at, as any release calls it; None for all of them.
    """
    release = mesh.release
    names = [each.name for each in release.control_plane_services] if name is None else [name]
    services = [release.successors.get(each, each) for each in names]
    return tuple(
        problem
        for service in services
        for problem in service_has_endpoints(
            mesh, mesh.gateway_namespace if service == release.gateway.service else mesh.namespace, service
        )
    )


def service_has_endpoints(mesh: Mesh, namespace: str, service: str) -> tuple[str, ...]:
    """Return why a Service leads nowhere: it is missing, or no ready address is behind it."""
    if mesh.kube.find("v1", "Service", service, namespace) is None:
        seen, cause, look = "no such Service", "deleted after it was applied", "get services"
    elif _has_ready_address(mesh, namespace, service):
        return ()
    else:
        seen, cause = "no ready address", "its selector fits no pod, or the pods are not ready"
        look = f"get endpoints,pods -o wide | grep -e NAME -e {service}"
    problem = finding(
        f"Service {namespace}/{service}",
        expected="at least one ready address behind it",
        seen=seen,
        cause=cause,
        look=f"kubectl -n {namespace} {look}",
    )
    return (problem,)


def _has_ready_address(mesh: Mesh, namespace: str, service: str) -> bool:
    if SLICE in mesh.kube.served():
        slices = mesh.kube.list(*SLICE, namespace, labels=f"kubernetes.io/service-name={service}")
        endpoints = [endpoint for each in slices for endpoint in each.get("endpoints") or []]
        # A condition that is not there means ready.
        return any((endpoint.get("conditions") or {}).get("ready") is not False for endpoint in endpoints)
    found = mesh.kube.find("v1", "Endpoints", service, namespace) or {}
    return any(subset.get("addresses") for subset in found.get("subsets") or [])


def ask(mesh: Mesh, component: str, endpoint: Endpoint) -> bytes:
    """Return what a component answers; where pods are asked, the newest that runs.

    Raises:
        KubeError: It does not answer.
    """
    if endpoint.way == "service":
        path = _service_path(mesh, component, endpoint.port, endpoint.path)
        return mesh.kube.request("GET", path, timeout=mesh.timeouts.request)
    deployment = mesh.kube.get("apps/v1", "Deployment", component, mesh.namespace)
    running = [each for each in pods_of(mesh, deployment) if each.get("status", {}).get("phase") == "Running"]
    if not running:
        raise KubeError(f"no pod of Deployment {mesh.namespace}/{component} runs")
    return ask_pod(mesh, running[-1], endpoint)


def ask_pod(mesh: Mesh, pod: Object, endpoint: Endpoint) -> bytes:
    """Return what a pod of discovery answers, asked through the API server or by its own client.

    Raises:
        KubeError: It does not answer.
    """
    name = pod["metadata"]["name"]
    if endpoint.way != "exec":
        path = f"/api/v1/namespaces/{mesh.namespace}/pods/{name}:{endpoint.port}/proxy{endpoint.path}"
        return mesh.kube.request("GET", path, timeout=mesh.timeouts.request)
    command = ["pilot-discovery", "request", "GET", endpoint.path]
    done = mesh.kube.exec(
        mesh.namespace, name, command,
        container="discovery", timeout=mesh.timeouts.request, repeatable=True,
    )  # fmt: skip
    if done.exit_code != 0:
        raise KubeError(f"`{' '.join(command)}` in {name} ended with {done.exit_code}: {done.stderr[:200]}")
    return done.stdout.encode()


def http_ok(mesh: Mesh, service: str, port: int, path: str) -> tuple[str, ...]:
    """Return why a Service of the control plane does not answer 200, asked through the API server's proxy."""
    try:
        mesh.kube.request("GET", _service_path(mesh, service, port, path), timeout=mesh.timeouts.request)
    except KubeError as error:
        return (_unanswered(mesh, service, port, path, str(error)),)
    return ()


def discovery_ready(mesh: Mesh) -> tuple[str, ...]:
    """Return why discovery does not call itself ready."""
    name = mesh.release.discovery_service
    ready = mesh.release.component(name).ready
    if ready is None:
        return ()
    try:
        ask(mesh, name, ready)
    except KubeError as error:
        return (_unanswered(mesh, name, ready.port, ready.path, str(error)),)
    return ()


def version_reported(mesh: Mesh) -> tuple[str, ...]:
    """Return why discovery does not report the version that was installed."""
    name, wanted = mesh.release.discovery_service, mesh.release.version
    version: Endpoint | None = mesh.release.component(name).version
    if version is None:
        return ()
    path = _service_path(mesh, name, version.port, version.path)
    try:
        seen = mesh.kube.request("GET", path, timeout=mesh.timeouts.request).decode(errors="replace").strip()
    except KubeError as error:
        return (_unanswered(mesh, name, version.port, version.path, str(error)),)
    if re.search(rf"(?<![\d.]){re.escape(wanted)}(?![\d.]*\d)", seen):
        return ()
    problem = finding(
        f"Service {mesh.namespace}/{name}, port {version.port}{version.path}",
        expected=f"version {wanted}",
        seen=seen[:200],
        cause="the image's tag does not tell what is in it, or another version runs",
        look=f"kubectl get --raw {path}",
    )
    return (problem,)


def _service_path(mesh: Mesh, service: str, port: int, path: str) -> str:
    return f"/api/v1/namespaces/{mesh.namespace}/services/{service}:{port}/proxy{path}"


def _unanswered(mesh: Mesh, service: str, port: int, path: str, seen: str) -> str:
    return finding(
        f"Service {mesh.namespace}/{service}, port {port}{path}",
        expected="200",
        seen=seen,
        cause="no ready pod is behind the Service, or the component has not got all that it waits for",
        look=f"kubectl get --raw {_service_path(mesh, service, port, path)}",
    )
