"""Runs of pytest, watched from outside: their phases, time and memory."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.processes import look

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Snapshot

__all__ = ["Watched", "watch"]

PERIOD = 0.5
"""Seconds between two looks; one costs some 20 ms of processor time."""
TOOK = re.compile(r"^istio: (.+) (?:took|failed after) ([\d.]+) s")


@dataclass(frozen=True)
class Watched:
    """A run that is over.

    Attributes:
        seconds: From its start to its end.
        lines: What it printed, each line with the seconds since the start.
        snapshots: The run's processes every half second; time counts from the start.
    """

    seconds: float
    lines: list[tuple[float, str]]
    snapshots: list[Snapshot]

    def phases(self) -> list[tuple[str, float, float]]:
        """Return the phases that the run has told, with their begin and end, in their order."""
        found = [(match, at) for at, line in self.lines if (match := TOOK.match(line))]
        return [(match[1], at - float(match[2]), at) for match, at in found]

    def cpu(self, begin: float, end: float) -> float:
        """Return the seconds of processor time that all processes used between two moments."""
        before: dict[int, float] = {}
        used = 0.0
        for snapshot in self.snapshots:
            grown = sum(cpu - before.get(pid, 0.0) for pid, cpu in snapshot.cpu.items())
            used += grown if begin < snapshot.at <= end + PERIOD / 2 else 0.0
            before.update(snapshot.cpu)
        return used

    def memory(self, begin: float, end: float) -> float:
        """Return the most memory in MB that all processes together held between two moments."""
        within = [each for each in self.snapshots if begin <= each.at <= end + PERIOD]
        return max((sum(each.memory.values()) for each in within), default=0.0)


def watch(folder: Path, *arguments: str, cluster: str = "local") -> Watched:
    """Run pytest on a cluster, in a folder.

    Raises:
        subprocess.CalledProcessError: A test failed, or the run could not start.
    """
    options = [
        "--istio-version=1.0.5",
        f"--istio-cluster={cluster}",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
    ]
    argv = [sys.executable, "-u", "-m", "pytest", *options, *arguments]
    began = time.monotonic()
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        snapshots: list[Snapshot] = []
        over = threading.Event()
        looking = threading.Thread(target=_look, args=[process.pid, began, snapshots, over])
        looking.start()
        assert process.stdout
        lines = [(time.monotonic() - began, line.rstrip()) for line in process.stdout]
        over.set()
        looking.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv, "\n".join(text for _, text in lines))
    return Watched(lines[-1][0], lines, snapshots)


def _look(pid: int, began: float, snapshots: list[Snapshot], over: threading.Event) -> None:
    while not over.wait(PERIOD):
        snapshots.append(look(pid, since=began))
