"""What a run and the Istio that it installed have made on a cluster; and taking it away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding
from pytest_istio.istio.mesh import RUN_LABEL
from pytest_istio.istio.preflight import NAMED
from pytest_istio.kube.apply import delete
from pytest_istio.kube.errors import KindNotServedError, KubeError
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_istio.istio.catalog import Release
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress
    from pytest_istio.timeouts import Timeouts

__all__ = ["made_by", "remove"]

CONTROLLERS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod")
WORKLOAD_SECRET = "istio.io/key-and-cert"  # noqa: S105  (the type of one, not a secret)
WEBHOOK = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
CONCURRENCY = 16
# Kinds that are not stored, and custom resources whose definition goes away meanwhile.
NOT_LISTED = {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_FOUND}


def made_by(kube: Kube, run: str) -> list[Ref]:
    """Return everything on the cluster that bears the label of a run."""
    aggregated = _aggregated(kube)
    kinds = [kind for kind in sorted(kube.served()) if kind[0] not in aggregated]
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="leftovers") as pool:
        found = pool.map(lambda kind: _labelled(kube, kind, run), kinds)
        # An object is shown once in each version of its API.
        objects = {each["metadata"]["uid"]: each for part in found for each in part}
    return [Ref.of(each) for each in objects.values()]


def remove(
    kube: Kube, run: str, release: Release | None, *, since: str, timeouts: Timeouts, progress: Progress
) -> None:
    """Take away what a run and its Istio have made, in every namespace, and wait until it is gone.

    What Istio has made bears no label, and goes first: where nothing with the run's label is left, somebody
    has taken away the rest already, and such objects are another Istio's.

    Args:
        kube: The cluster.
        run: The run's name.
        release: The Istio that it installed; None where it tested one that was there.
        since: When it began, by the API server's clock; what Istio has made since then is the run's.
        timeouts: The bounds on waiting.
        progress: Is told what is still there.

    Raises:
        KubeError: A deletion is refused.
        NotReadyError: Something is still there when time is up.
        ClusterError: Something has come back meanwhile.
    """
    found = made_by(kube, run)
    # First who makes things: as long as they run, they make again what is deleted.
    workloads = [ref for ref in found if ref.kind in CONTROLLERS]
    pods = _pods_in(kube, {ref.namespace for ref in workloads}, found)
    delete(kube, workloads, timeouts=timeouts, progress=progress)
    wait_gone(kube, pods, timeout=timeouts.namespace_gone, progress=progress)
    if not found:
        release = None
    delete(kube, _made_by_istio(kube, release, since), timeouts=timeouts, progress=progress)
    rest = [ref for ref in found if ref.kind not in CONTROLLERS]
    delete(kube, rest, timeouts=timeouts, progress=progress)
    left = [str(ref) for ref in (*made_by(kube, run), *_made_by_istio(kube, release, since))]
    if left:
        raise ClusterError(
            finding(
                f"what {run} has made",
                expected="nothing of it on the cluster any more",
                seen=f"{len(left)} objects: {', '.join(left[:NAMED])}{', …' if left[NAMED:] else ''}",
                cause="somebody makes again what is deleted, such as a controller of another installation",
                look="finish it with: pytest-istio cleanup --context NAME",
            )
        )


def _pods_in(kube: Kube, namespaces: Iterable[str | None], found: Iterable[Ref]) -> list[Ref]:
    """Return the pods in those of the namespaces that the run made, where all are its own."""
    made = {ref.name for ref in found if ref.kind == "Namespace"}
    return [Ref.of(pod) for name in made.intersection(namespaces) for pod in kube.list("v1", "Pod", name)]


def _aggregated(kube: Kube) -> set[str]:
    """Return the API versions that other servers answer for.

    A run makes nothing there. Their objects can bear its label, as a pod's metrics bear the pod's labels, and
    one that does not answer would keep all else from being taken away.
    """
    try:
        services = kube.list("apiregistration.k8s.io/v1", "APIService")
    except KindNotServedError:
        return set()
    return {
        f"{each['spec']['group']}/{each['spec']['version']}"
        for each in services
        if each["spec"].get("service")
    }


def _labelled(kube: Kube, kind: tuple[str, str], run: str) -> list[Object]:
    try:
        return kube.list(*kind, labels=f"{RUN_LABEL}={run}")
    except KubeError as error:
        if error.status in NOT_LISTED:
            return []
        raise


def _made_by_istio(kube: Kube, release: Release | None, since: str) -> list[Ref]:
    if release is None:
        return []
    named = [(*WEBHOOK, release.validation_webhook), *((*CRD, name) for name in release.runtime_crds)]
    objects: Iterable[Object | None] = [kube.find(*each) for each in named]
    secrets = kube.list("v1", "Secret", fields=f"type={WORKLOAD_SECRET}") if release.workload_secret else []
    return [
        Ref.of(each)
        for each in [*objects, *secrets]
        if each is not None and each["metadata"]["creationTimestamp"] >= since
    ]
