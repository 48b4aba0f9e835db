"""Installing Istio: look, migrate, adapt, apply, wait.

An installation that does not become ready is a result, not an error: the mesh says what is wrong and the
checks judge it. Only what makes applying impossible raises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import ClusterError
from pytest_istio.istio import preflight
from pytest_istio.istio.adapt import adapt
from pytest_istio.istio.catalog import release
from pytest_istio.istio.explain import pods_of
from pytest_istio.istio.mesh import MANAGER, RUN_LABEL, Mesh, restored
from pytest_istio.istio.narrow import narrow
from pytest_istio.istio.pull_secret import secrets, with_pull_secret
from pytest_istio.istio.registration import Registering
from pytest_istio.kube.apply import apply
from pytest_istio.kube.discovery import defined_among
from pytest_istio.kube.migrate import migrate
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, Trouble, wait_ready

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from pytest_istio.istio.adapt import Adaptation, Registration
    from pytest_istio.istio.preflight import Preflight
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.manifests import Manifests
    from pytest_istio.kube.migrate import Rewrite, Unserved
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings

__all__ = ["attach", "check", "finish", "placed", "restart_counts", "start"]

CRD_VERSION = "apiextensions.k8s.io/v1"
DEFINITIONS = ("CustomResourceDefinition",)
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


def start(
    kube: Kube,
    settings: Settings,
    manifests: Manifests,
    *,
    created: bool,
    run: str,
    progress: Progress,
    observed: Path | None = None,
) -> Mesh:
    """Record what the cluster is like, apply the manifests, and return without waiting for the pods.

    What needs only definitions and Services, such as bookinfo with sidecars injected by hand, can be
    applied meanwhile; `finish` waits.

    Args:
        kube: The cluster.
        settings: What the run was asked to do.
        manifests: What to install.
        created: Whether this run made the cluster.
        run: The run's name, for the label on all objects.
        progress: Is told the phases and what is awaited.
        observed: The folder in which the run's processes share their observations.

    Raises:
        ManifestError: An object cannot be brought to an API version that the server has.
        ClusterError: There is an Istio already on a cluster that the run did not make.
        KubeError: The API server refuses what is needed.
    """
    assert settings.istio_version is not None
    with progress.phase("preflight"):
        fitted = _fitted(kube, settings, manifests)
        known = release(settings.istio_version)
        wanted = [*fitted.objects, *_pull_secrets(settings, fitted.objects)]
        found = preflight.record(kube, settings, known, wanted, fitted.unserved, created=created)
        fitted = _kept_to_run(fitted, found, run)
        wanted = [*fitted.objects, *_pull_secrets(settings, fitted.objects)]
    if found.previous_istio and not created:
        raise ClusterError(
            f"Istio is on the cluster already, and this run did not put it there; nothing was changed.\n"
            f"{found.previous_istio[0]}"
        )
    with progress.phase("apply"):
        apply(
            kube,
            wanted,
            manager=MANAGER,
            labels={RUN_LABEL: run},
            timeouts=settings.timeouts,
            progress=progress,
        )
        # Before anybody builds on them: a proxy that comes too early for its routes waits long for them.
        troubles = _not_ready(kube, wanted, DEFINITIONS, settings.timeouts.crd_established, progress)
    return Mesh(
        kube=kube,
        settings=settings,
        release=known,
        manifests=manifests,
        run=run,
        preflight=found,
        observed=observed,
        troubles=troubles,
        **vars(fitted),
    )


def check(kube: Kube, settings: Settings, manifests: Manifests) -> None:
    """Return if nothing stands in the way of installing on a cluster that the run did not make.

    Nothing is changed.

    Raises:
        ManifestError: An object cannot be brought to an API version that the server has.
        ClusterError: Something does; says what.
        KubeError: The API server refuses what is asked.
    """
    assert settings.istio_version is not None
    fitted = _fitted(kube, settings, manifests)
    wanted = [*fitted.objects, *_pull_secrets(settings, fitted.objects)]
    known = release(settings.istio_version)
    found = preflight.record(kube, settings, known, wanted, fitted.unserved, created=False)
    problems = [
        *found.version_problems, *found.unserved, *found.forbidden, *found.previous_istio,
        *found.capacity_problems, *preflight.taken(kube, wanted),
    ]  # fmt: skip
    if problems:
        raise ClusterError(
            f"Istio {settings.istio_version} cannot be installed on the cluster; nothing was changed.\n"
            + "\n".join(problems)
            + ("\nTo test the Istio that is there: --istio-use-installed" if found.previous_istio else "")
        )


def finish(mesh: Mesh, *, progress: Progress) -> Mesh:
    """Wait for what was installed, and return the mesh with what did not become ready.

    Meanwhile the webhooks are registered that their servers cannot register themselves. An Istio that was
    there before is not waited for.
    """
    if mesh.settings.use_installed:
        return replace(mesh, restarts=restart_counts(mesh))
    with progress.phase("control plane"):
        troubles = (*mesh.troubles, *_absent(mesh), *_undefined(mesh))
        # What waits for a part that nobody starts waits in vain; the rest does not take that long.
        bound = mesh.timeouts.sidecar_sync if troubles else mesh.timeouts.rollout
        with Registering(mesh, mesh.registrations, timeout=bound) as registering:
            troubles += _not_ready(mesh.kube, mesh.objects, WORKLOADS, bound, progress)
            left = 0.0 if troubles else mesh.timeouts.webhook_live
            troubles += registering.troubles(within=left)
    return replace(mesh, troubles=troubles, restarts=restart_counts(mesh))


def _not_ready(
    kube: Kube, objects: Iterable[Object], kinds: Iterable[str], timeout: float, progress: Progress
) -> tuple[Trouble, ...]:
    """Wait for the installed objects of the kinds, and return what did not become ready."""
    refs = [Ref.of(each) for each in objects if each["kind"] in kinds]
    try:
        wait_ready(kube, refs, timeout=timeout, progress=progress)
    except NotReadyError as error:
        return error.troubles
    return ()


def _absent(mesh: Mesh) -> Iterator[Trouble]:
    """Give the parts of the release that the manifests leave out, or scale to zero."""
    replicas = {
        each["metadata"]["name"]: each["spec"].get("replicas", 1)
        for each in mesh.objects
        if each["kind"] == "Deployment"
    }
    for component in mesh.release.components:
        if not component.optional and not replicas.get(component.name):
            ref = Ref("apps/v1", "Deployment", mesh.namespace, component.name)
            seen = "scaled to zero by" if component.name in replicas else "not among"
            yield Trouble(ref, "Absent", f"{seen} the manifests")


def _undefined(mesh: Mesh) -> Iterator[Trouble]:
    """Give the definitions that parts of the release wait for, and that the manifests leave out."""
    defined = {each["metadata"]["name"] for each in mesh.objects if each["kind"] in DEFINITIONS}
    for component in mesh.release.components:
        for name in sorted({*component.definitions} - defined):
            ref = Ref(CRD_VERSION, DEFINITIONS[0], None, name)
            yield Trouble(ref, "Absent", f"{component.name} waits for it, and it is not among the manifests")


def attach(
    kube: Kube,
    settings: Settings,
    manifests: Manifests,
    state: Mapping[str, Any],
    *,
    observed: Path | None = None,
) -> Mesh:
    """Return the mesh that another process of the run has installed and described by `Mesh.to_state`."""
    assert settings.istio_version is not None
    known = restored(state)
    fitted = _kept_to_run(_fitted(kube, settings, manifests), known["preflight"], known["run"])
    return Mesh(
        kube=kube,
        settings=settings,
        release=release(settings.istio_version),
        manifests=manifests,
        observed=observed,
        **vars(fitted),
        **known,
    )


def restart_counts(mesh: Mesh) -> dict[str, int]:
    """Return how often each container of the control plane has restarted, by ``pod/container``."""
    return {
        f"{pod['metadata']['name']}/{container['name']}": container.get("restartCount", 0)
        for workload in mesh.objects
        if workload["kind"] == "Deployment"
        for pod in pods_of(mesh.kube, workload)
        for container in pod.get("status", {}).get("containerStatuses") or []
    }


@dataclass(frozen=True)
class _Fitted:
    """What is to be installed on one API server; the fields are those of `Mesh`."""

    objects: tuple[Object, ...]
    unserved: tuple[Unserved, ...]
    rewrites: tuple[Rewrite, ...]
    adaptations: tuple[Adaptation, ...]
    registrations: tuple[Registration, ...]


def _fitted(kube: Kube, settings: Settings, manifests: Manifests) -> _Fitted:
    """Return the manifests for this API server, with what ``kubectl -n NAMESPACE`` would have added."""
    assert settings.istio_version is not None
    served = kube.served()
    migrated = migrate(manifests.objects, served)
    defined = defined_among(migrated.objects)
    objects = []
    for each in migrated.objects:
        kind = each["apiVersion"], each["kind"]
        resource = defined.get(kind) or kube.resource(*kind)
        namespace = each["metadata"].get("namespace") or settings.namespace
        objects.append(placed(each, namespace if resource.namespaced else None))
    adapted = adapt(objects, release(settings.istio_version), served, settings.namespace)
    return _Fitted(
        tuple(with_pull_secret(_with_namespace(adapted.objects, settings.namespace), settings)),
        migrated.unserved,
        migrated.rewrites,
        adapted.adaptations,
        adapted.registrations,
    )


def _kept_to_run(fitted: _Fitted, found: Preflight, run: str) -> _Fitted:
    """Return what is to be installed, with webhooks that leave alone the namespaces which others have."""
    objects, adaptations = narrow(fitted.objects, found.others, {RUN_LABEL: run})
    return replace(fitted, objects=objects, adaptations=(*fitted.adaptations, *adaptations))


def _pull_secrets(settings: Settings, objects: Iterable[Object]) -> list[Object]:
    """Return the Secret with the user's credentials for each namespace that gets pods."""
    workloads = (each for each in objects if each["kind"] in WORKLOADS)
    return secrets(settings, [each["metadata"]["namespace"] for each in workloads])


def placed(obj: Object, namespace: str | None) -> Object:
    """Return an object in a namespace, or in none."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "namespace"}
    return {**obj, "metadata": metadata if namespace is None else {**metadata, "namespace": namespace}}


def _with_namespace(objects: Iterable[Object], namespace: str) -> list[Object]:
    """Return the objects with their namespace among them, never itself injected."""
    objects = list(objects)
    if any(each["kind"] == "Namespace" and each["metadata"]["name"] == namespace for each in objects):
        return objects
    metadata = {"name": namespace, "labels": {"istio-injection": "disabled"}}
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, *objects]
