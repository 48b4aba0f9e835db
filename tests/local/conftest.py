"""What the tests of the embedded Kubernetes share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.local.binaries import find_binaries
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Mapping


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "cluster: starts a cluster of its own, hence needs Kubernetes' programs."
    )


@pytest.fixture(scope="session")
def kube_binaries() -> Mapping[str, Path]:
    folder = os.environ.get("PYTEST_ISTIO_KUBE_BINARIES")
    return find_binaries(Path(folder) if folder else None, Silent())
