"""What is measured on: a control plane without nodes, or the embedded Kubernetes with Istio and bookinfo."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio import bookinfo as application
from pytest_istio import gateway as entrance
from pytest_istio.clusters.local import LocalProvider
from pytest_istio.istio import install, sources
from pytest_istio.kube.client import Kube
from pytest_istio.local.binaries import find_binaries
from pytest_istio.local.controlplane import running_control_plane
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.bookinfo import Bookinfo
    from pytest_istio.gateway import Gateway

__all__ = ["SETTINGS", "control_plane", "installed"]

_FOLDER = os.environ.get("PYTEST_ISTIO_KUBE_BINARIES")

SETTINGS = Settings(istio_version="1.0.5", cluster="local", kube_binaries=Path(_FOLDER) if _FOLDER else None)


@contextmanager
def control_plane() -> Iterator[Path]:
    """Run etcd, kube-apiserver and the controllers, and give the path of a kubeconfig."""
    programs = find_binaries(SETTINGS.kube_binaries, Silent())
    with running_control_plane(programs) as plane:
        yield plane.kubeconfig


@contextmanager
def installed() -> Iterator[tuple[Bookinfo, Gateway]]:
    """Run the embedded Kubernetes with Istio and bookinfo, once the gateway has answered 200."""
    provider, silent = LocalProvider(), Silent()
    with ExitStack() as held:
        cluster = provider.start(SETTINGS, silent)
        held.callback(provider.stop, cluster, keep=False)
        kube = Kube.connect(cluster.kubeconfig)
        held.callback(kube.close)
        manifests = sources.manifests(SETTINGS)
        mesh = install.start(kube, SETTINGS, manifests, created=True, run="benchmark", progress=silent)
        started = application.start(mesh, "default", progress=silent)
        mesh = install.finish(mesh, progress=silent)
        bookinfo = application.finish(replace(started, mesh=mesh), progress=silent)
        gateway = entrance.find(mesh, partial(provider.wire, cluster), progress=silent)
        held.callback(gateway.close)
        gateway.wait_answer("/productpage", timeout=mesh.timeouts.gateway_answer)
        yield bookinfo, gateway
