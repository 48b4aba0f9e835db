"""Why something is not as it should be: from a Deployment down to the container, the image, the log line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_istio.findings import finding
from pytest_istio.kube import readiness
from pytest_istio.kube.causes import Causes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_istio.kube.causes import Cause
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["Why", "answer_cause", "deployment_problems", "pods_of", "why"]

LIKELY = {
    "ErrImagePull": "the image's name or tag is wrong, or its registry cannot be reached",
    "ImagePullBackOff": "the image's name or tag is wrong, or its registry cannot be reached",
    "InvalidImageName": "the image's name is malformed",
    "Unschedulable": "the nodes have too little room, a taint keeps pods away, or there is no node",
    "FailedCreate": "an admission webhook that refuses or does not answer, a quota, or no service account",
    "FailedMount": "a Secret or ConfigMap that the pod mounts is not there",
    "FailedScheduling": "the nodes have too little room, a taint keeps pods away, or there is no node",
    "OOMKilled": "its limit on memory is too low",
    "Unhealthy": "the container does not serve yet, or waits for something that it cannot reach",
}
"""What most often stands behind a reason that Kubernetes gives."""
SHOWN = 300
"""Characters of a log."""
DETAIL_SHOWN = 600
"""Characters of what Kubernetes says; what a registry has answered is some 500, with the image twice."""
PHRASES = {
    "no healthy upstream": "no healthy endpoint is behind the route",
    "upstream connect error": "the connection to the endpoint fails, as when one side only uses mutual TLS",
}
"""What Envoy writes into the body of a 503, and what it means."""


@dataclass(frozen=True)
class Why:
    """What keeps a workload from being ready, for the last three parts of a message."""

    seen: str
    cause: str
    look: str


def pods_of(kube: Kube, workload: Object) -> list[Object]:
    """Return the pods that a workload's selector finds and that are not about to go."""
    metadata, selector = workload["metadata"], workload["spec"].get("selector") or {}
    wanted = selector.get("matchLabels") or workload["spec"]["template"]["metadata"]["labels"]
    labels = ",".join(f"{key}={value}" for key, value in wanted.items())
    pods = kube.list("v1", "Pod", metadata["namespace"], labels=labels)
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def deployment_problems(kube: Kube, namespace: str, name: str) -> tuple[str, ...]:
    """Return why a Deployment does not have all of its replicas updated and available; empty if it has.

    A field that is missing in the status counts as 0, and a Deployment that is scaled to zero is a problem.
    """
    subject = f"Deployment {namespace}/{name}"
    deployment = kube.find("apps/v1", "Deployment", name, namespace)
    if deployment is None:
        missing = finding(
            subject,
            expected="exists, with its replicas available",
            seen="not on the cluster",
            cause="deleted after the installation, or the manifests do not hold it",
            look=f"kubectl -n {namespace} get deployments",
        )
        return (missing,)
    wanted = deployment["spec"].get("replicas", 1)
    if wanted == 0:
        scaled = finding(
            subject,
            expected="at least 1 replica available",
            seen="spec.replicas is 0: scaled to zero",
            cause="somebody, or a HorizontalPodAutoscaler, has scaled it down",
            look=f"kubectl -n {namespace} scale deployment {name} --replicas=1",
        )
        return (scaled,)
    problem = readiness.problem(deployment)
    if problem is None:
        return ()
    found = why(kube, deployment)
    unavailable = finding(
        subject,
        expected=f"{wanted} of {wanted} replicas updated and available",
        seen=f"{problem}; {found.seen}" if found.seen else problem,
        cause=found.cause,
        look=found.look,
    )
    return (unavailable,)


def why(kube: Kube, workload: Object) -> Why:
    """Return what keeps a workload (Deployment, Job, Pod) from being ready, and where to look further."""
    metadata, kind = workload["metadata"], workload["kind"]
    namespace = metadata["namespace"]
    causes = Causes(kube)
    for api_version, owned in (("apps/v1", "ReplicaSet"), ("v1", "Pod")):
        for each in kube.list(api_version, owned, namespace):
            causes.take(each, deleted=False)
    describe = f"kubectl -n {namespace} describe {kind.lower()} {metadata['name']}"
    # What is said of the workload explains most; the pods' own warnings explain the rest.
    explained = (causes.explain(each) for each in (workload, *_unready_pods(kube, workload)))
    cause = next((each for each in explained if each is not None), None)
    if cause is None:
        return Why("", f"no event explains it: the {kind}'s controller or its node may not run", describe)
    log = _line(causes.log(cause))
    likely = LIKELY.get(cause.reason, "")
    if log:
        likely = f"{likely}; its last words: {log}".removeprefix("; ")
    return Why(f"{cause.reason}: {_both_ends(cause.detail)}", likely, _look(namespace, cause) or describe)


def _unready_pods(kube: Kube, workload: Object) -> list[Object]:
    if workload["kind"] == "Pod":
        return []
    return [pod for pod in pods_of(kube, workload) if readiness.problem(pod) is not None]


def _look(namespace: str, cause: Cause) -> str | None:
    if cause.pod is None:
        return None
    pod = cause.pod["metadata"]["name"]
    if cause.container is None:
        return f"kubectl -n {namespace} describe pod {pod}"
    return f"kubectl -n {namespace} logs {pod} -c {cause.container}"


def _both_ends(text: str) -> str:
    """Return a text as one line of bounded length: it begins with what is concerned, and ends with why."""
    joined = _joined(text)
    half = DETAIL_SHOWN // 2
    return joined if len(joined) <= DETAIL_SHOWN else f"{joined[:half]} … {joined[-half:]}"


def _line(text: str) -> str:
    """Return a text as one line of bounded length; the end of a log says more than its beginning."""
    joined = _joined(text)
    return joined if len(joined) <= SHOWN else f"…{joined[-SHOWN:]}"


def _joined(text: str) -> str:
    return " | ".join(part.strip() for part in text.splitlines() if part.strip())


def answer_cause(status: int, headers: Mapping[str, str], text: str) -> str:
    """Return the likely cause of an unexpected answer of a proxy, by its signature."""
    body = _line(text[:SHOWN])
    server = headers.get("server", "")
    if "envoy" not in server:
        return (
            f"the {status} came from {server or 'a server without a name'}, not from Istio's proxy: {body!r}"
        )
    unavailable = next((meaning for phrase, meaning in PHRASES.items() if phrase in body), "")
    known = {
        401: "an authentication policy wants a token",
        403: "an authorization or Mixer policy denies it",
        404: "no VirtualService leads this host and path anywhere, or it has not reached the gateway",
        429: "a rate limit",
        503: unavailable or "the route's destination has no subset or endpoint of that name",
        504: "a time-out of the route, or of the service behind it",
    }
    return f"{known.get(status, 'the service behind answers so')}; the body: {body!r}"
