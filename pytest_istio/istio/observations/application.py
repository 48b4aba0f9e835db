"""Whether the sample application runs inside the mesh."""

from __future__ import annotations

import operator
import re
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING

from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import finding
from pytest_istio.istio import explain
from pytest_istio.istio.mirror import mirrored_image
from pytest_istio.istio.observations.control_plane import service_has_endpoints
from pytest_istio.istio.observations.ingress import IN_A_ROW, TITLE
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
    "bookinfo_page_whole",
    "bookinfo_pods_ready",
    "hops_of_one_request",
]

LOG_LINES = 500
WITHOUT_RATINGS = "v1"
"""The version of reviews that does not ask ratings (Istio, "Bookinfo Application")."""
LACKING = {
    "details": "product details are currently unavailable",
    "reviews": "product reviews are currently unavailable",
    "ratings": "Ratings service is currently unavailable",
}
"""What bookinfo's page says in place of a part that it could not get; the same in all releases."""
MARKED = 12
"""Requests of which one meets v2 or v3 of reviews: by chance none does so once in half a million times."""
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


def bookinfo_page_whole(mesh: Mesh, namespace: str, gateway: Asked) -> tuple[str, ...]:
    """Return which part of the page is missing: details, reviews, or ratings where reviews shows them.

    productpage answers 200 as well when the others do not answer it. So many pages are looked at that each
    version of reviews has its turn.
    """
    seen = until(lambda: _flaw(gateway), operator.not_, timeout=gateway.timeouts.consistency)
    if not seen:
        return ()
    caller = "reviews" if "ratings" in seen else "productpage"
    problem = finding(
        gateway.request_line("/productpage"),
        expected=f"details, reviews, and the ratings of v2 and v3, in each of {IN_A_ROW} pages",
        seen=seen,
        cause=f"{caller}'s sidecar cannot reach the service: a rule leads elsewhere or breaks its requests, "
        "it has no endpoint, or certificates do not match",
        look=f"kubectl -n {namespace} logs -l app={caller} -c {mesh.release.sidecar.container} --tail=20",
    )
    return (problem,)


def _flaw(gateway: Asked) -> str:
    """Return what is wrong with the first page that is not whole; empty if all of them are."""
    for number in range(1, IN_A_ROW + 1):
        try:
            answer = gateway.get("/productpage")
        except PytestIstioError as error:
            return f"page {number}: no answer ({type(error.__cause__ or error).__name__})"
        if answer.status_code != HTTPStatus.OK or TITLE not in answer.text:
            return f"page {number}: {answer.status_code}, not bookinfo's page"
        if lacking := [part for part, instead in LACKING.items() if instead in answer.text]:
            return f"page {number} without {' and '.join(lacking)}"
    return ""


def hops_of_one_request(mesh: Mesh, namespace: str, gateway: Asked) -> tuple[str, ...]:
    """Return which proxies on the way of one request have not logged it under its request id.

    Several are sent, until one meets a version of reviews that asks ratings: that one is judged. The
    gateway's log gives the ids, found by marks in the query; the logs of the sidecars must have it, too.
    """
    marks = [uuid.uuid4().hex for _ in range(MARKED)]
    try:
        for mark in marks:
            gateway.wait_answer(f"/productpage?u=normal&mark={mark}", in_a_row=1)
    except PytestIstioError as error:
        return (str(error),)
    missing, request_id = until(
        lambda: _unlogged(mesh, namespace, marks),
        lambda result: not result[0],
        timeout=mesh.timeouts.consistency,
    )
    return tuple(_not_logged(mesh, namespace, hop, request_id) for hop in missing)


def _unlogged(mesh: Mesh, namespace: str, marks: list[str]) -> tuple[list[str], str]:
    """Return which hops have not logged the request that is judged yet, and its id as far as it is known."""
    gateway = mesh.release.gateway.deployment
    deployment = mesh.kube.get("apps/v1", "Deployment", gateway, mesh.gateway_namespace)
    lines = _log(mesh, explain.pods_of(mesh.kube, deployment))
    # A request that was sent again has its mark in two lines, and the last of them is the good one.
    answered = {mark: line for line in lines for mark in marks if mark in line}
    ids = [found[0] for line in answered.values() if (found := REQUEST_ID.findall(line))]
    if not ids:
        return [gateway], ""
    reviews = _passed(mesh, namespace, "reviews", ids)
    rated = [each for each in ids if reviews[each] - {WITHOUT_RATINGS}]
    # That none is rated is known once all of them are in the logs; a rule may lead all to one version.
    unknown = [each for each in ids if not reviews[each]]
    request_id = (rated or unknown or ids)[-1]
    services = ["productpage", "details", *(["ratings"] if rated else [])]
    passed = {each: _passed(mesh, namespace, each, [request_id])[request_id] for each in services}
    passed["reviews"] = reviews[request_id]
    return [service for service, versions in passed.items() if not versions], request_id


def _passed(mesh: Mesh, namespace: str, service: str, ids: list[str]) -> dict[str, set[str]]:
    """Return by request id the versions of a service whose sidecars have logged the request."""
    passed: dict[str, set[str]] = {each: set() for each in ids}
    for pod in mesh.kube.list("v1", "Pod", namespace, labels=f"app={service}"):
        log = "\n".join(_log(mesh, [pod]))
        for each in ids:
            if each in log:
                passed[each].add(pod["metadata"]["labels"].get("version", ""))
    return passed


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
