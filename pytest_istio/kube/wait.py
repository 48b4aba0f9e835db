"""Waiting for objects, on watches: until they are ready, until they are as wanted, until they are gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_istio.errors import PytestIstioError
from pytest_istio.kube.causes import Causes
from pytest_istio.kube.changes import Changes, Collection
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.errors import KindNotServedError, NotFoundError
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.readiness import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_istio.kube.causes import Cause
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object
    from pytest_istio.kube.watch import Event
    from pytest_istio.progress import Progress

__all__ = ["NotReadyError", "Trouble", "wait_for", "wait_gone", "wait_ready"]

LOOK_SECONDS = 2.0
"""How often it is looked for what holds up the objects that are not ready, and said."""

GRACE_SECONDS = 30.0
"""How long the others may stand still once one object is beyond hope."""

TOLD = 3
"""Objects named one by one while waiting."""

LISTED = 15
"""Objects named in the text of an error; its `troubles` has all."""

WITH_PODS = frozenset({"DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "StatefulSet"})


@dataclass(frozen=True)
class Trouble:
    """An object that is not ready.

    Attributes:
        ref: The object.
        reason: One word, as Kubernetes has it, such as ``CrashLoopBackOff``.
        detail: What exactly, and where.
        logs: The last lines of the container that it is about; empty where there is none.
    """

    ref: Ref
    reason: str
    detail: str
    logs: str = ""

    def __str__(self) -> str:
        lines = [f"{self.ref}: {self.reason}: {self.detail}" if self.detail else f"{self.ref}: {self.reason}"]
        return "\n".join([*lines, *(f"    | {line}" for line in self.logs.splitlines())])


class NotReadyError(PytestIstioError):
    """Objects did not become what was waited for.

    Attributes:
        troubles: Each of those objects, with the reason.
    """

    def __init__(self, message: str, troubles: Sequence[Trouble]) -> None:
        super().__init__(message)
        self.troubles = tuple(troubles)


def wait_ready(kube: Kube, refs: Iterable[Ref], *, timeout: float, progress: Progress) -> None:
    """Return once all objects are ready, as `pytest_istio.kube.readiness` judges them.

    Args:
        kube: The API server.
        refs: The objects; they may not exist yet.
        timeout: Seconds.
        progress: Is told every few seconds what is still awaited, and why.

    Raises:
        NotReadyError: Time is up; or what is not ready does not recover: an image is refused, a container
            crashes again and again, a pod fits on no node although all are ready, an admission webhook denies
            the pods, a job has failed. The other objects are waited for as long as they get on.
        KubeError: The cluster cannot be watched.
    """
    deadline = Deadline(timeout)
    waiting = _Waiting(kube, refs)
    with Changes(kube, waiting.collections(), deadline=deadline) as changes:
        still, look = Deadline(GRACE_SECONDS), Deadline(LOOK_SECONDS)
        while waiting.pending() and not deadline.expired and not (waiting.hopeless and still.expired):
            change = changes.next(deadline.bound(look.remaining()))
            if change is not None and waiting.take(*change):
                still = Deadline(GRACE_SECONDS)
            if look.expired:
                progress.waiting(waiting.review())
                look = Deadline(LOOK_SECONDS)
    if waiting.problems:
        raise waiting.error(deadline.elapsed())


def wait_for(  # noqa: PLR0917  # names the object as `Kube.get` does
    kube: Kube,
    api_version: str,
    kind: str,
    name: str,
    namespace: str | None,
    condition: Callable[[Object | None], str | None],
    *,
    timeout: float,
    progress: Progress,
) -> Object:
    """Return an object once it is as wanted.

    Args:
        kube: The API server.
        api_version: Such as ``v1``.
        kind: Such as ``Service``.
        name: The object's name.
        namespace: None for what belongs to the whole cluster.
        condition: Is given the object, or None while there is none, and says what is still wanting; None when
            nothing is. Where it accepts that there is no object, an empty one is returned.
        timeout: Seconds.
        progress: Is told what is still wanting.

    Raises:
        NotReadyError: Time is up.
        KubeError: The cluster cannot be watched.
    """
    ref = Ref(api_version, kind, namespace, name)
    deadline = Deadline(timeout)
    obj: Object | None = None
    wanting: str | None = "not seen yet"
    chosen = f"metadata.name={name}"
    for event in kube.follow(api_version, kind, namespace, fields=chosen, deadline=deadline):
        if event.type != "SYNCED":
            obj = None if event.type == "DELETED" else event.object
        wanting = condition(obj)
        if wanting is None:
            return obj or {}
        progress.waiting(f"{ref}: {wanting}")
    trouble = Trouble(ref, "NotAsWanted" if obj else "Missing", wanting or "")
    raise NotReadyError(f"After {deadline.elapsed():.0f} s: {trouble}. {_next_command(ref)}", [trouble])


def wait_gone(kube: Kube, refs: Iterable[Ref], *, timeout: float, progress: Progress) -> None:
    """Return once none of the objects exists.

    Args:
        kube: The API server.
        refs: The objects; a kind that is not served any more has none.
        timeout: Seconds.
        progress: Is told what is still there.

    Raises:
        NotReadyError: Time is up.
        KubeError: The cluster cannot be watched.
    """
    deadline = Deadline(timeout)
    groups: dict[Collection, set[str]] = {}
    for ref in refs:
        groups.setdefault(_collection(ref), set()).add(ref.name)
    # One after the other: what is gone stays gone, so that the last one decides in any order.
    left = {
        collection: _left(kube, collection, names, deadline, progress) for collection, names in groups.items()
    }
    troubles = [
        Trouble(Ref(place.api_version, place.kind, place.namespace, name), "StillThere", why)
        for place, found in left.items()
        for name, why in found.items()
    ]
    if troubles:
        raise NotReadyError(_message("still there", troubles, len(troubles), deadline.elapsed()), troubles)


def _left(
    kube: Kube, collection: Collection, names: set[str], deadline: Deadline, progress: Progress
) -> dict[str, str]:
    """Wait until the named objects are gone, and return those that are not, with what keeps them."""
    place = collection.api_version, collection.kind, collection.namespace
    try:
        found = kube.list(*place)
    except (KindNotServedError, NotFoundError):
        return {}
    there = {_name(obj): _kept_by(obj) for obj in found if _name(obj) in names}
    if not there:
        return {}
    now: dict[str, str] = {}
    synced = False
    for event in kube.follow(*place, deadline=deadline):
        if event.type == "SYNCED":
            synced = True
        elif event.type == "DELETED":
            now.pop(_name(event.object), None)
        elif _name(event.object) in names:
            now[_name(event.object)] = _kept_by(event.object)
        if not synced:
            continue
        there = now
        if not there:
            break
        progress.waiting(f"{len(there)} {collection.kind} to be gone: {', '.join(sorted(there)[:TOLD])}")
    return there


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def _kept_by(obj: Object) -> str:
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata:
        return "is not being deleted"
    finalizers = metadata.get("finalizers") or obj.get("spec", {}).get("finalizers") or []
    conditions = [item for item in obj.get("status", {}).get("conditions") or [] if item["status"] == "True"]
    texts = [item["message"] for item in conditions if item.get("message")]
    return "; ".join([f"finalizers {', '.join(finalizers)}" if finalizers else "is being deleted", *texts])


class _Waiting:
    """What is known of the objects that are awaited."""

    def __init__(self, kube: Kube, refs: Iterable[Ref]) -> None:
        self.problems: dict[Ref, str] = dict.fromkeys(refs, "not seen yet")
        self.hopeless: set[Ref] = set()
        self._total = len(self.problems)
        self._objects: dict[Ref, Object] = {}
        self._causes = Causes(kube)
        self._refs = {(_collection(ref), ref.name): ref for ref in self.problems}

    def collections(self) -> set[Collection]:
        """Return what has to be watched: the objects, and the pods behind them."""
        own = {collection for collection, _ in self._refs}
        with_pods = {item.namespace for item in own if item.kind in WITH_PODS}
        with_sets = {item.namespace for item in own if item.kind == "Deployment"}
        return {
            *own,
            *(Collection("v1", "Pod", namespace) for namespace in with_pods),
            *(Collection("apps/v1", "ReplicaSet", namespace) for namespace in with_sets),
        }

    def pending(self) -> list[Ref]:
        """Return what is neither ready nor beyond hope."""
        return [ref for ref in self.problems if ref not in self.hopeless]

    def take(self, collection: Collection, event: Event) -> bool:
        """Take in what happened, and return whether an awaited object got on."""
        if event.type == "SYNCED":
            for awaited in self.problems.keys() - self._objects.keys():
                if _collection(awaited) == collection:
                    self.problems[awaited] = "does not exist"
            return False
        deleted = event.type == "DELETED"
        if collection.kind in {"Pod", "ReplicaSet"}:
            self._causes.take(event.object, deleted=deleted)
        ref = self._refs.get((collection, event.object["metadata"]["name"]))
        if ref is None:
            return False
        before = self.problems.pop(ref, None)
        if deleted:
            self._objects.pop(ref, None)
            now: str | None = "does not exist"
        else:
            self._objects[ref] = event.object
            now = problem(event.object)
        if now is None:
            self.hopeless.discard(ref)
        else:
            self.problems[ref] = now
        return now != before

    def review(self) -> str:
        """Find out what is beyond hope, and return in words what is awaited and why."""
        for ref in self.problems:
            cause = self._causes.of(self._objects[ref]) if ref in self._objects else None
            if cause is not None and cause.hopeless:
                self.hopeless.add(ref)
            else:
                self.hopeless.discard(ref)
        texts = []
        for ref in self.pending()[:TOLD]:
            trouble, cause = self._trouble(ref)
            if cause is not None and cause.hopeless:
                self.hopeless.add(ref)
            texts.append(str(trouble))
        more = len(self.problems) - len(texts)
        ready = self._total - len(self.problems)
        return "; ".join([f"{ready} of {self._total} ready", *texts, *([f"and {more} more"] if more else [])])

    def error(self, seconds: float) -> NotReadyError:
        """Return the error that says what is not ready and why, with the last lines of the logs."""
        troubles = []
        for ref in self.problems:
            trouble, cause = self._trouble(ref)
            troubles.append(replace(trouble, logs=self._causes.log(cause)) if cause else trouble)
        return NotReadyError(_message("not ready", troubles, self._total, seconds), troubles)

    def _trouble(self, ref: Ref) -> tuple[Trouble, Cause | None]:
        problem_text, obj = self.problems[ref], self._objects.get(ref)
        if obj is None:
            return Trouble(ref, "Missing", problem_text), None
        cause = self._causes.explain(obj)
        if cause is None:
            return Trouble(ref, "NotReady", problem_text), None
        return Trouble(ref, cause.reason, f"{problem_text}; {cause.detail}"), cause


def _collection(ref: Ref) -> Collection:
    return Collection(ref.api_version, ref.kind, ref.namespace)


def _message(what: str, troubles: Sequence[Trouble], total: int, seconds: float) -> str:
    lines = [f"{len(troubles)} of {total} objects {what} after {seconds:.0f} s:"]
    lines += [f"  {trouble}" for trouble in troubles[:LISTED]]
    if len(troubles) > LISTED:
        lines.append(f"  and {len(troubles) - LISTED} more")
    return "\n".join([*lines, _next_command(troubles[0].ref)])


def _next_command(ref: Ref) -> str:
    place = f"-n {ref.namespace} " if ref.namespace else ""
    return f"See `kubectl {place}describe {ref.kind.lower()} {ref.name}`."
