"""One container of a pod: its restarts, and the state that the API shows of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from pytest_istio.local.node.errors import CannotStartError
from pytest_istio.local.node.events import now
from pytest_istio.local.node.probes import Prober
from pytest_istio.local.node.run import start_run

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pytest_istio.local.api import Object
    from pytest_istio.local.images import Program
    from pytest_istio.local.node.logs import Log
    from pytest_istio.local.node.owner import Owner
    from pytest_istio.local.node.run import Run

__all__ = ["Container"]

# As in the kubelet: the first restart comes at once, each further one after twice the time of the last.
_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 300.0
_FORGIVEN_AFTER = 600.0

# How long a failed pull is shown as such before it is shown that the next try is awaited.
_PULL_ERROR_SHOWN = 2.0


class Container:
    """One container of a pod.

    Attributes:
        name: Its name in the pod.
        kind: ``main``, ``init``, or ``sidecar`` for an init container that runs beside the main ones.
        program: What stands for its image, once that is known.
        run: The newest run; None before the first.
        log: The output of the newest run.
        previous_log: The output of the run before.
        started: Whether its startup probe has succeeded.
        ready: Whether its readiness probe succeeds.
    """

    def __init__(self, owner: Owner, name: str, kind: Literal["main", "init", "sidecar"]) -> None:
        """Describe the container; `supervise` runs it."""
        self.name = name
        self.kind = kind
        self.program: Program | None = None
        self.run: Run | None = None
        self.log: Log | None = None
        self.previous_log: Log | None = None
        self.started = False
        self.ready = False
        self._owner = owner
        waits = kind != "main" or owner.pod["spec"].get("initContainers")
        self._state: Object = {"waiting": {"reason": "PodInitializing" if waits else "ContainerCreating"}}
        self._last_state: Object = {}
        self._restarts = 0
        self._pause = 0.0
        self._up = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def spec(self) -> Object:
        """The container's spec; its image can change while the pod lives."""
        spec = self._owner.pod["spec"]
        containers: list[Object] = [*spec["containers"], *spec.get("initContainers", [])]
        return next(item for item in containers if item["name"] == self.name)

    @property
    def running(self) -> bool:
        """Whether its process exists."""
        return "running" in self._state

    @property
    def exit_code(self) -> int | None:
        """The exit code of a run that was the last one; None while there is one, or another to come."""
        terminated = self._state.get("terminated")
        return terminated["exitCode"] if terminated else None

    def status(self) -> Object:
        """Return the API's ContainerStatus."""
        return {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": f"local://{self.program.module}" if self.program else "",
            "containerID": self.run.id if self.run else "",
            "ready": self.ready if self.kind != "init" else self.exit_code == 0,
            "started": self.started,
            "restartCount": self._restarts,
            "state": self._state,
            "lastState": self._last_state,
        }

    async def supervise(self) -> None:
        """Run the container as often as its restart policy says, or until it is stopped."""
        while not self._stopping.is_set():
            try:
                await self._launch()
            except CannotStartError as error:
                await self._wait_to_start(error)
                continue
            code = await self._watch()
            if self._stopping.is_set() or not self._restarted_after(code):
                return
            await self._back_off()

    async def until_started(self) -> None:
        """Wait until it has started for the first time, or is stopped."""
        await self._or_stopping(self._up.wait())

    async def stop(self, grace: float) -> None:
        """End the container for good, by force after `grace` seconds.

        The command of a ``preStop`` hook is run first, at the cost of the same time.
        """
        self._stopping.set()
        run = self.run if self.running else None
        if run is None:
            return
        self._event("Killing", f"Stopping container {self.name}")
        began = run.age
        hook = self.spec.get("lifecycle", {}).get("preStop", {})
        if "exec" in hook:
            await self._pre_stop(run, hook["exec"]["command"], grace)
        await run.terminate(max(0.0, grace - (run.age - began)))

    def kill(self) -> None:
        """End the container for good, at once."""
        self._stopping.set()
        if self.run and self.running:
            self.run.kill()

    async def restart(self, why: str) -> None:
        """End the current run, because a probe wants it; what follows is the restart policy's business."""
        run = self.run
        if run is None or self._stopping.is_set():
            return
        self._event("Killing", f"Container {self.name} failed {why}, will be restarted")
        await run.terminate(self._owner.pod["spec"].get("terminationGracePeriodSeconds", 30))

    def set_health(self, *, started: bool, ready: bool) -> None:
        """Take what the probes found."""
        if (started, ready) != (self.started, self.ready):
            self.started, self.ready = started, ready
            self._up.set()
            self._owner.changed()

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._owner.event(reason, message, container=self.name, warning=warning)

    def _set_state(self, state: Object) -> None:
        self._state = state
        self._owner.changed()

    def _restarted_after(self, code: int) -> bool:
        policy = self._owner.pod["spec"].get("restartPolicy", "Always")
        if self.kind == "sidecar" or (self.kind == "main" and policy == "Always"):
            return True
        return code != 0 and policy != "Never"

    async def _launch(self) -> None:
        spec = self.spec
        program = self.program = self._pull(spec["image"])
        path = self._owner.folder / "logs" / f"{self.name}.{self._restarts}.log"
        self.run = await start_run(self._owner, spec, program, path)
        if self.previous_log:
            self.previous_log.path.unlink()
        self.previous_log, self.log = self.log, self.run.log
        self._set_state({"running": {"startedAt": self.run.started_at}})
        self._event("Created", f"Created container {self.name}")
        self._event("Started", f"Started container {self.name}")

    def _pull(self, image: str) -> Program:
        program = self._owner.context.find_program(image)
        if program is None:
            raise CannotStartError(
                "ErrImagePull",
                f'Failed to pull image "{image}": the cluster `local` runs no containers and has no program '
                "for this image",
            )
        if self.run is None:
            self._event("Pulled", f'Image "{image}" is served by the program "{program.name}"')
        return program

    async def _watch(self) -> int:
        """Probe the running process, wait for its end and show that; return the exit code."""
        run = self.run
        assert run is not None
        prober = asyncio.ensure_future(Prober(self, run, self._owner).run())
        try:
            code = await run.wait()
        finally:
            prober.cancel()
        self.ready = self.started = False
        reason = "Completed" if code == 0 else "Error"
        ended = {"exitCode": code, "reason": reason, "startedAt": run.started_at, "finishedAt": now()}
        self._set_state({"terminated": ended | {"containerID": run.id}})
        return code

    async def _pre_stop(self, run: Run, command: list[str], grace: float) -> None:
        try:
            async with run.command(command, stdout=asyncio.subprocess.DEVNULL) as child:
                await asyncio.wait_for(child.wait(), grace)
        except (OSError, TimeoutError, asyncio.TimeoutError) as error:
            self._event("FailedPreStopHook", f"PreStopHook failed: {error}", warning=True)

    async def _wait_to_start(self, error: CannotStartError) -> None:
        """Show why the container cannot be created, until it is time to try again."""
        image = self.spec["image"]
        self._show_waiting(error.reason, str(error))
        self._event("Failed", str(error), warning=True)
        self._raise_pause()
        if error.reason == "CreateContainerConfigError":
            self._pause = 0.0
            await self._or_stopping(self._owner.context.configuration.change())
        elif error.reason == "ErrImagePull":
            self._event("Failed", "Error: ErrImagePull", warning=True)
            await self._sleep(_PULL_ERROR_SHOWN)
            self._show_waiting("ImagePullBackOff", f'Back-off pulling image "{image}": {error}')
            self._event("BackOff", f'Back-off pulling image "{image}"')
            await self._sleep(self._pause)
        else:
            await self._sleep(self._pause)

    async def _back_off(self) -> None:
        """Wait until the container may be started again."""
        assert self.run is not None
        if self.run.age > _FORGIVEN_AFTER:
            self._pause = 0.0
        self._last_state = self._state
        if self._pause:
            metadata = self._owner.pod["metadata"]
            pod = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
            what = f"restarting failed container={self.name} pod={pod}"
            self._show_waiting("CrashLoopBackOff", f"back-off {self._pause:.0f}s {what}")
            self._event("BackOff", f"Back-off {what}", warning=True)
            await self._sleep(self._pause)
        self._raise_pause()
        if not self._stopping.is_set():
            self._restarts += 1

    def _raise_pause(self) -> None:
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)

    def _show_waiting(self, reason: str, message: str) -> None:
        self._set_state({"waiting": {"reason": reason, "message": message}})

    async def _sleep(self, seconds: float) -> None:
        await self._or_stopping(asyncio.sleep(seconds))

    async def _or_stopping(self, awaited: Coroutine[None, None, object]) -> None:
        """Wait for something, but not past the order to stop."""
        tasks = {asyncio.ensure_future(awaited), asyncio.ensure_future(self._stopping.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
