"""Probes: what decides whether a container has started, is ready and lives.

A real kubelet tries a probe for the first time after ``initialDelaySeconds`` and then once in
``periodSeconds``, so a program that is up in half a second counts as ready after up to half a minute.
Here startup and readiness probes are tried at once and at growing distances until they succeed for the
first time. What a probe says stays true; only the failures before its time count for nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pytest_istio.local.images import HttpProbe
from pytest_istio.local.node.attempts import attempt, connect, get
from pytest_istio.local.node.image import listen_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.local.api import Object
    from pytest_istio.local.node.container import Container
    from pytest_istio.local.node.owner import Owner
    from pytest_istio.local.node.run import Run

__all__ = ["Prober"]

_FIRST_PAUSE = 0.1
_GROWTH = 1.3

# That a program which has only just started does not answer yet is no news.
_JUST_STARTED = 1.0

# For the programs' own probes, which no manifest gives a pace.
_OWN_PERIOD = 1.0
_OWN_TIMEOUT = 2.0
_OWN_REPORTED_EVERY = 10.0


class Prober:
    """Probes one run of a container until it is cancelled."""

    def __init__(self, container: Container, run: Run, owner: Owner) -> None:
        """Describe the probing; `run` does it."""
        self._container = container
        self._run = run
        self._owner = owner
        self._spec = container.spec
        self._reported: dict[str, float] = {}

    async def run(self) -> None:
        """Probe; have the container show what is found, or restarted."""
        await self._wait_for_program()
        startup = self._spec.get("startupProbe")
        if startup and not await self._starts_up(startup):
            await self._container.restart("startup probe")
            return
        readiness, liveness = self._spec.get("readinessProbe"), self._spec.get("livenessProbe")
        self._container.set_health(started=True, ready=not readiness)
        await asyncio.gather(
            *([self._watch_readiness(readiness)] if readiness else []),
            *([self._watch_liveness(liveness)] if liveness else []),
        )

    async def _wait_for_program(self) -> None:
        """Wait until the program itself is up, whatever probes the container declares."""
        for pause in _pauses(_OWN_PERIOD):
            failure = await self._ask_program()
            if failure is None:
                return
            self._report("Startup", failure, period=_OWN_REPORTED_EVERY, delay=_OWN_REPORTED_EVERY)
            await asyncio.sleep(pause)

    async def _ask_program(self) -> str | None:
        program = self._container.program
        wanted = program.started if program else None
        if wanted is None:
            return None
        plan = self._owner.context.plan
        host = listen_host(self._owner, self._container.name)
        if isinstance(wanted, HttpProbe):
            port = plan.wire(self._owner.ip, wanted.port)[1]
            return await get(f"http://{host}:{port}{wanted.path}", timeout=_OWN_TIMEOUT)
        for declared in self._spec.get("ports", []):
            if declared.get("protocol", "TCP") == "TCP":
                port = plan.wire(self._owner.ip, declared["containerPort"])[1]
                if failure := await connect(host, port, timeout=_OWN_TIMEOUT):
                    return failure
        return None

    async def _starts_up(self, probe: Object) -> bool:
        period, delay = probe.get("periodSeconds", 10), probe.get("initialDelaySeconds", 0)
        bound = time.monotonic() + delay + period * probe.get("failureThreshold", 3)
        for pause in _pauses(period):
            failure = await self._attempt(probe)
            if failure is None:
                return True
            self._report("Startup", failure, period=period, delay=delay)
            if time.monotonic() > bound:
                break
            await asyncio.sleep(pause)
        return False

    async def _watch_readiness(self, probe: Object) -> None:
        period, delay = probe.get("periodSeconds", 10), probe.get("initialDelaySeconds", 0)
        successes = failures = 0
        eager = _pauses(period)
        while True:
            failure = await self._attempt(probe)
            if failure is None:
                successes, failures = successes + 1, 0
                if successes >= probe.get("successThreshold", 1):
                    self._container.set_health(started=True, ready=True)
                    eager = _pauses(period, first=period)
            else:
                successes, failures = 0, failures + 1
                self._report("Readiness", failure, period=period, delay=delay)
                if failures >= probe.get("failureThreshold", 3):
                    self._container.set_health(started=True, ready=False)
            await asyncio.sleep(next(eager))

    async def _watch_liveness(self, probe: Object) -> None:
        await asyncio.sleep(max(probe.get("initialDelaySeconds", 0), _JUST_STARTED))
        failures = 0
        while True:
            if failure := await self._attempt(probe):
                failures += 1
                self._report("Liveness", failure, period=0, delay=0)
            else:
                failures = 0
            if failures >= probe.get("failureThreshold", 3):
                break
            await asyncio.sleep(probe.get("periodSeconds", 10))
        await self._container.restart("liveness probe")

    async def _attempt(self, probe: Object) -> str | None:
        owner = self._owner
        plan = owner.context.plan
        return await attempt(probe, plan=plan, ip=owner.ip, spec=self._spec, run=self._run)

    def _report(self, what: str, failure: str, *, period: float, delay: float) -> None:
        """Record a failure that a kubelet would have seen as well: not too early, nor too often."""
        last = self._reported.get(what, float("-inf"))
        if self._run.age >= max(delay, _JUST_STARTED) and self._run.age - last >= period:
            self._reported[what] = self._run.age
            message = f"{what} probe failed: {failure}"
            self._owner.event("Unhealthy", message, container=self._container.name, warning=True)


def _pauses(longest: float, first: float = _FIRST_PAUSE) -> Iterator[float]:
    """Yield growing pauses in seconds, without end."""
    pause = first
    while True:
        yield min(pause, longest)
        pause *= _GROWTH
