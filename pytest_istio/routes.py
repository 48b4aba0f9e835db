"""Changing how the mesh routes, for the length of one test."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.istio.mesh import MANAGER
from pytest_istio.kube.manifests import load
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

__all__ = ["Routes"]

KEPT = ("name", "namespace", "labels", "annotations")
"""What of an object's metadata is its author's and not the API server's."""


class Routes:
    """Applies objects and remembers what was there before.

    A change takes a moment to reach every proxy: await the effect that the test is about, such as by
    `Gateway.wait_answer`, before judging.
    """

    def __init__(self, mesh: Mesh, namespace: str) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._before: dict[Ref, Object | None] = {}

    def apply(self, *sources: Path | Iterable[Object]) -> None:
        """Apply manifest files, or objects; those that name no namespace go to bookinfo's.

        Raises:
            ManifestError: The file cannot be used.
            KubeError: The API server, or the mesh's validation behind it, refuses an object.
        """
        for given in chain.from_iterable(_objects(source) for source in sources):
            metadata = {"namespace": self._namespace, **given["metadata"]}
            metadata["labels"] = {**metadata.get("labels", {}), **self._mesh.labels}
            obj = {**given, "metadata": metadata}
            self._remember(obj)
            self._mesh.kube.apply(obj, manager=MANAGER)

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> None:
        """Take away an object until the end of the test."""
        metadata = {"name": name, "namespace": namespace or self._namespace}
        self._remember({"apiVersion": api_version, "kind": kind, "metadata": metadata})
        self._mesh.kube.delete(api_version, kind, name, metadata["namespace"])

    def restore(self) -> None:
        """Bring every object back to what it was before the test."""
        kube = self._mesh.kube
        while self._before:
            ref, before = self._before.popitem()
            now = kube.find(ref.api_version, ref.kind, ref.name, ref.namespace)
            if before is None:
                kube.delete(ref.api_version, ref.kind, ref.name, ref.namespace)
            elif now is None:
                kept = {key: before["metadata"][key] for key in KEPT if key in before["metadata"]}
                kube.create({**before, "metadata": kept})
            else:
                version = now["metadata"]["resourceVersion"]
                kube.replace({**before, "metadata": {**before["metadata"], "resourceVersion": version}})

    def _remember(self, obj: Object) -> None:
        ref = Ref.of(obj)
        if ref not in self._before:
            self._before[ref] = self._mesh.kube.find(ref.api_version, ref.kind, ref.name, ref.namespace)


def _objects(source: Path | Iterable[Object]) -> Iterable[Object]:
    return load(source).objects if isinstance(source, Path) else source
