"""Child processes that are not left behind: they end with the process that started them, or in time."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["adopt_orphans", "asked", "children", "die_with_parent", "started_at"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

# Far more than any answer that is asked for, and far less than any machine's memory.
_MOST_BYTES = 2**20

# Loaded once, before any fork: a child between fork and exec must not load libraries.
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the kernel send this process a signal when its parent ends; for `preexec_fn` or after a fork.

    The kernel takes the end of the parent's *thread* for its end, so only the main thread may start
    children that call this.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def adopt_orphans() -> None:
    """Make this process the new parent of all descendants whose own parent ends."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def asked(
    argv: Sequence[str], *, seconds: float, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Return what a program says that is expected to end by itself; it can be called in any thread.

    Args:
        argv: The program and its arguments.
        seconds: How long it may take.
        folder: Where it runs; None for the current folder.

    Raises:
        OSError: It cannot be run, or prints without end.
        subprocess.TimeoutExpired: It has not ended in so many seconds.

    Either way neither it nor its children are left.
    """
    with subprocess.Popen(
        argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            stdout, stderr = _printed(process, seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)


def _printed(process: subprocess.Popen[bytes], seconds: float) -> list[str]:
    """Return what a program prints on stdout and stderr until it ends; see `asked` for what is raised."""
    assert process.stdout
    assert process.stderr
    end = time.monotonic() + seconds
    printed = {pipe.fileno(): b"" for pipe in (process.stdout, process.stderr)}
    with selectors.DefaultSelector() as opened:
        for pipe in printed:
            opened.register(pipe, selectors.EVENT_READ)
        while opened.get_map():
            ready = opened.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired(process.args, seconds)
            for key, _ in ready:
                chunk = os.read(key.fd, 65536)
                printed[key.fd] += chunk
                if not chunk:
                    opened.unregister(key.fd)
            if sum(map(len, printed.values())) > _MOST_BYTES:
                raise OSError("it prints without end")
    process.wait(max(0.0, end - time.monotonic()))
    return [text.decode(errors="replace") for text in printed.values()]


def children() -> list[int]:
    """Return the ids of this process's children, adopted ones and those not yet waited for included."""
    me = os.getpid()
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and _parent(entry) == me
    ]


def started_at(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot, None when there is no such process.

    Together with the id it names a process for good; ids alone are used again.
    """
    fields = _stat(Path("/proc") / str(pid))
    return int(fields[19]) if fields and fields[0] != "Z" else None


def _parent(entry: Path) -> int | None:
    fields = _stat(entry)
    return int(fields[1]) if fields else None


def _stat(entry: Path) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` from the third on, the state (see proc_pid_stat(5))."""
    try:
        text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may hold anything, parentheses too.
    return text.rpartition(")")[2].split()
