"""All that is on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_istio.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["stored"]


def stored(kube: Kube, *, but: Collection[str]) -> Iterator[Object]:
    """Give the objects of all kinds that are stored.

    Args:
        kube: The API server.
        but: Kinds to leave out.
    """
    for api_version, kind in sorted(kube.served()):
        if kind in but:
            continue
        try:
            objects = kube.list(api_version, kind)
        except KubeError:
            # Kinds that are asked for and not stored.
            continue
        yield from (each for each in objects if "uid" in each["metadata"])
