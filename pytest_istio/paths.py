"""Where what ships with the program lies (beside the package, or inside it in a wheel), and what it keeps."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PACKAGE", "fixtures_folder", "suites_folder", "user_folder"]

PACKAGE = Path(__file__).resolve().parent


def fixtures_folder() -> Path:
    """Return the folder with the bundled manifests (``fixtures/`` of the repository)."""
    installed = PACKAGE / "bundled"
    return installed if installed.is_dir() else PACKAGE.parent / "fixtures"


def suites_folder() -> Path:
    """Return the folder with the conformance checks (``suites/`` of the repository)."""
    installed = PACKAGE / "suites"
    return installed if installed.is_dir() else PACKAGE.parent / "suites"


def user_folder(variable: str, usual: str) -> Path:
    """Return this user's folder for what this program keeps, or remembers.

    Args:
        variable: ``XDG_STATE_HOME`` or ``XDG_CACHE_HOME``; the XDG Base Directory Specification has relative
            values ignored.
        usual: What it is without, below the home folder.
    """
    named = Path(os.environ.get(variable, ""))
    return (named if named.is_absolute() else Path.home() / usual) / "pytest-istio"
