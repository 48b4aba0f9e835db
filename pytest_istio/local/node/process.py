"""Processes of containers: each leads a group of its own, and all die with the node."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import termios
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Output", "exit_code", "kill_group", "open_output", "start", "take_terminal"]


def take_terminal() -> None:
    """Make the terminal at stdin that of this process's session; for `start`."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: int | IO[bytes] = asyncio.subprocess.DEVNULL,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes] = asyncio.subprocess.STDOUT,
    prepare: Callable[[], None] | None = None,
) -> asyncio.subprocess.Process:
    """Start a process that leads its own session and group.

    Args:
        argv: Program and arguments; the program is looked up on `env`'s PATH.
        env: The whole environment.
        cwd: Where it starts.
        stdin: As for `subprocess`.
        stdout: As for `subprocess`.
        stderr: As for `subprocess`.
        prepare: Called in the new process. It has the whole process of the node copied, which takes ten
            times as long as to start one without it.

    Raises:
        OSError: There is no such program, or it cannot be run.
    """
    return await asyncio.create_subprocess_exec(
        *argv,
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=prepare,
    )


@dataclass(frozen=True)
class Output:
    """A pipe for what a process writes.

    With a pipe of asyncio's own, some Python versions take a process for running until all its children
    have closed it.

    Attributes:
        reader: Yields what is written.
        writing: The descriptor to write to; to be closed here once the process has it.
    """

    reader: asyncio.StreamReader
    writing: int
    _transport: asyncio.ReadTransport

    def close(self) -> None:
        """Stop reading."""
        self._transport.close()


async def open_output() -> Output:
    """Return a new pipe."""
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
    )
    return Output(reader, writing, transport)


def kill_group(leader: int) -> None:
    """Kill a process with all that it started and that stayed in its group; none left is fine."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def exit_code(returncode: int) -> int:
    """Return the exit code as a container's: 128 and the signal's number for a process that was killed."""
    return 128 - returncode if returncode < 0 else returncode
