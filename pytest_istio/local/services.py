"""What runs inside the supervisor beside the control plane: the node and the network."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.local.api import Api, ApiError
from pytest_istio.local.images import find_program
from pytest_istio.local.network import Network
from pytest_istio.local.node import Node
from pytest_istio.local.protocol import emit

if TYPE_CHECKING:
    from pytest_istio.local.controlplane import ControlPlane

__all__ = ["serve", "wait_ready"]

_ANSWER_PAUSE = 0.05


async def serve(plane: ControlPlane, start_timeout: float) -> None:
    """Bring up the node and the network, tell the owner when all is ready, and go on serving.

    Args:
        plane: The control plane, its programs already started.
        start_timeout: Seconds until all must be ready.

    Raises:
        ClusterError: It was not.
    """
    api = Api(plane.server, plane.authority.certificate, plane.token)
    network = Network(api, plane.plan, plane.folder)
    serving = asyncio.ensure_future(network.run(plane.egress))
    pods = plane.folder / "pods"
    pods.mkdir()
    node = Node(
        api,
        plane.plan,
        pods,
        hosts=network.hosts,
        serving=plane.kubelet_serving,
        authority=plane.authority.certificate,
        find_program=find_program,
    )
    await asyncio.gather(wait_ready(plane, start_timeout), _start(node, api))
    emit(
        "ready",
        name=plane.folder.name,
        kubeconfig=str(plane.kubeconfig),
        folder=str(plane.folder),
        low_ports=plane.plan.port_shift == 0,
    )
    await serving


async def wait_ready(plane: ControlPlane, timeout: float) -> None:
    """Return once the API server is ready and pods can be created in the namespace ``default``.

    Args:
        plane: The control plane, started.
        timeout: Seconds.

    Raises:
        ClusterError: A program ended, or it took too long.
    """
    deadline = time.monotonic() + timeout
    api = Api(plane.server, plane.authority.certificate, plane.token)
    try:
        for path in ("/readyz", "/api/v1/namespaces/default/serviceaccounts/default"):
            while seen := await _refusal(api, path):
                plane.check()
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"The embedded Kubernetes is not ready after {timeout:.0f} s: {seen}\n"
                        "The machine may be overloaded; --istio-timeout-factor=3 waits longer.\n"
                        + plane.last_lines("kube-apiserver")
                    )
                # The API has no way to wait for readiness.
                await asyncio.sleep(_ANSWER_PAUSE)
    finally:
        await api.close()
    plane.ready = True


async def _refusal(api: Api, path: str) -> str | None:
    """Return why a path gives no answer; None if it gives one."""
    try:
        await api.get(path)
    except ApiError as error:
        return str(error)
    return None


async def _start(node: Node, api: Api) -> None:
    """Start the node as soon as the API server answers, well before it is ready."""
    while await _refusal(api, "/version"):
        await asyncio.sleep(_ANSWER_PAUSE)
    await node.start()
