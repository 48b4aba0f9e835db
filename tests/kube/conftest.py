from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from pytest_istio.kube.client import Kube
from pytest_istio.local.controlplane import running_control_plane

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_istio.local.controlplane import ControlPlane

_numbers = itertools.count()


@pytest.fixture(scope="session")
def plane(kube_binaries: Mapping[str, Path]) -> Iterator[ControlPlane]:
    """A control plane without nodes: what runs pods is played by `tests.kube.pods`."""
    with running_control_plane(kube_binaries) as plane:
        yield plane


@pytest.fixture(scope="session")
def kube(plane: ControlPlane) -> Iterator[Kube]:
    kube = Kube.connect(plane.kubeconfig)
    yield kube
    kube.close()


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A fresh namespace."""
    name = f"test-{next(_numbers)}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    kube.delete("v1", "Namespace", name)
