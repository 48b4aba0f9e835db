from __future__ import annotations

import fcntl
import multiprocessing
import time
from typing import TYPE_CHECKING

import pytest

from pytest_istio.run.lock import SharedLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

SPAWN = multiprocessing.get_context("spawn")


def hold(folder: Path, how: str, pipe: Connection) -> None:
    lock = SharedLock(folder, "mesh")
    with lock.exclusive() if how == "exclusive" else lock.shared():
        pipe.send("held")
        pipe.recv()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Connection]]:
    """Start a process that holds the lock from when its pipe says so until it is sent something."""
    processes = []

    def begin(how: str) -> Connection:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=hold, args=(tmp_path, how, theirs))
        process.start()
        theirs.close()
        processes.append(process)
        return ours

    yield begin
    for process in processes:
        process.kill()
        process.join()
        process.close()


def test_shared_by_many(start: Callable[[str], Connection]) -> None:
    pipes = [start("shared"), start("shared")]
    assert [pipe.recv() for pipe in pipes] == ["held", "held"]


def test_exclusive_waits_for_those_who_share(start: Callable[[str], Connection]) -> None:
    sharer = start("shared")
    sharer.recv()
    alone = start("exclusive")
    assert not alone.poll(1)
    sharer.send("let go")
    assert alone.recv() == "held"


def test_one_who_waits_alone_is_not_overtaken(start: Callable[[str], Connection], tmp_path: Path) -> None:
    sharer = start("shared")
    sharer.recv()
    alone = start("exclusive")
    until = time.monotonic() + 30
    while not (tmp_path / "mesh.gate").exists() or not waits(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.05)
    late = start("shared")
    assert not late.poll(1)
    sharer.send("let go")
    assert alone.recv() == "held"
    assert not late.poll(0.2)
    alone.send("let go")
    assert late.recv() == "held"


def waits(folder: Path) -> bool:
    """Return whether somebody stands in the gate."""
    with (folder / "mesh.gate").open("a") as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_death_lets_go(start: Callable[[str], Connection]) -> None:
    alone = start("exclusive")
    alone.recv()
    alone.close()  # the process dies of it
    other = start("exclusive")
    assert other.recv() == "held"
