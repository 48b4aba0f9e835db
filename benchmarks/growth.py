"""How judging pods grows with the mesh: from 10 to 1,000 injected workloads beside the one that is judged.

The pods are objects on a real API server, without nodes: nothing runs them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.cluster import control_plane
from benchmarks.injected import create_namespace, create_pods, deployments
from benchmarks.table import show
from pytest_istio.istio.capacity import capacity_problems
from pytest_istio.istio.explain import pods_of
from pytest_istio.kube.client import Kube
from pytest_istio.kube.readiness import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.kube.objects import Object

SIZES = (10, 100, 1000)
REPEATS = 5


def main() -> None:
    rows = []
    with control_plane() as kubeconfig:
        kube = Kube.connect(kubeconfig)
        create_namespace(kube, "benchmark")
        objects = deployments(kube)
        there = 0
        for size in SIZES:
            create_pods(kube, "benchmark", size - there, first=there)
            there = size
            rows.append([size, *(_cost(judge) for judge in _judges(kube, objects))])
        kube.close()
    show(
        "Judging pods, milliseconds and CPU milliseconds of the client",
        ["injected workloads", "one workload's pods", "every sidecar in a namespace", "room on the nodes"],
        rows,
    )


def _judges(kube: Kube, objects: list[Object]) -> list[Callable[[], object]]:
    """Return what the checks do: about one Deployment, about a namespace, about the cluster."""
    one = {**objects[0], "metadata": {**objects[0]["metadata"], "namespace": "benchmark"}}
    return [
        lambda: [problem(pod) for pod in pods_of(kube, one)[:1]],
        lambda: [problem(pod) for pod in kube.list("v1", "Pod", "benchmark")],
        lambda: _room(kube, objects),
    ]


def _room(kube: Kube, objects: list[Object]) -> tuple[str, ...]:
    """Ask whether the nodes have room; a node is there for the moment, as none runs here."""
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
    allocatable = {"cpu": "1k", "memory": "1Ti", "pods": "10k"}
    status = {"conditions": conditions, "allocatable": allocatable, "capacity": allocatable}
    kube.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "benchmark"}, "status": status})
    try:
        return capacity_problems(kube, objects, timeout=10.0)
    finally:
        kube.delete("v1", "Node", "benchmark")


def _cost(judge: Callable[[], object]) -> str:
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        judge()
        walls.append(1000 * (time.perf_counter() - wall))
        cpus.append(1000 * (time.process_time() - cpu))
    return f"{min(walls):.0f} ({min(cpus):.0f} CPU)"


if __name__ == "__main__":
    main()
