"""Changing how the mesh routes, for the length of one test."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.istio.mesh import MANAGER
from pytest_istio.kube.manifests import load
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.restore import Remembered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

__all__ = ["Routes"]


class Routes:
    """Applies objects and remembers what was there before.

    A change takes a moment to reach every proxy: await the effect that the test is about, such as by
    `Gateway.wait_answer`, before judging.
    """

    def __init__(self, mesh: Mesh, namespace: str) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._before = Remembered(mesh.kube)

    def apply(self, *sources: Path | Iterable[Object]) -> None:
        """Apply manifest files, or objects; those that name no namespace go to bookinfo's.

        Raises:
            TypeError: Text is given, be it the name of a file.
            ManifestError: The file cannot be used.
            KubeError: The API server, or the mesh's validation behind it, refuses an object.
        """
        for given in chain.from_iterable(_objects(source) for source in sources):
            metadata = {"namespace": self._namespace, **given["metadata"]}
            metadata["labels"] = {**metadata.get("labels", {}), **self._mesh.labels}
            obj = {**given, "metadata": metadata}
            self._before.remember(Ref.of(obj))
            self._mesh.kube.apply(obj, manager=MANAGER)

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> None:
        """Take away an object until the end of the test."""
        ref = Ref(api_version, kind, namespace or self._namespace, name)
        self._before.remember(ref)
        self._mesh.kube.delete(ref.api_version, ref.kind, ref.name, ref.namespace)

    def restore(self) -> None:
        """Bring every object back to what it was before the test."""
        self._before.restore()


def _objects(source: Path | Iterable[Object]) -> Iterable[Object]:
    if isinstance(source, str):
        msg = f"routes.apply takes files as Path({source[:80]!r}), and objects as dictionaries, not text"
        raise TypeError(msg)
    return load(source).objects if isinstance(source, Path) else source
