"""The cluster of a run: made, announced to the workers, and taken away again, by the controller alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_istio import clusters
from pytest_istio.clusters.base import Cluster
from pytest_istio.istio import sources
from pytest_istio.run.states import BOOKINFO, CLUSTER, FACTS, MESH

if TYPE_CHECKING:
    from pytest_istio.clusters.base import Provider
    from pytest_istio.progress import Progress
    from pytest_istio.run.folder import RunFolder
    from pytest_istio.settings import Settings

__all__ = ["Owner", "attach"]

REUSABLE = "kind"
"""The provider whose clusters a later run may take over."""


def attach(folder: RunFolder) -> Cluster | None:
    """Return the cluster that the controller has started, None when it has not."""
    state = folder.read(CLUSTER)
    return Cluster.from_state(state) if state else None


class Owner:
    """Starts a cluster, and ends it with the run, however that ends."""

    def __init__(self, settings: Settings, folder: RunFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._provider: Provider | None = None
        self.cluster: Cluster | None = None
        self.kept: Cluster | None = None

    def start(self, progress: Progress) -> None:
        """Start the cluster once, after everything that can be found wrong without one.

        Raises:
            PytestIstioError: The manifests are of no use, or no cluster can be had.
        """
        if self.cluster is not None:
            return
        chosen = clusters.resolve(self._settings)
        if not self._settings.use_installed:
            sources.manifests(self._settings)
        self._provider = clusters.provider(chosen)
        if self._settings.reuse and chosen != REUSABLE:
            progress.note(f"--istio-reuse is for {REUSABLE}; a {chosen} cluster is made anew")
        self.cluster = self._provider.start(self._settings, progress)
        for name, state in self.cluster.setup.items():
            self._folder.write(name, state)
        self._folder.write(CLUSTER, self.cluster.to_state())

    @property
    def trouble(self) -> str | None:
        """Why the cluster is lost; None while nothing is known of that."""
        return self._provider.trouble if self._provider else None

    def stop(self, progress: Progress, *, failed: bool) -> None:
        """Take the cluster away, or leave it if it was asked to be kept."""
        cluster, self.cluster = self.cluster, None
        if cluster is None or self._provider is None:
            return
        setup = _setup(self._folder)
        keep = self._settings.keep == "always" or (failed and self._settings.keep == "failed")
        if self._settings.reuse and self._settings.sources.get("keep", "default") == "default":
            keep = cluster.provider == REUSABLE and bool(setup)
        with nullcontext() if keep else progress.phase("teardown"):
            self._provider.stop(replace(cluster, setup=setup), keep=keep)
        self.kept = cluster if keep else None


def _setup(folder: RunFolder) -> dict[str, Any]:
    """Return the states by which a later run goes straight to its checks; none where something is amiss."""
    mesh, bookinfo = folder.read(MESH), folder.read(BOOKINFO)
    if not mesh or mesh["troubles"]:
        return {}
    states = {FACTS: folder.read(FACTS), MESH: {**mesh, "restarts": None}}
    if not bookinfo:
        return states
    if not bookinfo["finished"] or bookinfo["bookinfo"]["troubles"]:
        return {}
    return {**states, BOOKINFO: bookinfo}
