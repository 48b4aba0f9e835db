"""Where what ships with the program lies: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PACKAGE", "fixtures_folder", "suites_folder"]

PACKAGE = Path(__file__).resolve().parent


def fixtures_folder() -> Path:
    """Return the folder with the bundled manifests (``fixtures/`` of the repository)."""
    installed = PACKAGE / "bundled"
    return installed if installed.is_dir() else PACKAGE.parent / "fixtures"


def suites_folder() -> Path:
    """Return the folder with the conformance checks (``suites/`` of the repository)."""
    installed = PACKAGE / "suites"
    return installed if installed.is_dir() else PACKAGE.parent / "suites"
