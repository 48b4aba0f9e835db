"""Writing a report into a file; the file's suffix picks the form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from pytest_istio.errors import BadSettingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_istio.report.model import Report

__all__ = ["WRITERS", "check", "write"]


def _json(report: Report) -> str:
    return json.dumps(report.to_data(), indent=2) + "\n"


def _yaml(report: Report) -> str:
    text: str = yaml.safe_dump(report.to_data(), sort_keys=False, allow_unicode=True, width=100)
    return text


WRITERS: dict[str, Callable[[Report], str]] = {".json": _json, ".yaml": _yaml, ".yml": _yaml}


def check(path: Path) -> None:
    """See to it before a run that a report can be written to a file after it.

    Raises:
        BadSettingError: The suffix is unknown, or there is no such folder.
    """
    if path.suffix not in WRITERS:
        raise BadSettingError(f"--istio-report: {path.name!r} must end in one of {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise BadSettingError(f"--istio-report: the folder {path.parent} does not exist")


def write(report: Report, path: Path) -> None:
    """Write the report, replacing the file."""
    path.write_text(WRITERS[path.suffix](report), encoding="utf-8")
