from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.images.pods import Pods, running_pods

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@pytest.fixture(scope="session")
def pods(kube_binaries: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """A control plane on which programs of images run."""
    with running_pods(kube_binaries, tmp_path_factory.mktemp("pods")) as running:
        yield running


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are those of the embedded Kubernetes, with ports as they are."""
    monkeypatch.setenv("LOCAL_ADDRESSES", "/nowhere")
    monkeypatch.delenv("LOCAL_PORT_SHIFT", raising=False)
