"""Prometheus: the machine's own where there is one, else a stand-in that is there and scrapes nothing."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["real_program"]


def real_program() -> str | None:
    """Return the path of the machine's Prometheus, None if it has none."""
    # Not shutil.which: every container's program imports the registry, which asks this, at its start.
    for folder in os.get_exec_path():
        program = Path(folder) / "prometheus"
        if program.is_file() and os.access(program, os.X_OK):
            return str(program)
    return None
