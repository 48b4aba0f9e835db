"""The supervisor: the process that runs one cluster, and knows when it is over."""

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
from pytest_istio.local.controlplane import ControlPlane
from pytest_istio.local.protocol import DETACH, emit

if TYPE_CHECKING:
    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.protocol import Order

__all__ = ["supervise"]


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
    except OSError as error:
        emit("error", text=f"The embedded Kubernetes cannot be run in {folder}: {error}.")
    except Exception:  # noqa: BLE001  # the owner must learn of it, and there is nobody above
        text = "The supervisor of the embedded Kubernetes failed, which is a fault of pytest-istio:\n"
        emit("error", text=text + traceback.format_exc())


class _Supervisor:
    def __init__(self, order: Order, plan: Plan, folder: Path) -> None:
        self._order = order
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
        emit("progress", text=f"{', '.join(self._order.programs)} to be ready")
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
            ClusterError: One has ended for good.
        """
        loop = asyncio.get_running_loop()
        while True:
            ended = asyncio.Event()
            watched = [os.pidfd_open(pid) for pid in self._plane.pids.values()]
            for each in watched:
                loop.add_reader(each, ended.set)
            await ended.wait()
            for each in watched:
                loop.remove_reader(each)
                os.close(each)
            self._plane.check()

    async def _serve(self) -> None:
        # The programs are busy starting for seconds; half a second of imports costs nothing meanwhile.
        from pytest_istio.local.services import serve  # noqa: PLC0415

        await serve(self._plane, self._order.start_timeout)
