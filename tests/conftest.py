"""What all tests share: the Kubernetes programs, and the marker of what needs them."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.kube.client import Kube
from pytest_istio.local.binaries import find_binaries
from pytest_istio.local.controlplane import running_control_plane

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Shown:
    """Progress on the terminal: a first build takes minutes."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._last = ""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.waiting(name)
        yield

    def waiting(self, what: str) -> None:
        what = what.partition(",")[0]
        if what != self._last:
            self._last = what
            with self._capture.global_and_fixture_disabled():
                print(f"\n{what}", flush=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--interrupts", type=int, default=20, metavar="N", help="Whole runs to interrupt at random moments."
    )


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "cluster: starts a cluster of its own; set on tests that need the Kubernetes programs.",
        "faults: runs the suites on a cluster with a fault in it; a quarter of an hour for all of them.",
    ):
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kube_binaries" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Have signals reach what the tests start: a shell's background jobs ignore SIGINT, nohup's SIGHUP."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def kube_binaries(pytestconfig: pytest.Config) -> Mapping[str, Path]:
    """The programs of a control plane: found, fetched or built."""
    folder = os.environ.get("PYTEST_ISTIO_KUBE_BINARIES")
    try:
        return find_binaries(Path(folder) if folder else None, _Shown(pytestconfig))
    except ClusterError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def kube(kube_binaries: Mapping[str, Path]) -> Iterator[Kube]:
    """A client of a control plane without nodes."""
    with running_control_plane(kube_binaries) as plane:
        kube = Kube.connect(plane.kubeconfig)
        yield kube
        kube.close()
