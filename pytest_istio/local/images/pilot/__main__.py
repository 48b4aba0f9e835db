"""``pilot-discovery discovery``: follows the cluster and serves the proxies.

Discovery is REST here, where the real one speaks gRPC at the same port.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import threading
import time
from typing import NoReturn

from pytest_istio.local.images.arguments import parse
from pytest_istio.local.images.cluster_api import ApiError, ClusterApi
from pytest_istio.local.images.environment import (
    log,
    namespace,
    pod_address,
    run_until_terminated,
)
from pytest_istio.local.images.pilot import crds
from pytest_istio.local.images.pilot.discovery import Discovery
from pytest_istio.local.images.pilot.mesh import picture
from pytest_istio.local.images.pilot.mesh_config import mesh_config
from pytest_istio.local.images.pilot.status import Debug, monitoring
from pytest_istio.local.images.pilot.store import Store
from pytest_istio.local.images.web import serve

__all__ = ["main"]

HTTP_PORT = 8080
MONITORING_PORT = 9093
DISCOVERY_PORT = 15010


# Changes that come within this time of each other make one picture; objects are applied in bunches.
_BUNCH = 0.01
_RETRY_PAUSE = 0.5


class _Painter(threading.Thread):
    """Makes a new picture of the mesh whenever something has changed, once all kinds have been seen."""

    def __init__(self, api: ClusterApi, discovery: Discovery, *, ingresses: bool) -> None:
        super().__init__(daemon=True)
        self._api = api
        self._ingresses = ingresses
        self._discovery = discovery
        self._changed = threading.Event()
        self._unserved: dict[str, str] = {"CustomResourceDefinitions": "not looked at yet"}
        self.store = Store(api, crds.KINDS, self._changed.set)

    def unready(self) -> dict[str, str]:
        return self._unserved | self.store.unseen()

    def run(self) -> None:
        self.store.start()
        self._await_kinds()
        while True:
            self._changed.wait()
            time.sleep(_BUNCH)
            self._changed.clear()
            if not self.store.unseen():
                self._discovery.show(picture(self.store.objects()))

    def _await_kinds(self) -> None:
        while True:
            try:
                self._unserved = crds.unserved(self._api, ingresses=self._ingresses)
            except (ApiError, OSError, http.client.HTTPException) as error:
                self._unserved = {"CustomResourceDefinitions": str(error)}
            if not self._unserved:
                return
            time.sleep(_RETRY_PAUSE)


def _version(api: ClusterApi) -> str:
    """Return what ``/version`` says: the release is the one that this pod's image names."""
    pod = os.environ.get("POD_NAME", os.uname().nodename)
    containers = api.request("GET", f"/api/v1/namespaces/{namespace()}/pods/{pod}")["spec"]["containers"]
    image = next(one["image"] for one in containers if one["name"] != "istio-proxy")
    repository, _, tag = image.rpartition(":")
    hub = repository.rpartition("/")[0]
    return f"root@{pod}-{hub}-{tag}-stand-in-of-pytest-istio"


def _install(api: ClusterApi) -> None:
    try:
        crds.install(api)
    except ApiError as error:
        log("failed to register custom resources", level="error", error=str(error))
        sys.exit(255)


def _follows_ingresses() -> bool:
    """Tell whether the mesh configuration lets the ingress controller run; like all settings, by default."""
    # Unquoted it is a boolean, at which the release falls back to its defaults as well.
    return mesh_config().get("ingressControllerMode") != "OFF"


def main(argv: list[str]) -> NoReturn:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="pilot-discovery", add_help=False)
    parser.add_argument("command", choices=["discovery"])
    parser.add_argument("--disable-install-crds", dest="disable_install_crds", action="store_true")
    arguments = parse(parser, argv)
    api = ClusterApi()
    discovery = Discovery()
    painter = _Painter(api, discovery, ingresses=_follows_ingresses())
    serve(Debug(discovery, painter.unready).answer, pod_address(HTTP_PORT), software="pilot")
    serve(discovery.answer, pod_address(DISCOVERY_PORT), software="pilot")
    try:
        if not arguments.disable_install_crds:
            _install(api)
        version = _version(api)
    except (ApiError, OSError, http.client.HTTPException) as error:
        log("cannot begin without the API server's consent", level="error", error=str(error))
        sys.exit(255)
    painter.start()
    serve(monitoring(discovery, version), pod_address(MONITORING_PORT), software="pilot")
    log("discovery service listens", http=pod_address(HTTP_PORT), discovery=pod_address(DISCOVERY_PORT))
    run_until_terminated()


if __name__ == "__main__":
    main(sys.argv[1:])
