"""The supervisor: one process that runs the control plane, the node and the network of one cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.local.api import Api, ApiError
from pytest_istio.local.controlplane import ControlPlane
from pytest_istio.local.images import find_program
from pytest_istio.local.network import Network
from pytest_istio.local.node import Node
from pytest_istio.local.protocol import DETACH, emit

if TYPE_CHECKING:
    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.protocol import Order

__all__ = ["supervise"]

_ANSWER_PAUSE = 0.05


def supervise(order: Order, plan: Plan, folder: Path) -> None:
    """Run a cluster until its owner lets go of it, or until a part of it fails.

    To be called in the main thread of a process that ends afterwards: nothing is stopped here, since all
    that runs is killed when this process ends, whatever way it does.

    Args:
        order: What is wanted.
        plan: The cluster's addresses.
        folder: The cluster's private folder.
    """
    try:
        # Not asyncio.run, which would wait for the thread that asks whether the API server is ready.
        asyncio.new_event_loop().run_until_complete(_Supervisor(order, plan, folder).run())
    except ClusterError as error:
        emit("error", text=str(error))
    except Exception:  # noqa: BLE001  # the owner must learn of it, and there is nobody above
        text = "The supervisor of the embedded Kubernetes failed, which is a fault of pytest-istio:\n"
        emit("error", text=text + traceback.format_exc())


class _Supervisor:
    def __init__(self, order: Order, plan: Plan, folder: Path) -> None:
        self._order = order
        self._plan = plan
        self._folder = folder
        self._plane = ControlPlane({name: Path(path) for name, path in order.programs.items()}, plan, folder)
        log = folder / "logs" / "supervisor.log"
        logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")

    async def run(self) -> None:
        """Return when the owner lets go.

        Raises:
            ClusterError: A program of the control plane ended, or the cluster did not become ready.
        """
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        self._plane.start()
        ends = (told.wait(), self._released(), self._lost(), self._serve())
        done, _ = await asyncio.wait(map(asyncio.ensure_future, ends), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _released(self) -> None:
        """Return at the end of stdin; never, if the owner has said to go on without him."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        words = (await reader.read()).decode().split()
        if DETACH in words:
            with Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), sys.stdout.fileno())
                os.dup2(nothing.fileno(), sys.stderr.fileno())
            await asyncio.Event().wait()

    async def _lost(self) -> None:
        """Wait for the end of any program of the control plane.

        Raises:
            ClusterError: Always.
        """
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for pid in self._plane.pids.values():
            loop.add_reader(os.pidfd_open(pid), ended.set)
        await ended.wait()
        raise ClusterError(self._plane.failure())

    async def _serve(self) -> None:
        """Bring up the rest, tell the owner, and go on serving.

        Raises:
            ClusterError: The cluster did not become ready.
        """
        emit("progress", text=f"{', '.join(self._order.programs)} to be ready")
        api = Api(self._plane.server, self._plane.authority.certificate, self._plane.token)
        network = Network(api, self._plan, self._folder)
        serving = asyncio.ensure_future(network.run(self._plane.egress))
        node = self._node(api, network.hosts)
        ready = asyncio.to_thread(self._plane.wait_ready, self._order.start_timeout)
        await asyncio.gather(ready, _start(node, api))
        emit(
            "ready",
            name=self._folder.name,
            kubeconfig=str(self._plane.kubeconfig),
            folder=str(self._folder),
            instance=self._plan.instance,
            low_ports=self._plan.port_shift == 0,
        )
        await serving

    def _node(self, api: Api, hosts: Path) -> Node:
        pods = self._folder / "pods"
        pods.mkdir()
        return Node(
            api,
            self._plan,
            pods,
            hosts=hosts,
            serving=self._plane.kubelet_serving,
            authority=self._plane.authority.certificate,
            find_program=find_program,
        )


async def _start(node: Node, api: Api) -> None:
    """Start the node as soon as the API server answers, well before it is ready."""
    while True:
        try:
            await api.get("/version")
            break
        except ApiError:
            await asyncio.sleep(_ANSWER_PAUSE)
    await node.start()
