"""What processes cost: processor time and memory, as Linux counts them."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Cost", "Snapshot", "children", "look", "measured", "until_accepted"]

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a program cost.

    Attributes:
        wall: Seconds from its start to its end.
        cpu: Seconds of processor time, its children's included.
        exit_code: As it ended.
        output: What it printed.
    """

    wall: float
    cpu: float
    exit_code: int
    output: str


@dataclass(frozen=True)
class Snapshot:
    """A process and all that it has started, at one moment.

    Attributes:
        at: Seconds.
        cpu: Seconds of processor time so far, by process id.
        memory: Memory in MB, with what processes share counted once (PSS), by process id.
        names: The programs, by process id.
    """

    at: float
    cpu: dict[int, float]
    memory: dict[int, float]
    names: dict[int, str]


def measured(argv: Sequence[str], *, may_fail: bool = False) -> Cost:
    """Run a program to its end, and return what it cost.

    Raises:
        subprocess.CalledProcessError: It failed, and may not.
    """
    began = time.monotonic()
    errors = subprocess.DEVNULL if may_fail else None
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        assert process.stdout
        output = process.stdout.read()
        # Not Popen.wait, which does not tell what was used.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not may_fail:
        raise subprocess.CalledProcessError(process.returncode, argv, output)
    return Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, process.returncode, output)


def until_accepted(argv: Sequence[str]) -> list[Cost]:
    """Call kubectl until it has nothing to complain of: custom resources come before their definitions."""
    costs: list[Cost] = []
    while not costs or costs[-1].exit_code:
        costs.append(measured(argv, may_fail=True))
    return costs


def look(root: int, *, since: float) -> Snapshot:
    """Return what a process and its descendants have used so far, `since` being when the clock began.

    Those that just end are left out.
    """
    cpu, memory, names = {}, {}, {}
    for pid in [root, *children(root)]:
        with suppress(OSError):
            folder = Path("/proc") / str(pid)
            fields = _fields(folder)
            rollup = (folder / "smaps_rollup").read_text(encoding="ascii")
            pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
            names[pid] = _name((folder / "cmdline").read_bytes().decode().split("\0"))
            cpu[pid] = (int(fields[11]) + int(fields[12])) / TICKS
            memory[pid] = int(pss.split()[1]) / 1000
    return Snapshot(time.monotonic() - since, cpu, memory, names)


def children(root: int) -> Iterator[int]:
    """Give the ids of all processes that a process has started, directly or not."""
    by_parent: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            by_parent.setdefault(int(_fields(folder)[1]), []).append(int(folder.name))
    pending = [root]
    while pending:
        found = by_parent.get(pending.pop(), [])
        yield from found
        pending += found


def _fields(folder: Path) -> list[str]:
    """Return the fields of /proc/PID/stat behind the program's name, which may hold spaces."""
    return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _name(argv: Sequence[str]) -> str:
    if "-m" in argv:
        return argv[argv.index("-m") + 1].removeprefix("pytest_istio.")
    return Path(argv[1] if "python" in argv[0] and len(argv) > 1 else argv[0]).name
