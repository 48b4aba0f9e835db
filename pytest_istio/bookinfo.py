"""Bookinfo, the sample application: four services in six Deployments, each pod with a sidecar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_istio.inside import Answer, ask
from pytest_istio.istio import sources
from pytest_istio.istio.address import gateway_service
from pytest_istio.istio.inject import InjectionConfig, inject
from pytest_istio.istio.install import placed
from pytest_istio.istio.mesh import MANAGER, RESERVED_DOMAIN
from pytest_istio.istio.mirror import mirrored
from pytest_istio.istio.namespaces import INJECTION
from pytest_istio.istio.pull_secret import NAME, secrets, with_pull_secret
from pytest_istio.kube.apply import apply, delete
from pytest_istio.kube.manifests import load
from pytest_istio.kube.migrate import migrate
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, Trouble, wait_ready

if TYPE_CHECKING:
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.migrate import Rewrite
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress

__all__ = ["Answer", "Bookinfo", "finish", "start"]


@dataclass(frozen=True)
class Bookinfo:
    """The sample application in a namespace, ready or not.

    Attributes:
        mesh: The mesh it is part of.
        namespace: Where it is.
        objects: What was applied: after migration, and with the sidecars where they were injected by hand.
        rewrites: What the migration changed.
        made_namespace: Whether the namespace was made for it.
        troubles: What did not become ready, and why.
    """

    mesh: Mesh
    namespace: str
    objects: tuple[Object, ...]
    rewrites: tuple[Rewrite, ...]
    made_namespace: bool
    troubles: tuple[Trouble, ...] = ()

    @property
    def kube(self) -> Kube:
        """The cluster."""
        return self.mesh.kube

    @property
    def services(self) -> tuple[str, ...]:
        """The names of its Services."""
        return self.mesh.release.bookinfo.services

    @property
    def deployments(self) -> tuple[str, ...]:
        """The names of its Deployments."""
        return self.mesh.release.bookinfo.deployments

    def request_inside(self, path: str) -> Answer:
        """Ask productpage for a path from a pod of the mesh; see `pytest_istio.inside.ask`.

        Raises:
            ClusterError: No pod can ask, or no answer came.
        """
        return ask(self.mesh, self.namespace, path)

    def remove(self, *, progress: Progress) -> None:
        """Take it away again, and its namespace or the namespace's label if they were made for it."""
        refs = [Ref.of(each) for each in self.objects]
        if self.mesh.settings.image_pull_secret:
            refs.append(Ref("v1", "Secret", self.namespace, NAME))
        if self.made_namespace:
            refs.append(Ref("v1", "Namespace", None, self.namespace))
        elif self.mesh.settings.injection == "automatic":
            label(self.mesh, self.namespace, None)
        with progress.phase("remove bookinfo"):
            delete(self.kube, refs, timeouts=self.mesh.timeouts, progress=progress)


def start(mesh: Mesh, namespace: str, *, progress: Progress) -> Bookinfo:
    """Apply bookinfo, with sidecars as the settings say, and its gateway, without waiting for the pods.

    With manual injection nothing of the control plane needs to run yet. With automatic injection the
    injector's webhook is awaited first, since a pod that it refuses comes back only minutes later.

    Args:
        mesh: The mesh.
        namespace: Where bookinfo goes; made if it is not there.
        progress: Is told the phases and what is awaited.

    Raises:
        ManifestError: The manifests cannot be used.
        KubeError: The API server refuses them.
    """
    folder = sources.bookinfo(mesh.release.version)
    given = [*load(folder / "bookinfo.yaml").objects, *load(folder / "bookinfo-gateway.yaml").objects]
    given = list(mirrored(given, mesh.settings.image_registries))
    if mesh.host:
        given = [_at_installed(mesh, mesh.host, each) for each in given]
    objects, rewrites, troubles = _migrated(mesh, [placed(each, namespace) for each in given])
    made = mesh.kube.find("v1", "Namespace", namespace) is None
    if made:
        metadata = {"name": namespace, "labels": mesh.labels}
        mesh.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    if mesh.settings.injection == "manual":
        objects = inject(objects, InjectionConfig.from_manifests(mesh.objects))
    else:
        progress.waiting("the injector's webhook")
        # What it finds is not lost: the checks about the webhook and the pods say it again.
        mesh.problems("CP-006")
        label(mesh, namespace, "enabled")
    objects = with_pull_secret(objects, mesh.settings)
    with progress.phase("apply bookinfo"):
        apply(
            mesh.kube,
            [*secrets(mesh.settings, [namespace]), *objects],
            manager=MANAGER,
            labels=mesh.labels,
            timeouts=mesh.timeouts,
            progress=progress,
        )
    return Bookinfo(mesh, namespace, tuple(objects), rewrites, made, troubles)


def _at_installed(mesh: Mesh, host: str, obj: Object) -> Object:
    """Return an object, made to lead nothing but a host of the run's through a gateway that is there."""
    if obj["kind"] == "VirtualService":
        return {**obj, "spec": {**obj["spec"], "hosts": [host]}}
    if obj["kind"] != "Gateway":
        return obj
    servers = [{**each, "hosts": [f"*.{RESERVED_DOMAIN}"]} for each in obj["spec"]["servers"]]
    selector = gateway_service(mesh)["spec"].get("selector") or {}
    return {**obj, "spec": {**obj["spec"], "selector": selector, "servers": servers}}


def _migrated(
    mesh: Mesh, objects: list[Object]
) -> tuple[list[Object], tuple[Rewrite, ...], tuple[Trouble, ...]]:
    """Return the objects that this API server takes; others, as routes without a definition, are troubles."""
    migrated = migrate(objects, mesh.kube.served())
    troubles = tuple(Trouble(each.ref, "NotServed", each.why) for each in migrated.unserved)
    return list(migrated.objects), migrated.rewrites, troubles


def finish(bookinfo: Bookinfo, *, progress: Progress) -> Bookinfo:
    """Wait for the Deployments and their sidecars, and return bookinfo with what did not become ready.

    Args:
        bookinfo: What `start` returned, with the mesh as it has become meanwhile.
        progress: Is told what is awaited.
    """
    mesh = bookinfo.mesh
    refs = [Ref("apps/v1", "Deployment", bookinfo.namespace, name) for name in bookinfo.deployments]
    troubles = bookinfo.troubles
    # Sidecars of a mesh that is not ready rarely become so; what hinders them has been said of the mesh.
    bound = mesh.timeouts.sidecar_sync if mesh.troubles else mesh.timeouts.rollout
    with progress.phase("bookinfo"):
        try:
            wait_ready(mesh.kube, refs, timeout=bound, progress=progress)
        except NotReadyError as error:
            troubles += error.troubles
    return replace(bookinfo, troubles=troubles)


def label(mesh: Mesh, namespace: str, value: str | None) -> None:
    """Set or remove the label by which the injector's webhook selects a namespace."""
    mesh.kube.patch("v1", "Namespace", namespace, None, {"metadata": {"labels": {INJECTION: value}}})
