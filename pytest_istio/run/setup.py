"""Bringing up what the checks look at: once a run, by whichever process comes first; the others attach."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pytest_istio import bookinfo as bookinfo_room
from pytest_istio.errors import PytestIstioError
from pytest_istio.istio import install, sources
from pytest_istio.report.terminal import facts
from pytest_istio.run.states import BOOKINFO, FACTS, FAILED, MESH

if TYPE_CHECKING:
    from pytest_istio.bookinfo import Bookinfo
    from pytest_istio.clusters.base import Cluster
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.client import Kube
    from pytest_istio.run.context import Run

__all__ = ["bookinfo", "mesh"]

NAMESPACE = "default"
"""Where bookinfo goes, as in Istio's own instructions."""


def mesh(run: Run, cluster: Cluster, kube: Kube) -> Mesh:
    """Install Istio, or attach to what another process of the run has installed.

    Raises:
        PytestIstioError: Istio cannot be applied. That it does not become ready is no error here.
    """
    manifests = sources.manifests(run.settings)
    observed = run.folder.path / "observed"
    with run.folder.lock(MESH):
        state = run.folder.read(MESH)
        if state:
            return install.attach(kube, run.settings, manifests, state, observed=observed)
        try:
            started = install.start(
                kube,
                run.settings,
                manifests,
                created=cluster.created,
                run=f"run-{secrets.token_hex(4)}",
                progress=run.progress,
                observed=observed,
            )
            finished = _finish(run, started)
        except PytestIstioError as error:
            run.folder.write(FAILED, str(error))
            raise
        run.folder.write(FACTS, _facts(finished))
        run.folder.write(MESH, finished.to_state())
    for line in facts(cluster.to_state(), _facts(finished)):
        run.screen.line(line)
    return finished


def bookinfo(run: Run, mesh: Mesh) -> Bookinfo:
    """Deploy the sample application, or attach to what another process of the run has deployed.

    Raises:
        PytestIstioError: It cannot be applied. That it does not become ready is no error here.
    """
    with run.folder.lock(BOOKINFO):
        state = run.folder.read(BOOKINFO)
        return bookinfo_room.attach(mesh, state) if state else _deploy(run, mesh)


def _finish(run: Run, started: Mesh) -> Mesh:
    """Wait for Istio; bookinfo starts meanwhile if it is wanted and needs no webhook for its sidecars."""
    if not run.selection.bookinfo or run.settings.injection != "manual":
        return install.finish(started, progress=run.progress)
    with ThreadPoolExecutor(1, "bookinfo") as pool:
        application = pool.submit(bookinfo, run, started)
        finished = install.finish(started, progress=run.progress)
        application.result()
    return finished


def _deploy(run: Run, mesh: Mesh) -> Bookinfo:
    deployed = bookinfo_room.deploy(mesh, NAMESPACE, progress=run.progress)
    run.folder.write(BOOKINFO, deployed.to_state())
    return deployed


def _facts(mesh: Mesh) -> dict[str, Any]:
    """Return what header and report tell of the installation, as JSON values."""
    return {
        "version": mesh.release.version,
        "kubernetes": mesh.preflight.kubernetes,
        "source": mesh.manifests.source,
        "sha256": mesh.manifests.sha256,
        "warnings": [*mesh.manifests.warnings, *filter(None, [mesh.preflight.deviation])],
        "rewrites": [{**asdict(rewrite), "ref": str(rewrite.ref)} for rewrite in mesh.rewrites],
    }
