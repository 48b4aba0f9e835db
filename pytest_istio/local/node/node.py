"""The node: takes the pods that are bound to it and runs each in a worker of its own."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pytest_istio.local.api import Informer
from pytest_istio.local.node.configuration import Configuration
from pytest_istio.local.node.context import Context
from pytest_istio.local.node.events import Recorder
from pytest_istio.local.node.pod import PodWorker
from pytest_istio.local.node.registration import NODE, capacity, keep_lease, register
from pytest_istio.local.node.server import KubeletServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.api import Api, Object
    from pytest_istio.local.images import Program
    from pytest_istio.local.pki import KeyPair

__all__ = ["Node"]

_log = logging.getLogger(__name__)

_POD_NUMBERS = 65_000


class Node:
    """The only node of the embedded Kubernetes, and its kubelet.

    Lives in the event loop of the process's main thread: the kernel ends the containers' processes with
    the thread that started them.
    """

    def __init__(
        self,
        api: Api,
        plan: Plan,
        folder: Path,
        *,
        hosts: Path,
        serving: KeyPair,
        authority: Path,
        find_program: Callable[[str], Program | None],
    ) -> None:
        """Describe the node; `start` starts it.

        Args:
            api: The client, with the rights of an administrator.
            plan: The cluster's addresses.
            folder: An existing private folder for what pods write; its path is short, as Unix sockets
                of pods lie in there too.
            hosts: The file with the addresses of the cluster's services.
            serving: What the kubelet's server serves with.
            authority: The certificate of the authority that the API server's client certificate is from.
            find_program: Returns the program for an image, None if there is none.
        """
        self._api = api
        self._plan = plan
        self._folder = folder
        self._workers: dict[str, PodWorker] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ended: set[str] = set()
        self._services: list[asyncio.Task[None]] = []
        self._number = 0
        self._context = Context(
            api=api,
            plan=plan,
            folder=folder,
            hosts=hosts,
            find_program=find_program,
            configuration=Configuration(api, self._configuration_changed),
            recorder=Recorder(api, NODE),
            capacity=capacity(folder),
        )
        self._server = KubeletServer(self._find, plan, serving, authority)

    async def start(self) -> None:
        """Serve, register, and take pods from now on.

        Raises:
            ApiError: The API server does not take the node.
            OSError: The kubelet's server cannot listen.
        """
        port = await self._server.start()
        version = (await self._api.get("/version"))["gitVersion"]
        await register(self._api, self._plan, dict(self._context.capacity), port, version)
        self._serve(keep_lease(self._api), "lease")
        self._serve(self._context.recorder.run(), "events")
        self._serve(self._context.configuration.run(), "configuration")
        pods = Informer(
            self._api, "/api/v1/pods", {"fieldSelector": f"spec.nodeName={NODE}"}, self._pod_changed
        )
        self._serve(pods.run(), "pods")

    async def stop(self) -> None:
        """End all containers at once, and everything else of the node."""
        tasks = [*self._services, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.stop()

    def _serve(self, coroutine: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.ensure_future(coroutine)
        task.add_done_callback(lambda ended: _complain(ended, f"the node's {name}"))
        self._services.append(task)

    def _pod_changed(self, change: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if change == "DELETED":
            self._ended.discard(uid)
            if uid in self._running:
                self._running[uid].cancel()
        elif uid in self._workers:
            self._workers[uid].update(pod)
        elif uid not in self._ended:
            self._take(uid, pod)

    def _take(self, uid: str, pod: Object) -> None:
        number = self._free_number()
        ip = self._plan.node if pod["spec"].get("hostNetwork") else self._plan.pod(number)
        worker = PodWorker(self._context, pod, ip, self._folder / str(number))
        worker.update(pod)
        task = asyncio.ensure_future(worker.run())
        self._workers[uid], self._running[uid] = worker, task
        task.add_done_callback(lambda ended: self._forget(uid, ended))

    def _forget(self, uid: str, ended: asyncio.Task[None]) -> None:
        del self._workers[uid], self._running[uid]
        if not ended.cancelled():
            # What is still on its way of its last changes must not bring it back.
            self._ended.add(uid)
        _complain(ended, f"the worker of pod {uid}")

    def _free_number(self) -> int:
        """Return a number that no pod has; one of a pod that is gone is not used again soon."""
        taken = {worker.ip for worker in self._workers.values()}
        while True:
            self._number = self._number % _POD_NUMBERS + 1
            if self._plan.pod(self._number) not in taken:
                return self._number

    def _configuration_changed(self, kind: str, namespace: str, name: str) -> None:
        for worker in self._workers.values():
            worker.configuration_changed(kind, namespace, name)

    def _find(self, namespace: str, name: str) -> PodWorker | None:
        """Return the worker of a pod by its name, the newest one if a former is still leaving."""
        for worker in reversed(self._workers.values()):
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return worker
        return None


def _complain(ended: asyncio.Task[None], what: str) -> None:
    if not ended.cancelled() and (error := ended.exception()):
        _log.error("%s failed", what, exc_info=error)
