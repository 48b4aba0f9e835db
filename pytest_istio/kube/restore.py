"""Bringing objects back to what they were before they were changed, deleted or made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object, Ref

__all__ = ["Remembered"]

KEPT = ("name", "namespace", "labels", "annotations")
"""What of an object's metadata is its author's and not the API server's."""


class Remembered:
    """Objects as they were, each the first time that it was remembered."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._before: dict[Ref, Object | None] = {}

    def remember(self, ref: Ref) -> None:
        """Note what an object is now, or that there is none."""
        if ref not in self._before:
            self._before[ref] = self._kube.find(ref.api_version, ref.kind, ref.name, ref.namespace)

    def restore(self) -> None:
        """Bring the objects back, the last one first."""
        kube = self._kube
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
