from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters import kind
from pytest_istio.clusters.engine import Engine, find_engine
from pytest_istio.errors import ClusterError
from tests.kind import images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODE_IMAGE = "PYTEST_ISTIO_TEST_NODE_IMAGE"
"""The environment variable that names a node image that is on this machine; without it no cluster is made."""

BASE_IMAGE = "PYTEST_ISTIO_TEST_BASE_IMAGE"
"""The environment variable that names an image with Python 3.11, iptables and bash, to build upon."""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, with what a shell script needs; no engine is found elsewhere."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for program in ("cat", "chmod", "mkdir", "mv", "rm", "sh", "sleep", "touch"):
        (folder / program).symlink_to(f"/bin/{program}")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("KIND_EXPERIMENTAL_PROVIDER", raising=False)
    return folder


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of others on this machine are none of these tests' business."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine of this machine."""
    if NODE_IMAGE not in os.environ:
        pytest.skip(f"{NODE_IMAGE} names no node image")
    try:
        found = find_engine()
    except ClusterError as error:
        pytest.skip(str(error))
    if found.inspect(os.environ[NODE_IMAGE]) is None:
        pytest.skip(f"{found.program} has no image {os.environ[NODE_IMAGE]}")
    return found


@pytest.fixture
def node_image(engine: Engine) -> str:
    """A node image that is on this machine."""
    return os.environ[NODE_IMAGE]


@pytest.fixture
def _cleaned() -> Iterator[None]:
    """Have no cluster of a test outlive it."""
    yield
    kind.cleanup()


@pytest.fixture(scope="session")
def stand_ins(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The names of the images of Istio 1.0.5, under which the engine has stand-ins."""
    if BASE_IMAGE not in os.environ:
        pytest.skip(f"{BASE_IMAGE} names no image to build stand-ins from")
    there = images.present()
    yield images.build(os.environ[BASE_IMAGE], tmp_path_factory.mktemp("images"))
    if not there:
        images.remove()
