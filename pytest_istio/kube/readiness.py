"""Whether an object is ready, and if not, why not; judged from the object alone.

The rules for workloads are those of ``kubectl rollout status``. A status field that is missing counts as 0,
as it does for the controllers, which leave zeros out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.kube.objects import Object

__all__ = ["condition", "observed", "problem"]


def problem(obj: Object) -> str | None:
    """Return why an object is not ready, or None when it is; a kind that knows no readiness always is."""
    judge = _JUDGES.get(obj["kind"])
    return judge(obj) if judge else None


def condition(obj: Object, kind: str) -> Object | None:
    """Return the status condition of that type, or None where there is none.

    A new CustomResourceDefinition has ``conditions: null``.
    """
    conditions: list[Object] = obj.get("status", {}).get("conditions") or []
    return next((item for item in conditions if item["type"] == kind), None)


def observed(obj: Object) -> bool:
    """Return whether the status is about the newest version."""
    seen: int = obj.get("status", {}).get("observedGeneration", 0)
    return seen >= int(obj["metadata"].get("generation", 0))


def _deployment(obj: Object) -> str | None:
    status, wanted = obj.get("status", {}), obj["spec"].get("replicas", 1)
    if not observed(obj):
        return "the controller has not seen its newest version yet"
    progressing = condition(obj, "Progressing")
    if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
        return f"ProgressDeadlineExceeded: {progressing.get('message', '')}"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} pods made from its newest version"
    if status.get("replicas", 0) > updated:
        return f"{status['replicas'] - updated} pods of an older version still there"
    if available < updated:
        return f"{available} of {updated} pods available"
    return None


def _stateful_set(obj: Object) -> str | None:
    status, wanted = obj.get("status", {}), obj["spec"].get("replicas", 1)
    if not observed(obj):
        return "the controller has not seen its newest version yet"
    strategy = obj["spec"].get("updateStrategy", {})
    if status.get("readyReplicas", 0) < wanted:
        return f"{status.get('readyReplicas', 0)} of {wanted} pods ready"
    if strategy.get("type") == "OnDelete":
        return None
    updated = status.get("updatedReplicas", 0)
    expected = wanted - strategy.get("rollingUpdate", {}).get("partition", 0)
    return f"{updated} of {expected} pods of its newest version" if updated < expected else None


def _daemon_set(obj: Object) -> str | None:
    status = obj.get("status", {})
    if not observed(obj):
        return "the controller has not seen its newest version yet"
    wanted = status.get("desiredNumberScheduled", 0)
    on_delete = obj["spec"].get("updateStrategy", {}).get("type") == "OnDelete"
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    if updated < wanted and not on_delete:
        return f"{updated} of {wanted} pods of its newest version"
    return f"{available} of {wanted} pods available" if available < wanted else None


def _replica_set(obj: Object) -> str | None:
    if not observed(obj):
        return "the controller has not seen its newest version yet"
    available, wanted = obj.get("status", {}).get("availableReplicas", 0), obj["spec"].get("replicas", 1)
    return f"{available} of {wanted} pods available" if available < wanted else None


def _job(obj: Object) -> str | None:
    if _is_true(obj, "Complete"):
        return None
    failed = condition(obj, "Failed")
    if failed and failed["status"] == "True":
        return f"failed: {failed.get('reason', '')}: {failed.get('message', '')}"
    status, wanted = obj.get("status", {}), obj["spec"].get("completions", 1)
    return f"{status.get('succeeded', 0)} of {wanted} pods succeeded, {status.get('failed', 0)} failed"


def _pod(obj: Object) -> str | None:
    status = obj.get("status", {})
    if status.get("phase") == "Succeeded" or _is_true(obj, "Ready"):
        return None
    return "; ".join(_waiting_containers(status)) or f"phase {status.get('phase', 'unknown')}"


def _waiting_containers(status: Object) -> Iterator[str]:
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        for state in ("waiting", "terminated"):
            found = container.get("state", {}).get(state)
            if found and found.get("reason") != "Completed":
                yield f"container {container['name']} {state}: {found.get('reason', 'for no stated reason')}"
        if "running" in container.get("state", {}) and not container.get("ready"):
            yield f"container {container['name']} running, not ready"


def _custom_resource_definition(obj: Object) -> str | None:
    refused = condition(obj, "NamesAccepted")
    if refused and refused["status"] == "False":
        return f"names not accepted: {refused.get('message', '')}"
    return None if _is_true(obj, "Established") else "not Established"


def _namespace(obj: Object) -> str | None:
    phase = obj.get("status", {}).get("phase", "unknown")
    return None if phase == "Active" else f"phase {phase}"


def _api_service(obj: Object) -> str | None:
    if _is_true(obj, "Available"):
        return None
    found = condition(obj, "Available") or {}
    return f"not Available: {found.get('message', 'no reason given yet')}"


def _volume_claim(obj: Object) -> str | None:
    phase = obj.get("status", {}).get("phase", "unknown")
    return None if phase == "Bound" else f"phase {phase}"


def _is_true(obj: Object, kind: str) -> bool:
    found = condition(obj, kind)
    return found is not None and found["status"] == "True"


_JUDGES = {
    "APIService": _api_service,
    "CustomResourceDefinition": _custom_resource_definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "Job": _job,
    "Namespace": _namespace,
    "PersistentVolumeClaim": _volume_claim,
    "Pod": _pod,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
}
