"""Taking a cluster that an earlier run has kept: one that is as this run would make it, and still well."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pytest_istio.clusters.kind_delete import delete_cluster
from pytest_istio.clusters.kind_folder import folders
from pytest_istio.clusters.nodes import await_nodes
from pytest_istio.errors import PytestIstioError
from pytest_istio.istio.catalog import release
from pytest_istio.istio.mesh import RUN_LABEL
from pytest_istio.istio.sources import manifests
from pytest_istio.kube.client import Kube
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import wait_ready

if TYPE_CHECKING:
    from pytest_istio.clusters.base import Cluster
    from pytest_istio.clusters.engine import Engine
    from pytest_istio.clusters.kind_folder import KindFolder
    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings

__all__ = ["fingerprint", "take_kept"]

IN_USE = "another run uses it"


def fingerprint(engine: Engine, settings: Settings, *, image: str, config: str) -> dict[str, Any]:
    """Return what decides how a cluster and the Istio on it are made, by the names that a person is told.

    Args:
        engine: The container engine.
        settings: What the run was asked to do.
        image: The node image.
        config: kind's configuration file for the run.
    """
    assert settings.istio_version is not None
    return {
        "Istio's version": settings.istio_version,
        "manifests": manifests(settings).sha256,
        "namespace": settings.namespace,
        "injection": settings.injection,
        "image registries": [list(pair) for pair in settings.image_registries],
        # Not which credentials: the images have been pulled.
        "image pull secret": settings.image_pull_secret is not None,
        "node image": [image, (engine.inspect(image) or {}).get("Id")],
        "kind's configuration": config,
        "container engine": [engine.program, engine.place],
        "version of pytest-istio": version("pytest-istio"),
    }


def take_kept(
    wanted: dict[str, Any], settings: Settings, engine: Engine, progress: Progress
) -> tuple[KindFolder, Cluster] | None:
    """Return a kept cluster with this fingerprint, held by this run from now on; None if there is none.

    It is told of each kept cluster why it is not taken. One that would do and is not well is deleted.

    Raises:
        ClusterError: That one cannot be deleted.
    """
    known = [folder for folder in folders() if settings.kind_name in (None, folder.name)]
    kept = [folder for folder in known if folder.kept]
    # Once its run goes on, a cluster is no kept one any more.
    busy = [folder.name for folder in known if not folder.kept and folder.in_use]
    for name in busy:
        progress.note(f"cluster {name} is not reused: {IN_USE}")
    if not kept and not busy:
        progress.note("no cluster is kept that could be reused; making one")
    for folder in kept:
        found = _taken(folder, wanted, settings, progress)
        if isinstance(found, str):
            progress.note(f"cluster {folder.name} is not reused: {found}")
        else:
            ports = engine.published(f"{folder.name}-control-plane")
            return folder, replace(found, details={**found.details, "ports": ports})
    return None


def _taken(
    folder: KindFolder, wanted: dict[str, Any], settings: Settings, progress: Progress
) -> Cluster | str:
    """Return the cluster, held by this run, or why it is not taken."""
    cluster = folder.claim()
    if cluster is None:
        return IN_USE
    taken = False
    try:
        recorded = folder.fingerprint
        if different := [name for name, value in wanted.items() if recorded.get(name) != value]:
            return f"it differs in {', '.join(different)}; `pytest-istio cleanup` ends it"
        if trouble := _trouble(cluster, settings, progress):
            delete_cluster(folder)
            return f"{trouble}; it is deleted, and a new one made"
        folder.take()
        taken = True
        return cluster
    finally:
        if not taken:
            folder.lock.release()


def _trouble(cluster: Cluster, settings: Settings, progress: Progress) -> str | None:
    """Return what is wrong with a cluster on which Istio was installed, None if nothing is."""
    if not cluster.setup:
        return "its set-up was not completed"
    assert settings.istio_version is not None
    bound = settings.timeouts.request
    try:
        kube = Kube.connect(cluster.kubeconfig, cluster.context, request_timeout=bound)
    except PytestIstioError as error:
        return _first_line(error)
    try:
        await_nodes(kube, timeout=bound, progress=progress)
        made = {Ref.of(each) for each in kube.list("apps/v1", "Deployment", labels=RUN_LABEL)}
        expected = {
            Ref("apps/v1", "Deployment", settings.namespace, component.name)
            for component in release(settings.istio_version).components
            if not component.optional
        }
        wait_ready(kube, made | expected, timeout=bound, progress=progress)
    except PytestIstioError as error:
        return _first_line(error)
    finally:
        kube.close()
    return None


def _first_line(error: PytestIstioError) -> str:
    """Return the beginning of a message, of which the rest is advice on a cluster that is to stay."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(lines[:2]).rstrip(".")
