"""Prometheus: the machine's own where there is one, else a stand-in that is there and scrapes nothing."""

from __future__ import annotations

import shutil

__all__ = ["real_program"]


def real_program() -> str | None:
    """Return the path of the machine's Prometheus, None if it has none."""
    return shutil.which("prometheus")
