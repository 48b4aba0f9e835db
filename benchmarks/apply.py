"""Applying Istio's 134 objects: this program, and kubectl as often as it takes, each on a new server."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.cluster import SETTINGS, control_plane
from benchmarks.processes import measured, until_accepted
from benchmarks.table import show
from pytest_istio.istio import sources
from pytest_istio.kube.client import Kube
from pytest_istio.kube.manifests import load
from pytest_istio.kube.migrate import migrate

KUBECTL = {"kubectl apply": [], "kubectl apply --server-side": ["--server-side"]}

OURS = """
import sys
from pathlib import Path
from pytest_istio.kube.apply import apply
from pytest_istio.kube.client import Kube
from pytest_istio.kube.manifests import load
from pytest_istio.progress import Silent
from pytest_istio.timeouts import Timeouts
kube = Kube.connect(Path(sys.argv[1]))
objects = load(Path(sys.argv[2])).objects
apply(kube, objects, manager="benchmark", labels={}, timeouts=Timeouts(), progress=Silent())
"""
"""As a program of its own, so that its imports are counted as kubectl's start is."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "istio.yaml"
        rows = [_ours(file), *(_kubectl(name, more, file) for name, more in KUBECTL.items())]
        fastest = rows[0][2]
        count = len(load(file).objects)
    show(
        f"Applying {count} objects",
        ["way", "calls", "seconds", "CPU seconds of the client", "times ours"],
        [[*row, row[2] / fastest] for row in rows],
    )


def _ours(file: Path) -> tuple[str, int, float, float]:
    with control_plane() as kubeconfig:
        _write(file, kubeconfig)
        cost = measured([sys.executable, "-c", OURS, str(kubeconfig), str(file)])
    return "pytest-istio", 1, cost.wall, cost.cpu


def _write(file: Path, kubeconfig: Path) -> None:
    """Write what is applied by all: the manifests in the API versions of this Kubernetes."""
    kube = Kube.connect(kubeconfig)
    objects = migrate(sources.manifests(SETTINGS).objects, kube.served()).objects
    file.write_text(yaml.dump_all(objects), encoding="utf-8")
    kube.close()


def _kubectl(name: str, more: list[str], file: Path) -> tuple[str, int, float, float]:
    with control_plane() as kubeconfig:
        argv = ["kubectl", "--kubeconfig", str(kubeconfig), "apply", "-f", str(file), *more]
        costs = until_accepted(argv)
    return name, len(costs), sum(cost.wall for cost in costs), sum(cost.cpu for cost in costs)


if __name__ == "__main__":
    main()
