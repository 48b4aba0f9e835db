"""Bringing objects into a cluster, and taking them out again."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from http import HTTPStatus
from threading import Event
from typing import TYPE_CHECKING

import tenacity

from pytest_istio.kube.discovery import defined_among
from pytest_istio.kube.errors import (
    KindNotServedError,
    KubeError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
)
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, wait_gone, wait_ready

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from typing_extensions import Self

    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress
    from pytest_istio.timeouts import Timeouts

__all__ = ["WORKLOADS", "Applied", "apply", "delete"]

CONCURRENCY = 8
"""Requests side by side; more only queue up in the API server."""

WORKLOADS = frozenset({"CronJob", "DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "StatefulSet"})
"""Kinds that make pods, which want ConfigMaps, Secrets and ServiceAccounts to be there."""

WEBHOOKS = frozenset({"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"})
"""Kinds that can stop the others from being applied until the servers behind them run."""

FIRST = frozenset({"CustomResourceDefinition", "Namespace"})

# Meanwhile changed by somebody, throttled, overloaded, or a webhook that does not answer yet.
PASSING = frozenset({409, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Applied:
    """What came of applying objects, in the order in which they were given."""

    created: tuple[Ref, ...]
    changed: tuple[Ref, ...]
    unchanged: tuple[Ref, ...]


def apply(
    kube: Kube,
    objects: Iterable[Object],
    *,
    manager: str,
    labels: Mapping[str, str],
    timeouts: Timeouts,
    progress: Progress,
) -> Applied:
    """Bring objects into the cluster by server-side apply; a second time nothing changes.

    Namespaces come first, then CustomResourceDefinitions, and custom resources once theirs are established;
    all others beside them, and admission webhooks last. Definitions without custom resources among the
    objects are accepted on return, and established a moment later: `wait_ready` awaits them. An object that
    is just being deleted is waited for and made anew. An empty ``caBundle`` of a webhook is left out, since
    its owner fills it in at run time.

    Args:
        kube: The API server.
        objects: What is wanted, in API versions that the server has; without a namespace, in ``default``.
        manager: The name under which the fields are owned; fields of other managers are taken over.
        labels: Put on each object.
        timeouts: The bounds; all is to be accepted within ``crd_established``.
        progress: Is told what is awaited.

    Raises:
        ManifestError: What is given as a CustomResourceDefinition has not the shape of one.
        KubeError: An object is refused, or fails again and again.
        NotReadyError: The CustomResourceDefinition of a custom resource does not become established.
    """
    with _Applying(kube, manager, timeouts, progress) as applying:
        return applying.run(_prepared(kube, list(objects), labels))


def delete(kube: Kube, refs: Iterable[Ref], *, timeouts: Timeouts, progress: Progress) -> None:
    """Delete objects, webhooks first and what the others live in last, and return when all are gone.

    One that is refused keeps no other from being deleted.

    Args:
        kube: The API server.
        refs: The objects.
        timeouts: The bounds; all are to be gone within ``namespace_gone``.
        progress: Is told what is still there.

    Raises:
        KubeError: Deletions are refused; all others were carried out.
        NotReadyError: Some are still there when time is up.
    """
    given = list(refs)
    webhooks = [ref for ref in given if ref.kind in WEBHOOKS]
    last = [ref for ref in given if ref.kind in FIRST]
    others = [ref for ref in given if ref.kind not in WEBHOOKS | FIRST]
    refused: dict[Ref, KubeError] = {}
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="delete") as pool:
        for group in (webhooks, others, last):
            answers = pool.map(lambda ref: _refusal(kube, ref), group)
            refused |= {ref: error for ref, error in zip(group, answers, strict=True) if error}
    said = [str(error) for error in refused.values()]
    try:
        accepted = [ref for ref in given if ref not in refused]
        wait_gone(kube, accepted, timeout=timeouts.namespace_gone, progress=progress)
    except NotReadyError as error:
        if not refused:
            raise
        said.append(str(error))
    if refused:
        first = next(iter(refused.values()))
        raise KubeError("\n".join(said), status=first.status, reason=first.reason, path=first.path) from first


def _refusal(kube: Kube, ref: Ref) -> KubeError | None:
    """Delete an object, or return why that is refused; where nobody answers, it is for all the same."""
    try:
        kube.delete(ref.api_version, ref.kind, ref.name, ref.namespace)
    except KindNotServedError:
        return None
    except (UnauthorizedError, UnreachableError):
        raise
    except KubeError as error:
        return error
    return None


class _Applying:
    """One run of `apply`; leaving the context ends retries that are still going on."""

    def __init__(self, kube: Kube, manager: str, timeouts: Timeouts, progress: Progress) -> None:
        self._kube = kube
        self._manager = manager
        self._timeouts = timeouts
        self._progress = progress
        self._pool = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="apply")
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="apply natives")
        self._sent: list[Future[None]] = []
        self._stored: dict[Ref, Object] = {}
        self._ended = Event()
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
            stop=tenacity.stop_any(
                tenacity.stop_after_delay(timeouts.crd_established), tenacity.stop_when_event_set(self._ended)
            ),
            sleep=tenacity.sleep_using_event(self._ended),
            reraise=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        for pool in (self._pool, self._beside):
            pool.shutdown(wait=kind is None, cancel_futures=True)
        if kind is not None:
            # After a failure or Ctrl-C all may be taken away at once, and nothing is to arrive later than
            # that; but nobody waits for requests that hang.
            wait([each for each in self._sent if not each.cancelled()], timeout=self._timeouts.request)

    def run(self, objects: Sequence[Object]) -> Applied:
        """Apply the objects in the right order, and say what came of each."""
        crds = [obj for obj in objects if obj["kind"] == "CustomResourceDefinition"]
        defined = defined_among(crds)
        stages: dict[str, list[Object]] = {}
        for obj in objects:
            is_custom = (obj["apiVersion"], obj["kind"]) in defined
            stages.setdefault("custom" if is_custom else _stage(obj["kind"]), []).append(obj)
        before = self._existing(objects)

        self._progress.waiting(f"{len(objects)} objects to be accepted by the API server")
        self._bring(stages.get("Namespace", ()))
        awaited, others = _parted_by_use(crds, stages.get("custom", ()))
        # The server establishes them one after the other, in this order.
        defining = self._start([*awaited, *others])
        natives = self._beside.submit(self._bring_natives, stages)
        self._finish(defining)
        for crd in crds:
            self._kube.learn(crd)
        self._await_established(awaited)
        self._bring(stages.get("custom", ()))
        natives.result()
        self._bring(stages.get("webhook", ()))
        return self._compared(objects, before)

    def _bring_natives(self, stages: Mapping[str, Sequence[Object]]) -> None:
        self._bring(stages.get("other", ()))
        self._bring(stages.get("workload", ()))

    def _await_established(self, crds: Sequence[Object]) -> None:
        refs = [Ref.of(crd) for crd in crds]
        wait_ready(self._kube, refs, timeout=self._timeouts.crd_established, progress=self._progress)

    def _bring(self, objects: Iterable[Object]) -> None:
        self._finish(self._start(objects))

    def _start(self, objects: Iterable[Object]) -> list[Future[None]]:
        started = [self._pool.submit(self._apply, obj) for obj in objects]
        self._sent += started
        return started

    def _finish(self, started: Iterable[Future[None]]) -> None:
        for future in started:
            future.result()

    def _apply(self, obj: Object) -> None:
        ref = Ref.of(obj)
        stored = self._retrying(self._send, obj)
        if "deletionTimestamp" in stored["metadata"]:
            wait_gone(self._kube, [ref], timeout=self._timeouts.namespace_gone, progress=self._progress)
            stored = self._retrying(self._send, obj)
        self._stored[ref] = stored

    def _send(self, obj: Object) -> Object:
        if self._ended.is_set():
            raise CancelledError
        return self._kube.apply(obj, manager=self._manager)

    def _existing(self, objects: Iterable[Object]) -> dict[Ref, Object]:
        """Return those of the objects that exist, and others of their kinds."""
        served = self._kube.served()
        places = {(obj["apiVersion"], obj["kind"], obj["metadata"].get("namespace")) for obj in objects}
        known = [place for place in places if place[:2] in served]
        found = self._pool.map(lambda place: self._kube.list(*place), known)
        return {Ref.of(obj): obj for items in found for obj in items}

    def _compared(self, objects: Sequence[Object], before: Mapping[Ref, Object]) -> Applied:
        refs = [Ref.of(obj) for obj in objects]
        created = [ref for ref in refs if ref not in before]
        changed = [
            ref
            for ref, obj in zip(refs, objects, strict=True)
            if ref in before and self._is_changed(obj, before[ref], self._stored[ref])
        ]
        unchanged = [ref for ref in refs if ref not in {*created, *changed}]
        return Applied(tuple(created), tuple(changed), tuple(unchanged))

    def _is_changed(self, given: Object, before: Object, after: Object) -> bool:
        """Whether applying changed an object; what its controller writes meanwhile does not count."""
        if before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]:
            return False
        said = given.keys() - {"metadata", "status"}
        return self._owned(before) != self._owned(after) or any(
            before.get(key) != after.get(key) for key in said
        )

    def _owned(self, obj: Object) -> list[Object]:
        """Return which fields this manager owns, and since when."""
        entries = obj["metadata"].get("managedFields") or []
        return [
            entry for entry in entries if (entry["manager"], entry["operation"]) == (self._manager, "Apply")
        ]


def _stage(kind: str) -> str:
    if kind in FIRST:
        return kind
    if kind in WEBHOOKS:
        return "webhook"
    return "workload" if kind in WORKLOADS else "other"


def _parted_by_use(crds: Iterable[Object], custom: Iterable[Object]) -> tuple[list[Object], list[Object]]:
    """Return the definitions for which custom resources wait, and the others."""
    kinds = {(obj["apiVersion"], obj["kind"]) for obj in custom}
    parts: tuple[list[Object], list[Object]] = ([], [])
    for crd in crds:
        used = not kinds.isdisjoint(defined_among([crd]))
        parts[0 if used else 1].append(crd)
    return parts


def _may_pass(error: BaseException) -> bool:
    if not isinstance(error, KubeError):
        return False
    # The path of a custom resource answers a moment after its CRD is established; such an answer names
    # nothing, while a namespace that is missing is named, and stays missing.
    path_missing = isinstance(error, NotFoundError) and "name" not in error.details.get("details", {})
    # A node port whose Service is being deleted, or was about to be stored by a try that broke off.
    port_held = error.status == HTTPStatus.UNPROCESSABLE_ENTITY and "already allocated" in str(error)
    return path_missing or port_held or error.status in PASSING


def _prepared(kube: Kube, objects: Sequence[Object], labels: Mapping[str, str]) -> list[Object]:
    """Return the objects as they are to be sent: labelled, in a namespace, without what they must not say."""
    defined = defined_among(objects)
    prepared = []
    for obj in objects:
        kind = obj["apiVersion"], obj["kind"]
        namespaced = (defined.get(kind) or kube.resource(*kind)).namespaced
        metadata = {**obj["metadata"], "labels": {**(obj["metadata"].get("labels") or {}), **labels}}
        namespace = metadata.pop("namespace", None)
        for key in ("annotations", "labels"):
            # The server does not keep an empty one, and would find a change each time that it is applied.
            if not metadata.get(key):
                metadata.pop(key, None)
        if namespaced:
            metadata["namespace"] = namespace or "default"
        said = {key: value for key, value in obj.items() if value is not None}
        if obj["kind"] in WEBHOOKS:
            said["webhooks"] = [_without_empty_bundle(webhook) for webhook in obj.get("webhooks") or []]
        prepared.append({**said, "metadata": metadata})
    return prepared


def _without_empty_bundle(webhook: Object) -> Object:
    config = {key: value for key, value in webhook["clientConfig"].items() if value != ""}
    return {**webhook, "clientConfig": config}
