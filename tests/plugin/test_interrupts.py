"""Whole runs on the embedded Kubernetes that are interrupted at random moments: nothing of them remains."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.local.processes import started_at
from pytest_istio.local.records import records
from pytest_istio.run.folder import PREFIX, remove_abandoned
from tests.local.test_ends import SECONDS, command, family, supervisor_of
from tests.plugin.conftest import REPOSITORY
from tests.plugin.test_closed_terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

LATEST = 16.0
"""Seconds after which an idle machine has been through all phases and is in the test for some time."""
WORKER = "exec(eval(sys.stdin.readline()))"
"""What the command line of a worker of pytest-xdist holds."""
XDIST_SECONDS = 30.0
SIGNALS = {
    "ctrl-c": [signal.SIGINT],
    "ctrl-c-twice": [signal.SIGINT, signal.SIGINT],
    "sigterm": [signal.SIGTERM],
    "sighup": [signal.SIGHUP],
    "sigkill": [signal.SIGKILL],
}
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
VICTIMS = [*SIGNALS, "supervisor", "control-plane"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "victim" in metafunc.fixturenames:
        count: int = metafunc.config.getoption("interrupts")
        # Each in turn, first without workers and then with them.
        rounds = [divmod(number, len(VICTIMS)) for number in range(count)]
        chosen = [(VICTIMS[which], ("-n2",) if turn % 2 else ()) for turn, which in rounds]
        ids = ["-".join([victim, *workers, str(n)]) for n, (victim, workers) in enumerate(chosen)]
        metafunc.parametrize(("victim", "workers"), chosen, ids=ids)


@pytest.fixture
def arguments(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kube_binaries: Mapping[str, Path]
) -> list[str]:
    """The arguments of a run on a local cluster whose files have a place of their own."""
    programs = pytester.mkdir("programs")
    for name, path in kube_binaries.items():
        (programs / name).symlink_to(path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.mkdir("state")))
    monkeypatch.setenv("TMPDIR", str(pytester.mkdir("t")))
    monkeypatch.setattr("tempfile.tempdir", str(pytester.path / "t"))
    pytester.makepyfile("def test_it(gateway, bookinfo): import time; time.sleep(60)")
    return ["--istio-version=1.0.5", "--istio-cluster=local", f"--istio-kube-binaries={programs}"]


def test_nothing_remains(
    pytester: pytest.Pytester, arguments: list[str], victim: str, workers: tuple[str, ...]
) -> None:
    moment = random.uniform(0, LATEST)
    print(f"{victim} after {moment:.2f} s")
    started = [sys.executable, "-m", "pytest", *arguments, *workers]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        said = _Reader(run)
        said.closed.wait(moment)
        processes = family(run.pid) - {run.pid}
        lost = set() if victim in SIGNALS else _kill_within(victim)
        if lost:
            _await_end(lost)
        else:
            # There is no cluster yet that could be lost.
            for number in SIGNALS.get(victim, [signal.SIGINT]):
                os.kill(run.pid, number)
        # Where the cluster was lost the test is still asleep, and the run ends all the same.
        run.wait(60)
        _await_end({pid for pid in processes if WORKER not in command(pid)})
    print(text := said.text())
    if lost:
        assert run.returncode in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.USAGE_ERROR}
        assert "ERROR: " in text
    if victim in SIGNALS:
        # Before the plugin is there, Python and pytest end in their own ways.
        plain = pytest.ExitCode.INTERRUPTED if "istio:" in text and victim != "sigkill" else None
        assert run.returncode in ({plain} if plain else {2, *(-each for each in SIGNALS[victim])})
        assert "Traceback" not in text or plain is None
    # pytest-xdist ends those of its workers to which the plugin has not come yet.
    _await_end(_started_for(pytester.path), within=XDIST_SECONDS if workers else SECONDS)
    assert records() == []
    _assert_no_files(pytester.path / "t", swept=victim == "sigkill")


def test_nothing_remains_where_the_terminal_is_closed(
    pytester: pytest.Pytester, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARTED", str(pytester.path / "started"))
    pytester.makepyfile("""
        import os, pathlib, time

        def test_it(gateway, bookinfo):
            pathlib.Path(os.environ["STARTED"]).touch()
            time.sleep(600)
    """)
    with on_terminal([sys.executable, "-m", "pytest", *arguments]) as run:
        end = time.monotonic() + 120
        while not (pytester.path / "started").exists():
            assert run.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
    assert run.wait(60) == pytest.ExitCode.INTERRUPTED
    _await_end(_started_for(pytester.path))
    assert records() == []
    _assert_no_files(pytester.path / "t", swept=False)


def _started_for(folder: Path) -> set[int]:
    """Return the processes that were started with the run's environment, whoever their parent is now."""
    found = set()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if str(folder).encode() in environment.read_bytes():
                found.add(int(environment.parent.name))
    return found


def _kill_within(victim: str) -> set[int]:
    """Kill a part of the only cluster; return the cluster's processes, none if it was not there already."""
    found = records()
    if not found:
        return set()
    processes = family(found[0].pid)
    if victim == "supervisor":
        target = supervisor_of(found[0])
    else:
        programs = [pid for pid in processes if Path(command(pid).split(" ")[0]).name in PROGRAMS]
        if not programs:
            return set()
        target = random.choice(programs)
    os.kill(target, signal.SIGKILL)
    return processes


def _await_end(processes: set[int], *, within: float = SECONDS) -> None:
    end = time.monotonic() + within
    while left := [command(pid) for pid in processes if started_at(pid) is not None]:
        assert time.monotonic() < end, f"still there after {within} s: {left}"
        time.sleep(0.05)


def _assert_no_files(folder: Path, *, swept: bool) -> None:
    left = list(folder.glob("pytest-istio*"))
    if swept and left:
        # Killed before there was a cluster that could take the run's own folder away: the next run does.
        assert [each.name.startswith(PREFIX) for each in left] == [True]
        remove_abandoned()
        left = list(folder.glob("pytest-istio*"))
    assert left == []


class _Reader:
    """Reads what a run prints, so that it never waits for a reader."""

    def __init__(self, run: subprocess.Popen[str]) -> None:
        self.closed = threading.Event()
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read, args=[run], daemon=True)
        self._thread.start()

    def text(self) -> str:
        self._thread.join(SECONDS)
        return "".join(self._lines)

    def _read(self, run: subprocess.Popen[str]) -> None:
        assert run.stdout
        # Closed under it where the test has failed.
        with suppress(ValueError):
            self._lines.extend(run.stdout)
        self.closed.set()
