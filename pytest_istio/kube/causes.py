"""Why the pods of a workload are not ready, and whether waiting can help."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.readiness import condition, observed, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["Cause", "Causes"]

RESTARTS = 4
"""Restarts after which a crash loop is taken to go on for ever; by then a kubelet has waited for 70 s."""

UNSCHEDULABLE_SECONDS = 15.0
"""How long a pod may have no node although all nodes are ready: taints and volumes need a moment."""

LOG_LINES = 10

ROLLED_OUT = frozenset({"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"})
"""Kinds whose controllers count the versions that they have seen."""

# A registry, or the node, says no; other failures to pull, such as time-outs, may pass.
_REFUSED = re.compile(
    r"not found|manifest unknown|denied|unauthorized|forbidden|does not exist|no such image|no program"
    r"|invalid reference|couldn't parse image|no such host",
    re.IGNORECASE,
)
_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff"})
_UNUSABLE_IMAGE = frozenset({"InvalidImageName", "ErrImageNeverPull"})

# Decided by an admission check that did answer; "failed calling webhook" is one that is still starting.
_DENIED = re.compile(r"denied (the )?request|violates PodSecurity")


@dataclass(frozen=True)
class Cause:
    """Why something is not ready.

    Attributes:
        reason: One word, as Kubernetes has it, such as ``CrashLoopBackOff``.
        detail: What exactly, with the pod and container it happens in.
        hopeless: Whether waiting does not help.
        pod: The pod it happens in, if it is one.
        container: The container of the pod, if it is one.
    """

    reason: str
    detail: str
    hopeless: bool = False
    pod: Object | None = None
    container: str | None = None


class Causes:
    """Remembers pods and replica sets as they change, and tells from them what holds up a workload."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._owned: dict[str, dict[str, Object]] = {}
        self._unschedulable: dict[str, Deadline] = {}
        self._pull_errors: dict[tuple[str, str], str] = {}

    def take(self, obj: Object, *, deleted: bool) -> None:
        """Remember a pod or replica set by its owners, or with `deleted` forget it."""
        uid = obj["metadata"]["uid"]
        for owner in obj["metadata"].get("ownerReferences") or []:
            owned = self._owned.setdefault(owner["uid"], {})
            if deleted:
                owned.pop(uid, None)
            else:
                owned[uid] = obj

    def of(self, workload: Object) -> Cause | None:
        """Return what holds up a workload; a cause that waiting does not help comes first."""
        if _is_outdated(workload):
            return None
        causes = [
            *self._own(workload),
            *(cause for pod in self._pods_of(workload) for cause in self._of_pod(pod)),
        ]
        return next((cause for cause in causes if cause.hopeless), causes[0] if causes else None)

    def explain(self, workload: Object) -> Cause | None:
        """Return what holds up a workload, with the warnings that the cluster recorded about it."""
        cause = self.of(workload)
        if (cause is not None and cause.hopeless) or _is_outdated(workload):
            return cause
        warning = self._warning((cause.pod if cause else None) or workload)
        if warning is None:
            return cause
        if cause is None:
            return Cause(warning[0], warning[1], hopeless=bool(_DENIED.search(warning[1])))
        detail = f"{cause.detail}; {warning[0]}: {warning[1]}"
        return Cause(cause.reason, detail, hopeless=cause.hopeless, pod=cause.pod, container=cause.container)

    def log(self, cause: Cause) -> str:
        """Return the last lines that the container behind a cause has printed, or why there are none."""
        if cause.pod is None or cause.container is None:
            return ""
        metadata = cause.pod["metadata"]
        try:
            text = self._kube.logs(metadata["namespace"], metadata["name"], cause.container, tail=LOG_LINES)
        except KubeError as error:
            return f"(no log: {error})"
        return text.rstrip()

    def _own(self, workload: Object) -> Iterator[Cause]:
        """Give what the workload's controller says in its conditions."""
        refused = condition(workload, "ReplicaFailure")
        if refused and refused["status"] == "True":
            message = refused.get("message", "")
            yield Cause(
                refused.get("reason", "FailedCreate"), message, hopeless=bool(_DENIED.search(message))
            )
        failed = condition(workload, "Failed")
        if workload["kind"] == "Job" and failed and failed["status"] == "True":
            yield Cause(failed.get("reason", "Failed"), failed.get("message", ""), hopeless=True)
        progressing = condition(workload, "Progressing")
        if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
            yield Cause("ProgressDeadlineExceeded", progressing.get("message", ""), hopeless=True)

    def _pods_of(self, workload: Object) -> Iterator[Object]:
        """Give the pods that the workload made from its newest version."""
        if workload["kind"] == "Pod":
            yield workload
        for owned in self._owned.get(_uid(workload), {}).values():
            if owned["kind"] == "Pod" or _revision(owned) == _revision(workload):
                yield from [owned] if owned["kind"] == "Pod" else self._pods_of(owned)

    def _of_pod(self, pod: Object) -> Iterator[Cause]:
        status = pod.get("status", {})
        if problem(pod) is None:
            return
        scheduled = condition(pod, "PodScheduled")
        if scheduled and scheduled["status"] == "False" and scheduled.get("reason") == "Unschedulable":
            yield self._without_node(pod, scheduled.get("message", ""))
        for container in [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]:
            yield from self._of_container(pod, container)

    def _without_node(self, pod: Object, message: str) -> Cause:
        since = self._unschedulable.setdefault(pod["metadata"]["uid"], Deadline(UNSCHEDULABLE_SECONDS))
        detail = f"no node for {_name(pod)}: {message}"
        return Cause("Unschedulable", detail, hopeless=since.expired and self._all_nodes_ready(), pod=pod)

    def _of_container(self, pod: Object, status: Object) -> Iterator[Cause]:
        name, restarts = status["name"], status.get("restartCount", 0)
        state = status.get("state") or {}
        place = f"container {name} of {_name(pod)}"
        waiting = state.get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _PULLING | _UNUSABLE_IMAGE:
            hopeless = reason in _UNUSABLE_IMAGE or self._pull_refused(pod, name, message)
            detail = (
                f"{place}, image {status.get('image')}: {self._pull_errors.get((_uid(pod), name), message)}"
            )
            yield Cause(reason, detail, hopeless=hopeless, pod=pod)
        elif reason == "CrashLoopBackOff" or (restarts and not status.get("ready")):
            last = (status.get("lastState") or {}).get("terminated") or state.get("terminated") or {}
            ended = f"exit code {last.get('exitCode', 'unknown')}"
            detail = f"{place} restarted {restarts} times, last with {ended}"
            hopeless = reason == "CrashLoopBackOff" and restarts >= RESTARTS
            yield Cause("CrashLoopBackOff", detail, hopeless=hopeless, pod=pod, container=name)
        elif reason not in {"", "PodInitializing"}:
            yield Cause(reason, f"{place} {message}".rstrip(), pod=pod)
        elif "running" in state and not status.get("ready") and status.get("started", True):
            yield Cause("NotReady", f"{place} runs, its readiness probe fails", pod=pod, container=name)
        elif "terminated" in state and state["terminated"].get("exitCode"):
            detail = f"{place} ended with exit code {state['terminated']['exitCode']}"
            yield Cause("Error", detail, pod=pod, container=name)

    def _pull_refused(self, pod: Object, container: str, message: str) -> bool:
        """Whether the image is refused; the back-off that follows a refusal may not repeat why."""
        key = _uid(pod), container
        if _REFUSED.search(message):
            self._pull_errors[key] = message
        return key in self._pull_errors

    def _all_nodes_ready(self) -> bool:
        nodes = self._kube.list("v1", "Node")
        ready = [node for node in nodes if (condition(node, "Ready") or {}).get("status") == "True"]
        return len(ready) == len(nodes) > 0

    def _warning(self, obj: Object) -> tuple[str, str] | None:
        """Return reason and message of the newest warning about an object."""
        metadata = obj["metadata"]
        chosen = f"involvedObject.uid={metadata['uid']},type=Warning"
        events = self._kube.list("v1", "Event", metadata.get("namespace") or "default", fields=chosen)
        if not events:
            return None
        newest = max(events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return newest.get("reason", ""), " ".join(newest.get("message", "").split())


def _is_outdated(workload: Object) -> bool:
    """Whether what is known of a workload is about an older version of it."""
    return workload["kind"] in ROLLED_OUT and not observed(workload)


def _revision(obj: Object) -> str:
    return str((obj["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", ""))


def _uid(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def _name(pod: Object) -> str:
    return f"pod {pod['metadata']['name']}"
