"""What a container needs of the pod that owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.local.api import Object
    from pytest_istio.local.node.context import Context
    from pytest_istio.local.node.volumes import Volumes

__all__ = ["Owner"]


class Owner(Protocol):
    """A pod, as its containers see it.

    Attributes:
        context: What all pods of the node share.
        pod: The newest version of the object, with the pod's addresses in its status.
        ip: The pod's address.
        folder: Holds all files of the pod.
        volumes: The pod's volumes.
    """

    context: Context
    pod: Object
    ip: str
    folder: Path
    volumes: Volumes

    def changed(self) -> None:
        """Have the pod's status reported."""
        ...

    def event(
        self, reason: str, message: str, *, container: str | None = None, warning: bool = False
    ) -> None:
        """Record an event of the pod or of a container."""
        ...
