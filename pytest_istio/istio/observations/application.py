"""Whether the sample application runs inside the mesh."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from pytest_istio.findings import finding
from pytest_istio.istio import explain
from pytest_istio.istio.mirror import mirrored_image
from pytest_istio.istio.observations.control_plane import service_has_endpoints
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.istio.observations.ingress import Asked
    from pytest_istio.kube.objects import Object

__all__ = [
    "bookinfo_available",
    "bookinfo_endpoints",
    "bookinfo_images",
    "bookinfo_pods_ready",
    "hops_of_one_request",
]

LOG_LINES = 500
WITHOUT_RATINGS = "v1"
"""The version of reviews that does not ask ratings (Istio, "Bookinfo Application")."""
REQUEST_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


def bookinfo_available(mesh: Mesh, namespace: str) -> tuple[str, ...]:
    """Return which Deployments of bookinfo are not available with all their replicas, and why."""
    return tuple(
        problem
        for name in mesh.release.bookinfo.deployments
        for problem in explain.deployment_problems(mesh.kube, namespace, name)
    )


def bookinfo_endpoints(mesh: Mesh, namespace: str) -> tuple[str, ...]:
    """Return which Services of bookinfo have no ready address behind them."""
    return tuple(
        problem
        for service in mesh.release.bookinfo.services
        for problem in service_has_endpoints(mesh, namespace, service)
    )


def bookinfo_pods_ready(mesh: Mesh, namespace: str) -> tuple[str, ...]:
    """Return which pods of bookinfo lack a ready application container or a ready sidecar.

    The sidecar may be an ordinary container, or an init container that keeps running.
    """
    problems: list[str] = []
    for name in mesh.release.bookinfo.deployments:
        pods = _pods(mesh, namespace, name)
        problems += [problem for pod in pods for problem in _pod_problems(mesh, pod)]
        if not pods:
            problems += explain.deployment_problems(mesh.kube, namespace, name) or [_no_pod(namespace, name)]
    return tuple(problems)


def _pods(mesh: Mesh, namespace: str, name: str) -> list[Object]:
    deployment = mesh.kube.find("apps/v1", "Deployment", name, namespace)
    return explain.pods_of(mesh.kube, deployment) if deployment else []


def _no_pod(namespace: str, name: str) -> str:
    return finding(
        f"Deployment {namespace}/{name}",
        expected="a pod with application and sidecar",
        seen="no pod",
        cause="its pods are just being replaced",
        look=f"kubectl -n {namespace} get pods",
    )


def _pod_problems(mesh: Mesh, pod: Object) -> list[str]:
    sidecar, namespace = mesh.release.sidecar.container, pod["metadata"]["namespace"]
    lasting = [
        *pod["spec"]["containers"],
        *(each for each in pod["spec"].get("initContainers", []) if each.get("restartPolicy") == "Always"),
    ]
    names = [each["name"] for each in lasting]
    status = pod.get("status", {})
    states = {
        each["name"]: each
        for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    }
    look = f"kubectl -n {namespace} describe pod {pod['metadata']['name']}"
    if sidecar not in names:
        cause = "it was neither injected by hand, nor created in a namespace whose label asks for injection"
        seen = f"containers {', '.join(names)}"
        return [
            finding(str(Ref.of(pod)), expected=f"a container {sidecar}", seen=seen, cause=cause, look=look)
        ]
    unready = [name for name in names if not states.get(name, {}).get("ready")]
    if not unready:
        return []
    why = explain.why(mesh.kube, pod)
    seen = f"{len(names) - len(unready)}/{len(names)}, not {', '.join(unready)}"
    return [
        finding(
            str(Ref.of(pod)),
            expected=f"{len(names)}/{len(names)} ready: {', '.join(names)}",
            seen=f"{seen}; {why.seen}" if why.seen else seen,
            cause=why.cause,
            look=why.look,
        )
    ]


def bookinfo_images(mesh: Mesh, namespace: str) -> tuple[str, ...]:
    """Return which pods of bookinfo run another image than the release ships."""
    return tuple(
        finding(
            str(Ref.of(pod)),
            expected=f"image {wanted}",
            seen=", ".join(images),
            cause="bookinfo of another release, or a mirror that --istio-image-registry does not name",
            look=f"kubectl -n {namespace} get pod {pod['metadata']['name']} -o yaml",
        )
        for name, released in mesh.release.bookinfo.images.items()
        for wanted in [mirrored_image(released, mesh.settings.image_registries)]
        for pod in _pods(mesh, namespace, name)
        if wanted
        not in (images := [each["image"].removeprefix("docker.io/") for each in pod["spec"]["containers"]])
    )


def hops_of_one_request(mesh: Mesh, namespace: str, gateway: Asked) -> tuple[str, ...]:
    """Return which proxies on the way of one request have not logged it under its request id.

    The gateway's log gives the id, found by a mark in the query; the logs of the sidecars must have it, too.
    """
    mark = uuid.uuid4().hex
    page = gateway.get(f"/productpage?u=normal&mark={mark}").text
    # What the page could not get was not on the way: a rule leads elsewhere, or its service does not answer.
    shown = [
        part for part in ("details", "reviews") if f"product {part} are currently unavailable" not in page
    ]
    services = ["productpage", *shown]
    missing, request_id = until(
        lambda: _unlogged(mesh, namespace, services, mark),
        lambda result: not result[0],
        timeout=mesh.timeouts.consistency,
    )
    return tuple(_not_logged(mesh, namespace, hop, request_id) for hop in missing)


def _unlogged(mesh: Mesh, namespace: str, services: list[str], mark: str) -> tuple[list[str], str]:
    """Return which hops have not logged the request yet, and its id as far as it is known."""
    gateway = mesh.release.gateway.deployment
    deployment = mesh.kube.get("apps/v1", "Deployment", gateway, mesh.gateway_namespace)
    lines = [line for line in _log(mesh, explain.pods_of(mesh.kube, deployment)) if mark in line]
    ids = REQUEST_ID.findall(lines[-1]) if lines else []
    if not ids:
        return [gateway], ""
    passed = {service: _passed(mesh, namespace, service, ids[0]) for service in services}
    if passed.get("reviews", set()) - {WITHOUT_RATINGS}:
        passed["ratings"] = _passed(mesh, namespace, "ratings", ids[0])
    return [service for service, versions in passed.items() if not versions], ids[0]


def _passed(mesh: Mesh, namespace: str, service: str, request_id: str) -> set[str]:
    """Return the versions of a service whose sidecars have logged a request."""
    return {
        pod["metadata"]["labels"].get("version", "")
        for pod in mesh.kube.list("v1", "Pod", namespace, labels=f"app={service}")
        if any(request_id in line for line in _log(mesh, [pod]))
    }


def _log(mesh: Mesh, pods: list[Object]) -> list[str]:
    """Return the newest lines of the proxies' logs."""
    container = mesh.release.sidecar.container
    logs = [
        mesh.kube.logs(pod["metadata"]["namespace"], pod["metadata"]["name"], container, tail=LOG_LINES)
        for pod in pods
        if pod.get("status", {}).get("phase") == "Running"
    ]
    return [line for log in logs for line in log.splitlines()]


def _not_logged(mesh: Mesh, namespace: str, hop: str, request_id: str) -> str:
    is_gateway = hop == mesh.release.gateway.deployment
    where = mesh.gateway_namespace if is_gateway else namespace
    what = f"x-request-id {request_id}" if request_id else "the request"
    return finding(
        f"the access log of {hop}'s proxy in {where}",
        expected=f"a line with {what}",
        seen="none",
        cause="the request went past the proxy, or the mesh's accessLogFile is not /dev/stdout",
        look=f"kubectl -n {where} logs -l app={hop} -c {mesh.release.sidecar.container} --tail=20",
    )
