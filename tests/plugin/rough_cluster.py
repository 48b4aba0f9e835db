"""The embedded Kubernetes behind bad weather, for whole runs; loaded by ``-p``."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio import clusters
from pytest_istio.clusters.local import LocalProvider
from tests.kube.weather import weather

if TYPE_CHECKING:
    from pytest_istio.clusters.base import Cluster
    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings

SHARE = "ROUGH_CLUSTER_SHARE"
"""The environment variable with the share of requests that are spoiled."""
SEED = "ROUGH_CLUSTER_SEED"
SEEN = "ROUGH_CLUSTER_SEEN"
"""The environment variable with the file that tells in the end how often each fault was given."""


class RoughProvider(LocalProvider):
    """Hands out a kubeconfig that leads through a proxy, to everything on this side of the cluster."""

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()

    def start(self, settings: Settings, progress: Progress) -> Cluster:
        cluster = super().start(settings, progress)
        rough = Path(cluster.details["folder"]) / "rough.kubeconfig"
        share, seed = float(os.environ[SHARE]), int(os.environ[SEED])
        proxy = self._held.enter_context(weather(cluster.kubeconfig, rough, share=share, seed=seed))
        self._held.callback(lambda: Path(os.environ[SEEN]).write_text(json.dumps(proxy.seen)))
        return replace(cluster, kubeconfig=rough)

    def stop(self, cluster: Cluster, *, keep: bool) -> None:
        self._held.close()
        super().stop(cluster, keep=keep)


def pytest_configure() -> None:
    clusters.resolve = lambda settings: "local"
    clusters.provider = lambda name: RoughProvider()
