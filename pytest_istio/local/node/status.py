"""The status of a pod, as the kubelet reports it: pure functions of what its containers do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_istio.local.api import Object
    from pytest_istio.local.node.container import Container

__all__ = ["pod_status"]


def pod_status(
    pod: Object,
    containers: Sequence[Container],
    known: Sequence[Object],
    *,
    ip: str,
    host: str,
    started_at: str,
    time: str,
    terminal: bool,
) -> Object:
    """Return the status of a pod, for a strategic merge patch.

    Args:
        pod: The newest version of the object.
        containers: Its containers, those of all kinds.
        known: The conditions that were reported last; their times are kept where they do not change.
        ip: Its address.
        host: The node's address.
        started_at: When the kubelet took the pod.
        time: The present, as the API writes it.
        terminal: Whether no container will ever run again.
    """
    first = [container for container in containers if container.kind != "main"]
    main = [container for container in containers if container.kind == "main"]
    initialized = all(_initialized(container) for container in first)
    phase = _phase(main, initialized=initialized, terminal=terminal)
    conditions = _conditions(pod, containers, phase)
    return {
        "phase": phase,
        "conditions": _with_times(conditions, known, time),
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": started_at,
        "initContainerStatuses": [container.status() for container in first],
        "containerStatuses": [container.status() for container in main],
    }


def _initialized(container: Container) -> bool:
    return container.started if container.kind == "sidecar" else container.exit_code == 0


def _phase(main: Sequence[Container], *, initialized: bool, terminal: bool) -> str:
    codes = [container.exit_code for container in main]
    if terminal:
        return "Succeeded" if all(code == 0 for code in codes) else "Failed"
    return "Running" if initialized and all(container.run for container in main) else "Pending"


def _conditions(pod: Object, containers: Sequence[Container], phase: str) -> dict[str, Object]:
    """Return the kubelet's conditions by type; one without a reason holds."""
    if phase in {"Succeeded", "Failed"}:
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
        ready = containers_ready = {"reason": reason, "message": None}
    else:
        unready = [item.name for item in containers if item.kind != "init" and not item.ready]
        containers_ready = _holds_without(unready, "ContainersNotReady", "containers with unready status")
        closed = _closed_gates(pod)
        ready = containers_ready if unready else _holds_without(closed, "ReadinessGatesNotReady", "gates")
    missing = [item.name for item in containers if item.kind != "main" and not _initialized(item)]
    return {
        "PodReadyToStartContainers": _holds_without([], "", ""),
        "Initialized": _holds_without(
            missing, "ContainersNotInitialized", "containers with incomplete status"
        ),
        "Ready": ready,
        "ContainersReady": containers_ready,
    }


def _holds_without(names: Sequence[str], reason: str, message: str) -> Object:
    if names:
        return {"reason": reason, "message": f"{message}: [{' '.join(names)}]"}
    return {"reason": None, "message": None}


def _closed_gates(pod: Object) -> list[str]:
    """Return the conditions that others have to set before the pod is ready, and have not."""
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", [])]
    conditions = pod.get("status", {}).get("conditions") or []
    true = {condition["type"] for condition in conditions if condition["status"] == "True"}
    return [gate for gate in gates if gate not in true]


def _with_times(conditions: dict[str, Object], known: Sequence[Object], time: str) -> list[Object]:
    """Return the conditions as a list, each with the time of its last change."""
    before = {condition["type"]: condition for condition in known}
    result = []
    for kind, details in conditions.items():
        status = "False" if details["reason"] else "True"
        last = before.get(kind, {})
        since = last.get("lastTransitionTime", time) if last.get("status") == status else time
        result.append({"type": kind, "status": status, "lastTransitionTime": since, **details})
    return result
