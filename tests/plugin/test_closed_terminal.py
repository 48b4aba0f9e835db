"""A run whose terminal is closed ends as by SIGTERM, though nobody hears its words any more."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_cluster_life import INTERRUPTED, SLEEPS, started, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.plugin.conftest import FakeCluster

TAKE = (
    "import fcntl, os, sys, termios as t; fcntl.ioctl(0, t.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes the terminal one's own before the command that follows, as a login does."""


@contextmanager
def on_terminal(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command on a terminal that is closed at the end of the context."""
    master, slave = os.openpty()
    closing = threading.Event()

    def read() -> None:
        # A terminal that nobody reads has whoever writes to it wait.
        while not closing.is_set():
            if select.select([master], [], [], 0.1)[0]:
                os.read(master, 4096)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    run = subprocess.Popen(
        [sys.executable, "-c", TAKE, *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield run
    except BaseException:
        run.kill()
        run.wait()
        raise
    finally:
        closing.set()
        reader.join()
        os.close(master)


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_closed_terminal_ends_the_run_and_its_cluster(
    fake_cluster: FakeCluster, workers: tuple[str, ...]
) -> None:
    fake_cluster.pytester.makepyfile(SLEEPS)
    with on_terminal([sys.executable, "-m", "pytest", *fake_cluster.arguments(*workers)]) as run:
        wait_for(fake_cluster, "testing")
    assert run.wait(30) == pytest.ExitCode.INTERRUPTED
    assert fake_cluster.notes == INTERRUPTED


def test_a_pipe_that_ended_with_the_terminal_does_not_keep_the_cluster(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(SLEEPS)
    run = started(fake_cluster)
    assert run.stdout
    wait_for(fake_cluster, "testing")
    run.stdout.close()
    run.send_signal(signal.SIGHUP)
    assert run.wait(30) == pytest.ExitCode.INTERRUPTED
    assert fake_cluster.notes == INTERRUPTED


def test_a_terminal_that_hangs_up_several_times_is_not_impatient(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_STOP_SECONDS", "2")
    fake_cluster.pytester.makepyfile(SLEEPS)
    run = started(fake_cluster)
    wait_for(fake_cluster, "testing")
    run.send_signal(signal.SIGHUP)
    wait_for(fake_cluster, "stop keep=False")
    for _ in range(4):
        run.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert "SIGHUP" in out
    assert "Traceback" not in out
    assert fake_cluster.notes == INTERRUPTED


def test_a_run_under_nohup_goes_on(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(SLEEPS.replace("time.sleep(60)", "time.sleep(2)"))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = started(fake_cluster)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(fake_cluster, "testing")
    run.send_signal(signal.SIGHUP)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.OK, out
    assert fake_cluster.notes == INTERRUPTED
