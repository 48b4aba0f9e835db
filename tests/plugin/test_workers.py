"""What a person sees of what pytest-xdist's workers do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from pytest_istio.kube.polling import until
from pytest_istio.local.processes import started_at
from pytest_istio.run import workers
from pytest_istio.run.folder import RunFolder

if TYPE_CHECKING:
    import pytest

    from tests.plugin.conftest import FakeCluster

SHOWS = """
    import threading
    import pytest
    from pytest_istio.stash import RUN

    @pytest.mark.parametrize("number", range(2))
    def test_it(istio_cluster, pytestconfig, number):
        run = pytestconfig.stash[RUN]
        with run.folder.lock("once"):
            if number == 0:
                with run.progress.phase("rollout"):
                    run.progress.waiting("the fake's pods")
                    threading.Event().wait(2)
                run.screen.line("istio: something is known")
"""

STUBBORN = """
    import os, time
    import pytest

    @pytest.mark.parametrize("number", range(2))
    def test_it(istio_cluster, number):
        with open(os.environ["FAKE_CLUSTER_LOG"], "a") as log:
            log.write(f"worker {os.getpid()}\\n")
        while True:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                pass
"""
XDIST_SECONDS = 15.0
"""Seconds after which pytest-xdist itself ends such a worker."""


def test_phases_of_workers_are_shown_while_they_last(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makeconftest("from pytest_istio.run import live; live.FILE_PERIOD = 0.1")
    fake_cluster.pytester.makepyfile(SHOWS)
    result = fake_cluster.run_apart("-n2")
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines(
        [
            r"istio: cluster took .*",
            r"istio: rollout, [0-9]+ s: the fake's pods",
            r"istio: rollout took .*",
            r"istio: something is known",
        ]
    )
    assert result.stdout.str().count("something is known") == 1
    fake_cluster.run_apart("-n2", "-q").stdout.no_fnmatch_line("istio: *")


def test_what_a_crashed_worker_was_at_is_shown_no_longer(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    shown: list[str] = []

    class Screen:
        period = 0.0

        def line(self, text: str) -> None:
            shown.append(text)

        def update(self, text: str) -> None:
            shown.append(f"now {text}")

    class Node:
        class gateway:  # noqa: N801 (of execnet)
            id = "gw0"

    following = workers.Workers(folder, Screen())
    relay = workers.Relay(folder, "gw0")
    relay.line("one")
    relay.update("waiting")
    following._show()
    following._show()
    assert shown == ["one", "now waiting", "now waiting"]
    following.pytest_testnodedown(Node)
    relay.line("two")
    relay.update("waiting still")
    following._show()
    assert shown[3:] == ["two"]


def test_workers_end_with_a_controller_that_is_killed(fake_cluster: FakeCluster) -> None:
    def pids() -> list[int]:
        return [int(note.split()[1]) for note in fake_cluster.notes if note.startswith("worker ")]

    fake_cluster.pytester.makepyfile(STUBBORN)
    command = [sys.executable, "-m", "pytest", *fake_cluster.arguments("-n2")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as run:
        try:
            testing = until(pids, lambda found: len(found) == 2, timeout=60)
            assert len(testing) == 2
        finally:
            os.kill(run.pid, signal.SIGKILL)
    left = until(
        lambda: [pid for pid in testing if started_at(pid) is not None],
        lambda found: not found,
        timeout=XDIST_SECONDS - 1,
    )
    assert left == []
