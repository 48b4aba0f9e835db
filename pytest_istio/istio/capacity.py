"""Whether the nodes have room for what manifests request."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from kubernetes.utils.quantity import parse_quantity

from pytest_istio.findings import finding
from pytest_istio.kube import readiness
from pytest_istio.kube.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["capacity_problems"]

RESOURCES = ("cpu", "memory")
REPLICATED = ("Deployment", "StatefulSet", "ReplicaSet")
MOST_REPLICAS = 10_000
"""What is looked at of more, for which no cluster has room."""
BEYOND_MEASURE = Decimal(10) ** 30
UNBEARABLE = ("NoSchedule", "NoExecute")
Amounts = dict[str, Decimal]


def capacity_problems(kube: Kube, objects: Iterable[Object], *, timeout: float) -> tuple[str, ...]:
    """Return why the pods of the manifests would not all find a node; empty if they would.

    Args:
        kube: The cluster.
        objects: The manifests.
        timeout: Seconds to wait for a node to be Ready: a cluster answers before its nodes have joined.
    """
    nodes = _ready_nodes(kube, timeout)
    if not nodes:
        unfit = [f"{each['metadata']['name']}: {_why_unfit(each)}" for each in kube.list("v1", "Node")]
        return (
            finding(
                "the cluster's nodes",
                expected="one that is Ready and takes pods",
                seen="; ".join(unfit) or "no node",
                cause="the node is still joining, its network is not set up, or it was cordoned or tainted",
                look="kubectl describe nodes",
            ),
        )
    free = {node["metadata"]["name"]: _amounts(node["status"]["allocatable"]) for node in nodes}
    for pod in kube.list("v1", "Pod", fields="status.phase!=Succeeded,status.phase!=Failed"):
        if (node := pod["spec"].get("nodeName")) in free:
            requested = _requested(pod["spec"])
            free[node] = {key: free[node][key] - requested[key] for key in RESOURCES}
    pods = list(_pods(objects))
    return tuple(problem for key in RESOURCES if (problem := _shortage(key, pods, free)))


def _ready_nodes(kube: Kube, timeout: float) -> list[Object]:
    for event in kube.watch("v1", "Node", deadline=Deadline(timeout)):
        if event.type != "DELETED" and _usable(event.object):
            break
    return [node for node in kube.list("v1", "Node") if _usable(node)]


def _usable(node: Object) -> bool:
    ready = readiness.condition(node, "Ready")
    return ready is not None and ready["status"] == "True" and not _kept_from(node)


def _kept_from(node: Object) -> list[str]:
    """Return what keeps pods without tolerations, as Istio's are, from a node."""
    taints = [each["key"] for each in node["spec"].get("taints") or [] if each["effect"] in UNBEARABLE]
    return [*(["cordoned"] if node["spec"].get("unschedulable") else []), *(f"taint {key}" for key in taints)]


def _why_unfit(node: Object) -> str:
    if kept_from := _kept_from(node):
        return ", ".join(kept_from)
    ready = readiness.condition(node, "Ready") or {}
    return ": ".join(filter(None, ["not Ready", ready.get("reason"), ready.get("message")]))


def _pods(objects: Iterable[Object]) -> Iterable[tuple[str, Amounts]]:
    for each in objects:
        if each["apiVersion"].startswith("apps/") and each["kind"] in REPLICATED:
            spec = each["spec"]
            requested, replicas = _requested(spec["template"]["spec"]), spec.get("replicas")
            for _ in range(1 if replicas is None else min(int(replicas), MOST_REPLICAS)):
                yield f"{each['kind']} {each['metadata']['name']}", requested


def _requested(spec: Object) -> Amounts:
    """Return what a pod's containers request; what init containers request is not held on to."""
    amounts = {key: Decimal(0) for key in RESOURCES}
    for container in spec["containers"]:
        requests = (container.get("resources") or {}).get("requests") or {}
        for key, value in _amounts(requests).items():
            amounts[key] += value
    return amounts


def _amounts(quantities: Object) -> Amounts:
    return {key: _amount(quantities.get(key, 0)) for key in RESOURCES}


def _amount(quantity: object) -> Decimal:
    try:
        # The package says nothing of its types.
        amount = Decimal(parse_quantity(quantity))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, ArithmeticError):
        # No quantity at all, for the API server to refuse by its name.
        return Decimal(0)
    return amount if amount.is_finite() and amount < BEYOND_MEASURE else Decimal(0)


def _shortage(key: str, pods: list[tuple[str, Amounts]], free: dict[str, Amounts]) -> str | None:
    """Return the message about too little of one resource, for all pods together or for the largest one."""
    wanted = sum((requested[key] for _, requested in pods), Decimal(0))
    there = sum((amounts[key] for amounts in free.values()), Decimal(0))
    largest, need = max(
        ((name, requested[key]) for name, requested in pods),
        key=lambda each: each[1],
        default=("", Decimal(0)),
    )
    roomiest = max(amounts[key] for amounts in free.values())
    if wanted <= there and need <= roomiest:
        return None
    if wanted > there:
        expected, seen = f"{_shown(key, wanted)} free for all pods", f"{_shown(key, there)} free"
    else:
        expected, seen = (
            f"a node with {_shown(key, need)} free for {largest}",
            f"{_shown(key, roomiest)} at most",
        )
    return finding(
        f"the nodes' {key}",
        expected=expected,
        seen=f"{seen} on {', '.join(free)}",
        cause="the nodes are too small for what the manifests request, or other pods have taken it",
        look="kubectl describe nodes | grep -A8 'Allocated resources'",
    )


def _shown(key: str, amount: Decimal) -> str:
    return f"{amount / 2**20:.0f} MiB" if key == "memory" else f"{amount:.2f} CPU"
