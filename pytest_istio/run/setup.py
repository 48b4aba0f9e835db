"""Bringing up what the checks look at: once a run, by whichever process comes first; the others attach."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_istio import bookinfo as application
from pytest_istio import clusters
from pytest_istio import gateway as entrance
from pytest_istio.bookinfo import Bookinfo
from pytest_istio.errors import PytestIstioError
from pytest_istio.istio import install, installed, sources
from pytest_istio.istio.mesh import restored
from pytest_istio.kube.migrate import Rewrite
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import Trouble
from pytest_istio.progress import Silent
from pytest_istio.report.terminal import facts, way_in
from pytest_istio.run.owner import attach
from pytest_istio.run.states import BOOKINFO, FACTS, FAILED, GATEWAY, MESH

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.clusters.base import Cluster
    from pytest_istio.gateway import Gateway
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.client import Kube
    from pytest_istio.run.context import Run
    from pytest_istio.settings import Settings

__all__ = ["bookinfo", "gateway", "mesh"]

NAMESPACE = "default"
"""Where bookinfo goes on a cluster that the run made, as in Istio's own instructions."""


def mesh(run: Run, cluster: Cluster, kube: Kube) -> Mesh:
    """Install Istio, or attach to what another process of the run has installed.

    Raises:
        PytestIstioError: Istio cannot be applied. That it does not become ready is no error here.
    """
    observed = run.folder.observed
    with run.folder.lock(MESH):
        state = run.folder.read(MESH)
        if state:
            found = _attached(run, cluster, kube, state, observed)
            if found.restarts is not None:
                return found
            return _reused(run, cluster, found)
        if failed := run.folder.read(FAILED):
            # Another process has tried meanwhile, and told all of it.
            raise PytestIstioError(failed)
        name = cluster.details.get("run") or f"run-{secrets.token_hex(4)}"
        try:
            started = _started(run, cluster, kube, name, observed)
            if run.selection.bookinfo and run.settings.injection == "manual":
                # Its pods start while Istio's do. What stands in its way is for who needs it to tell.
                with suppress(PytestIstioError):
                    _start_bookinfo(run, started)
            finished = install.finish(started, progress=run.progress)
        except PytestIstioError as error:
            run.folder.write(FAILED, str(error))
            raise
        run.folder.write(FACTS, _facts(finished))
        run.folder.write(MESH, finished.to_state())
    _show(run, cluster, finished)
    return finished


def _reused(run: Run, cluster: Cluster, found: Mesh) -> Mesh:
    """Return the mesh that an earlier run has installed, as this run's processes attach to it from now on."""
    # What has restarted between the runs is nothing that this one could blame on the mesh.
    counted = replace(found, restarts=install.restart_counts(found))
    run.folder.write(MESH, counted.to_state())
    _show(run, cluster, counted)
    return counted


def _show(run: Run, cluster: Cluster, mesh: Mesh) -> None:
    for line in facts({**cluster.to_state(), "reused": cluster.reused}, _facts(mesh)):
        run.screen.line(line)


def _attached(run: Run, cluster: Cluster, kube: Kube, state: dict[str, Any], observed: Path) -> Mesh:
    if run.settings.use_installed:
        settings = _with_gateway(run, cluster)
        found = installed.look(kube, settings, run=state["run"], progress=Silent(), observed=observed)
        return replace(found, **restored(state))
    return install.attach(kube, run.settings, sources.manifests(run.settings), state, observed=observed)


def _started(run: Run, cluster: Cluster, kube: Kube, name: str, observed: Path) -> Mesh:
    settings, progress = run.settings, run.progress
    if settings.use_installed:
        settings = _with_gateway(run, cluster)
        return installed.look(kube, settings, run=name, progress=progress, observed=observed)
    manifests = sources.manifests(settings)
    return install.start(
        kube, settings, manifests, created=cluster.created, run=name, progress=progress, observed=observed
    )


def _with_gateway(run: Run, cluster: Cluster) -> Settings:
    """Return the settings with the ingress gateway of an installed Istio, where it is not the usual one."""
    found = cluster.details["gateway"]
    return replace(run.settings, gateway=tuple(found)) if found else run.settings


def bookinfo(run: Run, mesh: Mesh) -> Bookinfo:
    """Deploy the sample application, or attach to what another process of the run has deployed.

    Raises:
        PytestIstioError: It cannot be applied. That it does not become ready is no error here.
    """
    with run.folder.lock(BOOKINFO):
        state = run.folder.read(BOOKINFO)
        found = _bookinfo_from(mesh, state["bookinfo"]) if state else _start_bookinfo(run, mesh)
        if not (state and state["finished"]):
            found = application.finish(found, progress=run.progress)
            run.folder.write(BOOKINFO, _bookinfo_state(found, finished=True))
        return found


def gateway(run: Run, cluster: Cluster, mesh: Mesh) -> Gateway:
    """Find the ingress gateway.

    Raises:
        NoAddressError: There is no gateway Service, or no way to it.
    """
    wire = partial(clusters.provider(cluster.provider).wire, cluster)
    with run.progress.phase("gateway"):
        found = entrance.find(mesh, wire, progress=run.progress)
    with run.folder.lock(GATEWAY):
        if run.folder.read(GATEWAY) is None:
            told = {
                "url": found.url,
                "way": found.address.way,
                **({"host": found.host} if found.host else {}),
            }
            run.folder.write(GATEWAY, told)
            run.screen.line(way_in(told))
    return found


def _start_bookinfo(run: Run, mesh: Mesh) -> Bookinfo:
    cluster = attach(run.folder)
    ours = cluster is not None and cluster.created
    started = application.start(mesh, NAMESPACE if ours else f"bookinfo-{mesh.run}", progress=run.progress)
    run.folder.write(BOOKINFO, _bookinfo_state(started, finished=False))
    return started


def _bookinfo_state(found: Bookinfo, *, finished: bool) -> dict[str, Any]:
    state = {
        "namespace": found.namespace,
        "objects": found.objects,
        "rewrites": [asdict(rewrite) for rewrite in found.rewrites],
        "made_namespace": found.made_namespace,
        "troubles": [asdict(trouble) for trouble in found.troubles],
    }
    return {"finished": finished, "bookinfo": state}


def _bookinfo_from(mesh: Mesh, state: dict[str, Any]) -> Bookinfo:
    return Bookinfo(
        mesh,
        state["namespace"],
        tuple(state["objects"]),
        tuple(Rewrite(Ref(**each["ref"]), each["to"], tuple(each["changes"])) for each in state["rewrites"]),
        state["made_namespace"],
        tuple(Trouble(**{**each, "ref": Ref(**each["ref"])}) for each in state["troubles"]),
    )


def _facts(mesh: Mesh) -> dict[str, Any]:
    """Return what header and report tell of the installation, as JSON values."""
    return {
        "version": mesh.release.version,
        "kubernetes": mesh.preflight.kubernetes,
        "source": mesh.manifests.source,
        "sha256": mesh.manifests.sha256,
        "warnings": [
            *mesh.manifests.warnings,
            *filter(None, [mesh.preflight.deviation]),
            *(f"left out: {each.why}" for each in mesh.unserved),
        ],
        "rewrites": [{**asdict(rewrite), "ref": str(rewrite.ref)} for rewrite in mesh.rewrites],
        "adaptations": [{**asdict(each), "ref": str(each.ref)} for each in mesh.adaptations],
    }
