"""The official release's own files, where the person running the tests has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

VARIABLE = "PYTEST_ISTIO_REFERENCE_DATA"


def reference(name: str) -> Path:
    """Return a file of the official 1.0.5 release, or skip the test."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with the official release's files")
    return Path(folder) / "istio-1.0.5" / name


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if each]


def without_emptiness(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return a value without nulls and empty mappings, which mean nothing to the API server."""
    if isinstance(value, dict):
        cleaned = {key: without_emptiness(each) for key, each in value.items()}
        return {key: each for key, each in cleaned.items() if each is not None and each != {}}
    return [without_emptiness(each) for each in value] if isinstance(value, list) else value
