from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.local.node.cluster import Namespace, eventually, running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cluster(kube_binaries: Mapping[str, Path]) -> Iterator[tuple[Path, Path]]:
    """A cluster with the programs of these tests: its kubeconfig and the folder of its pods."""
    with running_cluster(kube_binaries) as running:
        yield running


@pytest.fixture
def namespace(cluster: tuple[Path, Path]) -> Iterator[Namespace]:
    """A fresh namespace."""
    found = Namespace(f"test-{next(_numbers)}", *cluster)
    found.kubectl("create", "namespace", found.name)
    # Pods are refused until it is there.
    eventually(lambda: found.kubectl("get", "serviceaccount", "default", check=False).returncode == 0)
    yield found
    found.kubectl("delete", "namespace", found.name, "--wait=false")
