"""What is run for the image of a container on the embedded Kubernetes, where there are no containers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HttpProbe", "Program", "TcpProbe"]


@dataclass(frozen=True)
class HttpProbe:
    """Succeeds when ``GET path`` answers 200 at this port of the container.

    Attributes:
        port: The port as the container knows it.
        path: An absolute path.
    """

    port: int
    path: str


@dataclass(frozen=True)
class TcpProbe:
    """Succeeds when every TCP port that the container declares accepts a connection."""


@dataclass(frozen=True)
class Program:
    """A program that stands for an image.

    A container is run as ``python -m module`` followed by the ``command`` and ``args`` of its spec.

    Attributes:
        name: What the image is called, for people.
        module: The Python module that is run.
        started: What must succeed before the kubelet calls the container running; None calls it
            running as soon as its process exists. Containers of Istio 1.0 declare no probes, and a pod
            that counts as ready before its sidecar listens answers 503.
        stand_in: Whether the program stands in for the real one; False for a real one, such as Envoy.
        commands: Programs that ``kubectl exec`` and exec probes find in this image, name to module;
            run as ``python -m module`` with the arguments after the name.
        tags: A regular expression of the image's tags that there are.
    """

    name: str
    module: str
    started: HttpProbe | TcpProbe | None = None
    stand_in: bool = True
    commands: Mapping[str, str] = field(default_factory=dict)
    tags: str = ".*"
