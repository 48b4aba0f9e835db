"""One pod: its volumes and containers in their order, from the first status to its deletion."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from typing import TYPE_CHECKING, Literal

from pytest_istio.local.api import ApiError
from pytest_istio.local.node.container import Container
from pytest_istio.local.node.errors import CannotStartError
from pytest_istio.local.node.events import now
from pytest_istio.local.node.status import pod_status
from pytest_istio.local.node.volumes import Volumes, references

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from pytest_istio.local.api import Object
    from pytest_istio.local.node.context import Context

__all__ = ["PodWorker"]

_log = logging.getLogger(__name__)

# Long enough for everybody to hear that the pod is leaving before it takes no more requests.
_LEAVING = 0.15

# What the containers of a pod do at the same time is one report.
_BATCH = 0.02

_RETRY_PAUSE = 0.5
_GONE = frozenset({404, 409})


class PodWorker:
    """Runs one pod.

    Attributes:
        context: What all pods of the node share.
        pod: The newest version of the object, with the pod's addresses in its status.
        ip: The pod's address.
        folder: Holds all files of the pod.
        volumes: The pod's volumes.
        containers: Its containers, init containers first, in the order of the spec.
    """

    def __init__(self, context: Context, pod: Object, ip: str, folder: Path) -> None:
        """Take a pod; `run` runs it."""
        self.context = context
        self.ip = ip
        self.folder = folder
        self.pod = self._addressed(pod)
        self.volumes = Volumes(context, folder / "v")
        self.containers = [
            *(
                Container(self, item["name"], _init_kind(item))
                for item in pod["spec"].get("initContainers", [])
            ),
            *(Container(self, item["name"], "main") for item in pod["spec"]["containers"]),
        ]
        self._started_at = now()
        self._reported: Object = {}
        self._reporting = asyncio.Lock()
        self._terminal = False
        self._leaving = asyncio.Event()
        self._dirty = asyncio.Event()
        self._refresh = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def update(self, pod: Object) -> None:
        """Take a newer version of the object."""
        before, self.pod = self.pod, self._addressed(pod)
        if any(before["metadata"].get(key) != pod["metadata"].get(key) for key in ("labels", "annotations")):
            self._refresh.set()
        if "deletionTimestamp" in pod["metadata"]:
            self._leaving.set()

    def configuration_changed(self, kind: str, namespace: str, name: str) -> None:
        """Bring the volumes up to date if they are filled from what has changed."""
        if namespace == self.pod["metadata"]["namespace"] and (kind, name) in references(self.pod):
            self._refresh.set()

    def changed(self) -> None:
        """Have the pod's status reported."""
        self._dirty.set()

    def event(
        self, reason: str, message: str, *, container: str | None = None, warning: bool = False
    ) -> None:
        """Record an event of the pod or of a container."""
        self.context.recorder.record(self.pod, reason, message, container=container, warning=warning)

    async def run(self) -> None:
        """Run the pod until it is deleted; cancelled, end its containers at once."""
        for name in ("c", "logs", "v"):
            (self.folder / name).mkdir(parents=True)
        self.changed()
        self._start(self._report())
        try:
            await self._run()
        finally:
            for container in self.containers:
                container.kill()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self._tasks.append(task)
        return task

    async def _run(self) -> None:
        living, leaving = self._start(self._live()), self._start(self._wait_for_deletion())
        await asyncio.wait({living, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if living.done() and (error := living.exception()):
            _log.error("pod %s", self._path, exc_info=error)
            self.event("Failed", f"The kubelet of `local` failed: {error!r}", warning=True)
            for container in self.containers:
                container.kill()
            self._terminal = True
            self.changed()
        await leaving
        await self._stop()
        living.cancel()
        self._terminal = True
        await self._push()
        await self._delete()

    async def _wait_for_deletion(self) -> None:
        await self._leaving.wait()

    async def _live(self) -> None:
        """Run the containers in their order, to their end if they have one."""
        await self._fill_volumes()
        self._start(self._keep_volumes())
        for container in self._of_kinds("init", "sidecar"):
            supervising = self._start(container.supervise())
            if container.kind == "sidecar":
                await container.until_started()
                continue
            await supervising
            if container.exit_code != 0:
                break
        else:
            await asyncio.gather(*(container.supervise() for container in self._of_kinds("main")))
        grace = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        await self._stop_sidecars(grace)
        self._terminal = True
        self.changed()

    def _of_kinds(self, *kinds: str) -> list[Container]:
        return [container for container in self.containers if container.kind in kinds]

    async def _stop(self) -> None:
        """End the containers as the pod's deletion wants it."""
        if any(container.ready for container in self.containers):
            await asyncio.sleep(_LEAVING)
        grace = self.pod["metadata"].get("deletionGracePeriodSeconds", 30)
        began = time.monotonic()
        await asyncio.gather(*(container.stop(grace) for container in self._of_kinds("main", "init")))
        await self._stop_sidecars(max(0.0, grace - (time.monotonic() - began)))

    async def _stop_sidecars(self, grace: float) -> None:
        """End the sidecars, the last one first."""
        for container in reversed(self._of_kinds("sidecar")):
            await container.stop(grace)

    async def _fill_volumes(self) -> None:
        """Fill the volumes as soon as all that they need is there."""
        while True:
            self._refresh.clear()
            try:
                await self.volumes.fill(self.pod)
            except CannotStartError as error:
                self.event("FailedMount", str(error), warning=True)
                await self._refresh.wait()
            except ApiError as error:
                self.event("FailedMount", str(error), warning=True)
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                return

    async def _keep_volumes(self) -> None:
        """Fill the volumes again whenever what they are filled from changes."""
        while True:
            await self._refresh.wait()
            await self._fill_volumes()

    async def _report(self) -> None:
        """Report the status whenever it changes."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_BATCH)
            self._dirty.clear()
            await self._push()

    async def _push(self) -> None:
        async with self._reporting:
            status = pod_status(
                self.pod,
                self.containers,
                self._reported.get("conditions", []),
                ip=self.ip,
                host=self.context.plan.node,
                started_at=self._started_at,
                time=now(),
                terminal=self._terminal,
            )
            if status == self._reported:
                return
            body = {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": status}
            try:
                await self.context.api.patch(f"{self._path}/status", body, "strategic")
            except ApiError as error:
                if error.status not in _GONE:
                    _log.warning("%s", error)
                    await asyncio.sleep(_RETRY_PAUSE)
                    self.changed()
                return
            self._reported = status

    async def _delete(self) -> None:
        """Have the object removed, now that its processes are gone."""
        while True:
            try:
                await self.context.api.delete(self._path, grace=0, uid=self.pod["metadata"]["uid"])
            except ApiError as error:  # noqa: PERF203  # the loop is one request a turn
                _log.warning("%s", error)
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                return

    @property
    def _path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    def _addressed(self, pod: Object) -> Object:
        """Return the pod with its addresses, which its containers may ask for before they are reported."""
        host = self.context.plan.node
        addresses = {"podIP": self.ip, "podIPs": self.ip, "hostIP": host, "hostIPs": host}
        return {**pod, "status": {**pod.get("status", {}), **addresses}}


def _init_kind(spec: Object) -> Literal["init", "sidecar"]:
    return "sidecar" if spec.get("restartPolicy") == "Always" else "init"
