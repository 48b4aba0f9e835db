"""One run of a container, from the start of its process to the end of all that it started."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING

from pytest_istio.local.node import process
from pytest_istio.local.node.environment import declared, expand
from pytest_istio.local.node.errors import CannotStartError
from pytest_istio.local.node.events import now
from pytest_istio.local.node.image import command_line, exec_line, process_environment, write_files
from pytest_istio.local.node.logs import Log
from pytest_istio.local.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from pytest_istio.local.api import Object
    from pytest_istio.local.images import Program
    from pytest_istio.local.node.owner import Owner

__all__ = ["Run", "start_run"]

# What is left in the pipe of a process that has ended is there at once, unless a child that left the
# process group still holds it open.
_LAST_OUTPUT = 1.0


class Run:
    """One run of a container.

    Attributes:
        id: The container's id, new with every run.
        log: Its output.
        started_at: When it started, as the API writes it.
    """

    def __init__(
        self,
        child: asyncio.subprocess.Process,
        output: process.Output,
        log: Log,
        *,
        root: Path,
        env: dict[str, str],
    ) -> None:
        """Take over a container's process; `start_run` makes one."""
        self.id = f"local://{secrets.token_hex(32)}"
        self.log = log
        self.started_at = now()
        self._began = time.monotonic()
        self._child = child
        self._output = output
        self._copying = asyncio.ensure_future(log.copy(output.reader))
        self._root = root
        self._env = env
        self._commands: set[int] = set()
        self._ended = asyncio.Event()

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    async def wait(self) -> int:
        """Wait for the end of the process, end what it left running, and return the exit code."""
        try:
            return process.exit_code(await self._child.wait())
        finally:
            self.kill()
            await self._child.wait()
            await asyncio.wait({self._copying}, timeout=_LAST_OUTPUT)
            self._copying.cancel()
            self._output.close()
            self.log.close()
            self._ended.set()

    async def terminate(self, grace: float) -> None:
        """Ask the process to end, and kill it if it has not after `grace` seconds; return when it's gone."""
        if self._child.returncode is None:
            self._child.terminate()
        try:
            await asyncio.wait_for(self._ended.wait(), grace)
        except (TimeoutError, asyncio.TimeoutError):
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """Kill the process and all that runs in the container."""
        for leader in (self._child.pid, *self._commands):
            process.kill_group(leader)

    @asynccontextmanager
    async def command(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] = asyncio.subprocess.DEVNULL,
        stdout: int | IO[bytes] = asyncio.subprocess.PIPE,
        stderr: int | IO[bytes] = asyncio.subprocess.STDOUT,
        terminal: bool = False,
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command in the container; it ends with the context or the container at the latest.

        Args:
            argv: The command and its arguments.
            stdin: As for `subprocess`.
            stdout: As for `subprocess`.
            stderr: As for `subprocess`.
            terminal: Whether stdin is a terminal that the command shall control.

        Raises:
            OSError: There is no such command.
        """
        child = await process.start(
            exec_line(self._root, argv),
            env=self._env,
            cwd=self._root,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            prepare=process.take_terminal if terminal else None,
        )
        self._commands.add(child.pid)
        try:
            yield child
        finally:
            process.kill_group(child.pid)
            self._commands.discard(child.pid)
            await child.wait()


async def start_run(owner: Owner, spec: Object, program: Program, log_path: Path) -> Run:
    """Start a container's process in a new root folder.

    Raises:
        CannotStartError: Something of its configuration is missing, or the system does not start it.
    """
    context, pod = owner.context, owner.pod
    values = declared(pod, spec, context.configuration, context.capacity)
    root = owner.folder / "c" / spec["name"]
    shutil.rmtree(root, ignore_errors=True)
    write_files(root, owner, program)
    owner.volumes.mount(pod, spec, root, values)
    cwd = root / spec.get("workingDir", "").lstrip("/")
    cwd.mkdir(parents=True, exist_ok=True)
    env = process_environment(owner, spec, root, values)
    arguments = [expand(text, values) for text in (*spec.get("command", []), *spec.get("args", []))]
    output = await process.open_output()
    try:
        child = await process.start(
            command_line(program, arguments),
            env=env,
            cwd=cwd,
            stdout=output.writing,
            # Should the node be killed, its containers go with it. The kernel takes the end of the thread
            # that starts them for the node's end, which is why that has to be the main one.
            prepare=die_with_parent,
        )
    except BaseException as error:
        output.close()
        if isinstance(error, OSError):
            raise CannotStartError("RunContainerError", f"cannot run {program.module}: {error}") from error
        raise
    finally:
        os.close(output.writing)
    return Run(child, output, Log(log_path), root=root, env=env)
