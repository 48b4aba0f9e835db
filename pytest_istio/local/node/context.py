"""What all pods of the node share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.api import Api
    from pytest_istio.local.images import Program
    from pytest_istio.local.node.configuration import Configuration
    from pytest_istio.local.node.events import Recorder

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """What all pods of the node share.

    Attributes:
        api: The API server's client.
        plan: The cluster's addresses.
        folder: Where the pods' files lie; its path is short, as Unix sockets lie in there too.
        hosts: The file with the addresses of services.
        find_program: Returns the program for an image, None if there is none.
        configuration: The cluster's Secrets and ConfigMaps.
        recorder: Takes events.
        capacity: What the node has to give, as the API's quantities.
    """

    api: Api
    plan: Plan
    folder: Path
    hosts: Path
    find_program: Callable[[str], Program | None]
    configuration: Configuration
    recorder: Recorder
    capacity: Mapping[str, str]
