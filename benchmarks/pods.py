"""Listing and judging 5,000 injected pods: this program's client, and the official client's typed models.

The pods are objects on a real API server, without nodes: nothing runs them.
"""

from __future__ import annotations

import sys

from benchmarks.cluster import control_plane
from benchmarks.injected import create_namespace, create_pods
from benchmarks.processes import measured
from benchmarks.table import show
from pytest_istio.kube.client import Kube

COUNT = 5000

OURS = """
import sys
from pathlib import Path
from pytest_istio.kube.client import Kube
from pytest_istio.kube.readiness import problem
kube = Kube.connect(Path(sys.argv[1]))
print(sum(problem(pod) is None for page in kube.pages("v1", "Pod") for pod in page))
"""

CONNECTED = """
import sys
from pathlib import Path
from pytest_istio.kube.client import Kube
Kube.connect(Path(sys.argv[1])).version()
print(0)
"""

OFFICIAL = """
import sys
from kubernetes import client, config
config.load_kube_config(sys.argv[1])

def is_ready(pod):
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or [])

api, ready, following = client.CoreV1Api(), 0, None
while True:
    page = api.list_pod_for_all_namespaces(limit=int(sys.argv[2]) or None, _continue=following)
    ready += sum(map(is_ready, page.items))
    following = page.metadata._continue
    if not following:
        break
print(ready)
"""

ENDING = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
"""Tells the most memory that the process had, in kB; its parent would be told the parent's own before it."""

WAYS = {
    "pytest-istio": (OURS, ()),
    "pytest-istio, connecting only": (CONNECTED, ()),
    "official client, all at once": (OFFICIAL, ("0",)),
    "official client, pages of 500": (OFFICIAL, ("500",)),
}


def main() -> None:
    with control_plane() as kubeconfig:
        kube = Kube.connect(kubeconfig)
        create_namespace(kube, "benchmark")
        create_pods(kube, "benchmark", COUNT)
        size = len(kube.request("GET", "/api/v1/pods", timeout=60))
        kube.close()
        costs = {
            name: measured([sys.executable, "-c", code + ENDING, str(kubeconfig), *more])
            for name, (code, more) in WAYS.items()
        }
    ours = costs["pytest-istio"]
    rows = []
    for name, cost in costs.items():
        ready, memory = map(int, cost.output.split())
        rows.append([name, ready, cost.wall, cost.cpu, memory // 1000, cost.cpu / ours.cpu])
    show(
        f"Listing and judging {COUNT} injected pods, {size / 1e6:.0f} MB of JSON; each way a process",
        ["way", "ready", "seconds", "CPU seconds", "most memory, MB", "times our CPU"],
        rows,
    )


if __name__ == "__main__":
    main()
