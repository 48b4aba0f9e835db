"""Running a command in a container for a remote client, whatever protocol brings its streams."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import termios
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pytest_istio.local.node.process import exit_code

if TYPE_CHECKING:
    from multidict import MultiMapping

    from pytest_istio.local.api import Object
    from pytest_istio.local.node.run import Run

__all__ = ["RemoteCommand", "Streams", "execute"]

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class Streams(Protocol):
    """The streams of a client.

    Attributes:
        stdin: What the client sends to the command.
        sizes: The sizes of the client's terminal, a JSON object a line.
        closed: Set when the client is gone.
    """

    stdin: asyncio.StreamReader
    sizes: asyncio.StreamReader
    closed: asyncio.Event

    async def write(self, name: str, data: bytes) -> None:
        """Send to the client's ``stdout``, ``stderr`` or ``error``."""
        ...


@dataclass(frozen=True)
class RemoteCommand:
    """What a client wants to be run, and which streams it has for it."""

    argv: tuple[str, ...]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def of(cls, query: MultiMapping[str]) -> RemoteCommand:
        """Read the parameters of a request to a kubelet."""
        given = {name: query.get(name) in {"1", "true"} for name in ("input", "output", "error", "tty")}
        return cls(
            argv=tuple(query.getall("command", [])),
            stdin=given["input"],
            stdout=given["output"],
            stderr=given["error"] and not given["tty"],
            tty=given["tty"],
        )


async def execute(run: Run, command: RemoteCommand, streams: Streams) -> None:
    """Run a command with a client's streams, and tell the client how it ended.

    Raises:
        ConnectionResetError: The client went away; the command was killed.
    """
    ending = asyncio.ensure_future(_at_terminal(run, command, streams) if command.tty
                                   else _with_pipes(run, command, streams))  # fmt: skip
    gone = asyncio.ensure_future(streams.closed.wait())
    try:
        await asyncio.wait({ending, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            raise ConnectionResetError("the client has closed the connection")
        status = _status(ending.result())
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        message = f'cannot run "{command.argv[0]}" in the container: {error.strerror}\n'
        await streams.write("stdout" if command.tty else "stderr", message.encode())
        status = _status(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)
    finally:
        for task in (ending, gone):
            task.cancel()
        await asyncio.gather(ending, gone, return_exceptions=True)
    await streams.write("error", json.dumps(status).encode())


async def _with_pipes(run: Run, command: RemoteCommand, streams: Streams) -> int:
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    async with run.command(
        command.argv,
        stdin=pipe if command.stdin else nowhere,
        stdout=pipe if command.stdout else nowhere,
        stderr=pipe if command.stderr else nowhere,
    ) as child:
        feeding = asyncio.ensure_future(_feed(streams.stdin, child.stdin)) if child.stdin else None
        outputs = {"stdout": child.stdout, "stderr": child.stderr}
        try:
            await asyncio.gather(
                *(_copy(output, streams, name) for name, output in outputs.items() if output)
            )
            return exit_code(await child.wait())
        finally:
            if feeding:
                feeding.cancel()


async def _at_terminal(run: Run, command: RemoteCommand, streams: Streams) -> int:
    """Run a command at a terminal of its own, whose other end is the client."""
    controlling, inner = pty.openpty()
    terminal = os.fdopen(inner, "r+b", 0)
    reader = asyncio.StreamReader()
    screen, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(controlling), "rb", 0)
    )
    helpers = [
        asyncio.ensure_future(_type(streams.stdin, controlling)),
        asyncio.ensure_future(_resize(streams.sizes, controlling)),
    ]
    try:
        async with run.command(
            command.argv, stdin=terminal, stdout=terminal, stderr=terminal, terminal=True
        ) as child:
            terminal.close()
            # A terminal that nobody holds open any more gives an input/output error in place of an end.
            with suppress(OSError):
                await _copy(reader, streams, "stdout")
            return exit_code(await child.wait())
    finally:
        for helper in helpers:
            helper.cancel()
        terminal.close()
        screen.close()
        os.close(controlling)


async def _feed(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what the client sends; a command that does not read it is no fault."""
    with suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


async def _copy(source: asyncio.StreamReader, streams: Streams, name: str) -> None:
    while data := await source.read(65536):
        await streams.write(name, data)


async def _type(source: asyncio.StreamReader, terminal: int) -> None:
    while data := await source.read(1024):
        os.write(terminal, data)


async def _resize(sizes: asyncio.StreamReader, terminal: int) -> None:
    while line := await sizes.readline():
        if line.strip():
            size = json.loads(line)
            fcntl.ioctl(
                terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size["Height"], size["Width"], 0, 0)
            )


def _status(code: int) -> Object:
    """Return the Status by which a client learns the exit code."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
