"""A whole run on kind, against the same steps by hand: ``python -m benchmarks.kind_run [NODE_IMAGE]``.

By hand means kind's and kubectl's own commands, one after the other. The images are those that the engine
has; of stand-ins the environment has to say that they may be taken, as for a run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from benchmarks.cluster import SETTINGS
from benchmarks.injected import injected_bookinfo
from benchmarks.processes import measured, until_accepted
from benchmarks.run import watch
from benchmarks.table import show
from pytest_istio.clusters.host import default_image
from pytest_istio.istio import sources
from pytest_istio.istio.adapt import adapt
from pytest_istio.istio.catalog import release
from pytest_istio.istio.images import images
from pytest_istio.kube.client import Kube
from pytest_istio.kube.migrate import migrate
from pytest_istio.paths import fixtures_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "benchmark-by-hand"
VERSION = "1.0.5"
OURS = {
    "create": ("container engine", "cluster", "nodes"),
    "load images": ("images",),
    "apply": ("preflight", "apply", "apply bookinfo"),
    "pods ready": ("control plane", "bookinfo"),
    "delete": ("teardown",),
}
"""The phases of a run that do what a step by hand does."""


def main(image: str) -> None:
    by_hand = _by_hand(image)
    options = ["--istio-profile=smoke", f"--istio-kind-image={image}"]
    watched = watch(fixtures_folder().parent, *options, cluster="kind")
    took = {name: end - begin for name, begin, end in watched.phases()}
    ours = {step: sum(took.get(phase, 0.0) for phase in phases) for step, phases in OURS.items()}
    rows = [[step, seconds, ours[step], ours[step] / seconds] for step, seconds in by_hand.items()]
    rest = watched.seconds - sum(ours.values())
    total = sum(by_hand.values())
    rows += [
        ["Python's start, collection, gateway, 26 checks", "", rest, ""],
        ["all", total, watched.seconds, watched.seconds / total],
    ]
    show("Profile smoke on kind, seconds", ["step", "by hand", "pytest-istio", "ratio"], rows)


def _by_hand(image: str) -> dict[str, float]:
    """Return how long each step took; the last one takes the cluster away."""
    with tempfile.TemporaryDirectory() as name:
        folder, took = Path(name), {}
        kubeconfig = folder / "kubeconfig"
        kubectl = ["kubectl", "--kubeconfig", str(kubeconfig)]
        create = ["kind", "create", "cluster", "--name", NAME, "--image", image, "--kubeconfig"]
        with _deleted_at_last(took):
            took["create"] = measured([*create, str(kubeconfig), "--wait=180s", "--quiet"]).wall
            load = ["kind", "load", "docker-image", "--quiet", "--name", NAME, *_present()]
            took["load images"] = measured(load).wall
            istio, bookinfo = _written(folder, kubeconfig)
            applied = [until_accepted([*kubectl, "apply", "-f", str(file)]) for file in (istio, bookinfo)]
            took["apply"] = sum(cost.wall for costs in applied for cost in costs)
            ready = ["wait", "deployment", "--all", "--all-namespaces", "--for=condition=Available"]
            took["pods ready"] = measured([*kubectl, *ready, "--timeout=300s"]).wall
        return took


@contextmanager
def _deleted_at_last(took: dict[str, float]) -> Iterator[None]:
    try:
        yield
    finally:
        took["delete"] = measured(["kind", "delete", "cluster", "--quiet", "--name", NAME]).wall


def _present() -> list[str]:
    inspect = ["docker", "image", "inspect"]
    return [
        image
        for image in images(SETTINGS)
        if subprocess.run([*inspect, image], capture_output=True, check=False).returncode == 0
    ]


def _written(folder: Path, kubeconfig: Path) -> tuple[Path, Path]:
    """Write what is applied: the objects in the API versions of this Kubernetes, bookinfo with sidecars."""
    kube = Kube.connect(kubeconfig)
    served = kube.served()
    migrated = migrate(sources.manifests(SETTINGS).objects, served).objects
    istio = adapt(migrated, release(VERSION), served, "istio-system").objects
    files = folder / "istio.yaml", folder / "bookinfo.yaml"
    for file, objects in zip(files, (istio, injected_bookinfo(kube)), strict=True):
        file.write_text(yaml.dump_all(objects), encoding="utf-8")
    kube.close()
    return files


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else default_image(VERSION))
