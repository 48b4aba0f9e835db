"""What a run and the Istio that it installed have made on a cluster; and taking it away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding, one_line
from pytest_istio.istio.mesh import RUN_LABEL
from pytest_istio.istio.preflight import NAMED
from pytest_istio.kube.apply import WEBHOOKS, delete
from pytest_istio.kube.errors import KindNotServedError, KubeError, UnauthorizedError, UnreachableError
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_istio.istio.catalog import Release
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress
    from pytest_istio.timeouts import Timeouts

__all__ = ["Made", "made_by", "remove"]

CONTROLLERS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod")
WORKLOAD_SECRET = "istio.io/key-and-cert"  # noqa: S105  (the type of one, not a secret)
WEBHOOK = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
GATEWAY_CLASS = ("gateway.networking.k8s.io/v1", "GatewayClass")
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
ISTIO = ".istio.io"
KUBERNETES = ".k8s.io"
CONCURRENCY = 16
# Kinds that are not stored, and custom resources whose definition goes away meanwhile.
NOT_LISTED = {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_FOUND}


@dataclass(frozen=True)
class Made:
    """What bears a run's label.

    Attributes:
        refs: The objects.
        unlisted: Kinds whose objects the API server lists in no version, and why; by group and kind.
    """

    refs: tuple[Ref, ...]
    unlisted: Mapping[tuple[str, str], KubeError]


def made_by(kube: Kube, run: str) -> Made:
    """Return everything on the cluster that bears the label of a run, as far as it can be listed.

    Raises:
        UnreachableError: The API server does not answer.
        UnauthorizedError: It does not know the user.
    """
    aggregated = _aggregated(kube)
    kinds = [kind for kind in sorted(kube.served()) if kind[0] not in aggregated]
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="leftovers") as pool:
        answers = list(pool.map(lambda kind: _labelled(kube, kind, run), kinds))
    objects: dict[str, Object] = {}
    failed: dict[tuple[str, str], KubeError] = {}
    listed = set()
    for (api_version, kind), answer in zip(kinds, answers, strict=True):
        name = api_version.rpartition("/")[0], kind
        if isinstance(answer, KubeError):
            failed[name] = answer
        else:
            listed.add(name)
            # An object is shown once in each version of its API. What has no UID is not stored.
            objects |= {each["metadata"]["uid"]: each for each in answer if "uid" in each["metadata"]}
    unlisted = {name: error for name, error in failed.items() if name not in listed}
    return Made(tuple(Ref.of(each) for each in objects.values()), unlisted)


def remove(
    kube: Kube,
    run: str,
    release: Release | None,
    *,
    since: str,
    timeouts: Timeouts,
    progress: Progress,
    finish: str,
) -> None:
    """Take away what a run and its Istio have made, in every namespace, and wait until it is gone.

    What cannot be taken away keeps nothing else from it. Webhooks go first: nothing is to be refused because
    their servers go away. What Istio has made bears no label, and goes last; where nothing with the run's
    label is left, and an Istio is there, such objects are that Istio's.

    Args:
        kube: The cluster.
        run: The run's name.
        release: The Istio that it installed; None where it tested one that was there.
        since: When it began, by the API server's clock; what Istio has made since then is the run's.
        timeouts: The bounds on waiting.
        progress: Is told what is still there.
        finish: The command by which a person finishes what failed.

    Raises:
        ClusterError: Something is left, or nobody can say whether; the message names it, and why.
        UnreachableError: The API server does not answer any more.
        UnauthorizedError: It does not know the user any more.
    """
    found = made_by(kube, run).refs
    problems: list[KubeError | NotReadyError] = []
    if not found and release and _other_istio(kube, release):
        release = None
    istios = partial(_made_by_istio, kube, release, since)
    away = partial(delete, kube, timeouts=timeouts, progress=progress)
    with _going_on(problems):
        away(ref for ref in found if ref.kind in WEBHOOKS)
    with _going_on(problems):
        away(ref for ref in istios() if ref.kind in WEBHOOKS)
    # Then who makes things: as long as they run, they make again what is deleted, webhooks too.
    with _going_on(problems):
        workloads = [ref for ref in found if ref.kind in CONTROLLERS]
        pods = _pods_in(kube, {ref.namespace for ref in workloads}, found)
        away(workloads)
        wait_gone(kube, pods, timeout=timeouts.namespace_gone, progress=progress)
    if any(isinstance(each, NotReadyError) for each in problems):
        # Namespaces wait for such pods in vain; all else needs no longer than this.
        hasty = replace(timeouts, namespace_gone=min(timeouts.namespace_gone, timeouts.crd_established))
        away = partial(delete, kube, timeouts=hasty, progress=progress)
    with _going_on(problems):
        away(ref for ref in found if ref.kind not in CONTROLLERS)
    # On a node that does not answer, Istio's programs go on until they have lost their roles.
    with _going_on(problems):
        away(istios())

    after = made_by(kube, run)
    left, hidden = [*after.refs], _hidden(after, progress)
    try:
        left += istios()
    except KubeError as error:
        hidden.append(one_line(str(error)))
    if left or hidden:
        raise ClusterError(_what_is_left(run, left, hidden, [*map(_told, problems)], finish))


@contextmanager
def _going_on(problems: list[KubeError | NotReadyError]) -> Iterator[None]:
    """Take down what goes wrong inside; without a server, or as nobody, nothing more can be done."""
    try:
        yield
    except (UnauthorizedError, UnreachableError):
        raise
    except (KubeError, NotReadyError) as error:
        problems.append(error)


def _hidden(made: Made, progress: Progress) -> list[str]:
    """Return why there may be objects of the run that are not seen, and tell where there are none for sure.

    A run makes objects of Kubernetes' kinds and of Istio's, so that those of others need not be seen.
    """
    problems = []
    for (group, kind), error in made.unlisted.items():
        text = f"{kind}{f' in {group}' if group else ''} cannot be listed: {one_line(str(error))}"
        if "." not in group or f".{group}".endswith((ISTIO, KUBERNETES)):
            problems.append(text)
        else:
            progress.note(f"{text} Nothing of the run is left there, since it makes no such objects.")
    return problems


def _told(error: KubeError | NotReadyError) -> str:
    if isinstance(error, KubeError):
        return one_line(str(error))
    # What keeps an object can be conditions without a word.
    kept = [f"{each.ref}: still there: {each.detail.rstrip('; ')}" for each in error.troubles]
    return "; ".join([*kept[:NAMED], *(["…"] if kept[NAMED:] else [])])


def _what_is_left(
    run: str, left: Sequence[Ref], hidden: Sequence[str], problems: Sequence[str], finish: str
) -> str:
    names = ", ".join(map(str, left[:NAMED])) + (", …" if left[NAMED:] else "")
    seen = [f"{len(left)} objects: {names}"] if left else []
    again = "somebody makes again what is deleted, such as a controller of another installation"
    unlisted = "the user may not list everything, or a server that converts objects is down"
    return finding(
        f"what {run} has made",
        expected="nothing of it on the cluster any more",
        seen="; ".join([*seen, *hidden[:NAMED]]),
        cause="; ".join(problems[:NAMED]) or (again if left else unlisted),
        look=f"finish it with: {finish}",
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
    services = _listed(kube, ("apiregistration.k8s.io/v1", "APIService"))
    if isinstance(services, KubeError):
        return set()
    return {
        f"{each['spec']['group']}/{each['spec']['version']}"
        for each in services
        if each["spec"].get("service")
    }


def _labelled(kube: Kube, kind: tuple[str, str], run: str) -> list[Object] | KubeError:
    return _listed(kube, kind, labels=f"{RUN_LABEL}={run}")


def _listed(kube: Kube, kind: tuple[str, str], *, labels: str | None = None) -> list[Object] | KubeError:
    """Return the objects of a kind, or why they are not listed, such as by a webhook that converts no more.

    Raises:
        UnreachableError: The API server does not answer anything.
        UnauthorizedError: It does not know the user.
    """
    try:
        return kube.list(*kind, labels=labels)
    except KindNotServedError:
        return []
    except UnauthorizedError:
        raise
    except UnreachableError as error:
        # The server may only wait for another one in vain.
        if not kube.ready():
            raise
        return error
    except KubeError as error:
        return [] if error.status in NOT_LISTED else error


def _other_istio(kube: Kube, release: Release) -> bool:
    """Return whether an Istio is defined on the cluster; what the run's has itself defined does not count."""
    crds = _listed(kube, CRD)
    if isinstance(crds, KubeError):
        return True
    names = {each["metadata"]["name"] for each in crds} - {*release.runtime_crds}
    return any(name.endswith(ISTIO) for name in names)


def _made_by_istio(kube: Kube, release: Release | None, since: str) -> list[Ref]:
    if release is None:
        return []
    named = [(*WEBHOOK, release.validation_webhook), *((*CRD, name) for name in release.runtime_crds)]
    objects: Iterable[Object | None] = [kube.find(*each) for each in named]
    secrets = kube.list("v1", "Secret", fields=f"type={WORKLOAD_SECRET}") if release.workload_secret else []
    config_maps = [
        each
        for name in release.namespace_config_maps
        for each in kube.list("v1", "ConfigMap", fields=f"metadata.name={name}")
    ]
    classes = _listed(kube, GATEWAY_CLASS) if release.gateway_classes else []
    if isinstance(classes, KubeError):
        raise classes
    classes = [each for each in classes if each["metadata"]["name"] in release.gateway_classes]
    return [
        Ref.of(each)
        for each in [*objects, *secrets, *config_maps, *classes]
        if each is not None and each["metadata"]["creationTimestamp"] >= since
    ]
