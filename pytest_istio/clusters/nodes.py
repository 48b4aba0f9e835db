"""Waiting for the nodes of a new cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.readiness import condition

if TYPE_CHECKING:
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress

__all__ = ["await_nodes"]


def await_nodes(kube: Kube, *, timeout: float, progress: Progress) -> int:
    """Wait until every node is Ready, and return how many there are.

    Args:
        kube: The cluster.
        timeout: Seconds.
        progress: Is told what is awaited.

    Raises:
        ClusterError: One is not Ready in time; says why.
    """
    nodes: dict[str, str | None] = {}
    for event in kube.watch("v1", "Node", deadline=Deadline(timeout)):
        name = event.object["metadata"]["name"]
        nodes[name] = _trouble(event.object)
        if event.type == "DELETED":
            del nodes[name]
        troubles = {name: trouble for name, trouble in nodes.items() if trouble}
        if nodes and not troubles and len(nodes) == len(kube.list("v1", "Node")):
            return len(nodes)
        progress.waiting("; ".join(f"node {name}: {trouble}" for name, trouble in troubles.items()))
    raise ClusterError(
        finding(
            "the cluster's nodes",
            expected=f"all Ready within {timeout:.0f} s",
            seen="; ".join(f"{name}: {trouble or 'Ready'}" for name, trouble in nodes.items()) or "no node",
            cause="the network of the nodes does not start, or the machine is overloaded",
            look="kubectl describe nodes",
        )
    )


def _trouble(node: Object) -> str | None:
    """Return why a node takes no pods yet; None if it does."""
    ready = condition(node, "Ready")
    if ready is None:
        return "its kubelet has not reported yet"
    return None if ready["status"] == "True" else str(ready.get("message") or ready.get("reason"))
