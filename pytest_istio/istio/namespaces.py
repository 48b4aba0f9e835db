"""Namespaces that a run makes for a while."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_istio.istio.pull_secret import give
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import wait_for, wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress

__all__ = ["INJECTION", "temporary_namespace"]

INJECTION = "istio-injection"
"""The label by which the injector's webhook selects namespaces."""


@contextmanager
def temporary_namespace(
    mesh: Mesh, prefix: str, *, injected: bool, progress: Progress, gone: bool = False
) -> Iterator[str]:
    """Give the name of a fresh namespace that pods can be created in, and delete it afterwards.

    Args:
        mesh: The installed mesh.
        prefix: What the name begins with.
        injected: Whether it is labelled for injection.
        progress: Is told what is awaited.
        gone: Whether to wait until it is gone; its pods end a little after the deletion otherwise.
    """
    labels = {**mesh.labels, **({INJECTION: "enabled"} if injected else {})}
    name = f"{prefix}-{uuid.uuid4().hex[:6]}"
    mesh.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    try:
        # Without its service account the API server refuses every pod.
        wait_for(
            mesh.kube, "v1", "ServiceAccount", "default", name, _exists,
            timeout=mesh.timeouts.crd_established, progress=progress,
        )  # fmt: skip
        give(mesh, name)
        yield name
    finally:
        mesh.kube.delete("v1", "Namespace", name)
        if gone:
            ref = Ref("v1", "Namespace", None, name)
            wait_gone(mesh.kube, [ref], timeout=mesh.timeouts.namespace_gone, progress=progress)


def _exists(found: Object | None) -> str | None:
    return None if found else "it is not there yet"
