"""A provider without a cluster, for tests of what the plugin does around one; loaded by ``-p``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio import clusters
from pytest_istio.clusters.base import Cluster
from pytest_istio.errors import ClusterError

if TYPE_CHECKING:
    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings


LOST = "lost"
"""The file beside the log that a test makes to have the cluster lost."""


class FakeProvider:
    """Writes down when it is called; environment variables have it fail or take its time."""

    @property
    def trouble(self) -> str | None:
        return "The fake is gone." if (_log().parent / LOST).exists() else None

    def start(self, settings: Settings, progress: Progress) -> Cluster:
        _note("start")
        with progress.phase("cluster"):
            progress.waiting("the fake to be ready")
            _note("starting")
            try:
                time.sleep(float(os.environ.get("FAKE_CLUSTER_SECONDS", "0")))
            except KeyboardInterrupt:
                if trouble := os.environ.get("FAKE_CLUSTER_INTERRUPTED_TROUBLE"):
                    raise ClusterError(trouble) from None
                raise
            if trouble := os.environ.get("FAKE_CLUSTER_TROUBLE"):
                raise ClusterError(trouble)
        capabilities = frozenset(os.environ.get("FAKE_CLUSTER_CAPABILITIES", "containers").split())
        created = bool(os.environ.get("FAKE_CLUSTER_CREATED", "yes"))
        return Cluster(
            "fake-0", "fake", Path("/nowhere/kubeconfig"), None, created, capabilities, "a fake", {}
        )

    def stop(self, cluster: Cluster, *, keep: bool) -> None:
        _note(f"stop keep={keep}")
        time.sleep(float(os.environ.get("FAKE_CLUSTER_STOP_SECONDS", "0")))
        if trouble := os.environ.get("FAKE_CLUSTER_STOP_TROUBLE"):
            raise ClusterError(trouble)
        if error := os.environ.get("FAKE_CLUSTER_STOP_ERROR"):
            raise OSError(error)
        _note("stopped")

    def wire(self, cluster: Cluster, host: str, port: int) -> tuple[str, int]:
        return host, port


def _note(text: str) -> None:
    with _log().open("a") as log:
        log.write(f"{text}\n")


def _log() -> Path:
    return Path(os.environ["FAKE_CLUSTER_LOG"])


def pytest_configure() -> None:
    clusters.resolve = lambda settings: "fake"
    clusters.provider = lambda name: FakeProvider()
