"""Writing a report into a file; the file's suffix picks the form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.report.model import Report

__all__ = ["check", "write"]


def _json(report: Report) -> str:
    return json.dumps(report.to_data(), indent=2) + "\n"


def _yaml(report: Report) -> str:
    text: str = yaml.safe_dump(report.to_data(), sort_keys=False, allow_unicode=True, width=100)
    return text


WRITERS: dict[str, Callable[[Report], str]] = {".json": _json, ".yaml": _yaml, ".yml": _yaml}


def check(path: Path) -> None:
    """See to it before a run that a report can be written to a file after it.

    Raises:
        ValueError: The suffix is unknown, or there is no folder that can be written to; goes on from the
            file's name.
    """
    if path.suffix not in WRITERS:
        raise ValueError(f"must end in one of {', '.join(WRITERS)}")
    try:
        # Where a link leads, the file is made.
        place = Path(os.path.realpath(path))
        if not place.parent.is_dir():
            raise ValueError(f"cannot be written: the folder {place.parent} does not exist")
        if place.is_dir():
            raise ValueError("cannot be written: it is a folder")
        if place.exists() and not place.is_file():
            raise ValueError("cannot be written: it is no file")
        if place.is_symlink():
            raise ValueError("cannot be written: it is a link that leads to itself")
        if not place.exists():
            place = place.parent
    except OSError as error:
        raise ValueError(f"cannot be written: {error}") from None
    if not os.access(place, os.W_OK):
        raise ValueError(f"cannot be written: {place} is closed to this user")


def write(report: Report, path: Path) -> None:
    """Write the report, replacing the file."""
    path.write_text(WRITERS[path.suffix](report), encoding="utf-8")
