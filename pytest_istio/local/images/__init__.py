"""The images that the embedded Kubernetes has programs for.

The programs are started by the node, each in a process of its own; nothing imports them but tests.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_istio.local.images.program import HttpProbe, Program, TcpProbe
    from pytest_istio.local.images.registry import PROGRAMS, find_program

__all__ = ["PROGRAMS", "HttpProbe", "Program", "TcpProbe", "find_program"]


def __getattr__(name: str) -> object:
    # The program of every container imports this package, and the registry is most of what a probe costs.
    if name in __all__:
        return getattr(importlib.import_module("pytest_istio.local.images.registry"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
