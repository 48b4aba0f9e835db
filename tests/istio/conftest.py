"""Istio and bookinfo on the embedded Kubernetes, for the tests that judge the real thing."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio import bookinfo as application
from pytest_istio import gateway as entrance
from pytest_istio.clusters.local import LocalProvider
from pytest_istio.istio import install, observations, sources
from pytest_istio.kube.client import Kube
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings
from pytest_istio.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_istio.bookinfo import Bookinfo
    from pytest_istio.gateway import Gateway
    from pytest_istio.istio.mesh import Mesh

FOLDER = os.environ.get("PYTEST_ISTIO_KUBE_BINARIES")
TIMEOUTS = replace(
    Timeouts(),
    rollout=90.0,
    webhook_live=30.0,
    sidecar_sync=30.0,
    gateway_answer=30.0,
    gateway_address=20.0,
    consistency=60.0,
)
SETTINGS = Settings(
    istio_version="1.0.5",
    cluster="local",
    timeouts=TIMEOUTS,
    kube_binaries=Path(FOLDER) if FOLDER else None,
)


@dataclass(frozen=True)
class Installed:
    """What the tests look at."""

    mesh: Mesh
    bookinfo: Bookinfo
    gateway: Gateway
    kubeconfig: Path

    def problems(self, check_id: str) -> str:
        """Return what is wrong at this moment: the bounds leave no time to wait for it to pass."""
        hasty = replace(self.mesh, settings=replace(SETTINGS, timeouts=TIMEOUTS.scaled(0.05)))
        subject = observations.Subject(hasty, self.bookinfo.namespace, self.gateway)
        return "\n".join(observations.observe(check_id, subject))


@pytest.fixture(scope="session")
def local(kube_binaries: Mapping[str, Path]) -> Iterator[Installed]:
    provider = LocalProvider()
    with ExitStack() as held:
        cluster = provider.start(SETTINGS, Silent())
        held.callback(provider.stop, cluster, keep=False)
        kube = Kube.connect(cluster.kubeconfig)
        held.callback(kube.close)
        manifests = sources.manifests(SETTINGS)
        mesh = install.start(kube, SETTINGS, manifests, created=True, run="test", progress=Silent())
        started = application.start(mesh, "default", progress=Silent())
        mesh = install.finish(mesh, progress=Silent())
        bookinfo = application.finish(replace(started, mesh=mesh), progress=Silent())
        gateway = entrance.find(mesh, partial(provider.wire, cluster), progress=Silent())
        held.callback(gateway.close)
        gateway.wait_answer("/productpage", timeout=TIMEOUTS.gateway_answer)
        yield Installed(mesh, bookinfo, gateway, cluster.kubeconfig)
