"""What a person sees."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from pytest_istio.run import live
from pytest_istio.run.folder import RunFolder

if TYPE_CHECKING:
    from tests.plugin.conftest import FakeCluster

CHECK = """
    import pytest

    @pytest.mark.istio("PRE-001")
    def test_it(istio_cluster): print("noise")
"""


def test_header_tells_settings_and_their_source(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(CHECK)
    fake_cluster.pytester.makeini("[pytest]\nistio_profile = smoke\n")
    fake_cluster.run().stdout.fnmatch_lines(
        ["istio: 1.0.5 (from option), cluster: auto (from default), profile: smoke (from ini), *"]
    )
    fake_cluster.run("--collect-only").stdout.no_fnmatch_line("istio: *")


def test_phases_are_shown_when_they_end_and_in_the_summary(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(CHECK)
    fake_cluster.run().stdout.re_match_lines([r"istio: cluster took \d+\.\d s", r"phases: cluster \d+\.\d s"])


def test_long_phase_says_what_it_waits_for(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FILE_PERIOD", 0.05)
    monkeypatch.setenv("FAKE_CLUSTER_SECONDS", "0.3")
    fake_cluster.pytester.makepyfile(CHECK)
    fake_cluster.run().stdout.fnmatch_lines(
        ["istio: cluster, 0 s: the fake to be ready", "istio: cluster took *"]
    )


def test_terminal_gets_one_line_that_is_overwritten(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_SECONDS", "1")
    fake_cluster.pytester.makepyfile(CHECK)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", *fake_cluster.arguments("--color=no")]
    with subprocess.Popen(command, stdout=theirs) as run:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # a terminal whose other end is closed
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    assert run.returncode == 0
    assert re.search(rb"\ristio: cluster, [01] s: the fake to be ready +\ristio: cluster, ", shown)
    assert re.search(rb"\r +\ristio: cluster took [12]\.\d s\r\n", shown)


@pytest.mark.parametrize("test", ["def test_it(istio_cluster): pass", CHECK])
def test_last_line_says_that_it_was_a_rehearsal(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, test: str
) -> None:
    fake_cluster.pytester.makepyfile(test)
    assert "REHEARSAL" not in fake_cluster.run().stdout.str()
    monkeypatch.setenv("FAKE_CLUSTER_CAPABILITIES", "")
    for arguments in ([], ["-q"]):
        result = fake_cluster.run(*arguments)
        assert "REHEARSAL" in [line for line in result.outlines if line][-1]


def test_quiet_run_shows_neither_progress_nor_table(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(CHECK)
    result = fake_cluster.run("-q")
    result.stdout.no_fnmatch_line("istio: *")
    result.stdout.no_fnmatch_line("*Istio conformance*")
    assert fake_cluster.run("-qq").stdout.str().count("istio") == 0


def test_fixtures_document_themselves(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--fixtures")
    for name in (
        "istio_settings",
        "istio_cluster",
        "istio_kube",
        "mesh",
        "bookinfo",
        "gateway",
        "istio_namespace",
        "istio_plain_namespace",
        "istio_exclusive",
        "routes",
    ):
        result.stdout.re_match_lines_random([rf"{name}( \[session scope\])? -- .*fixtures\.py:\d+"])
    result.stdout.no_fnmatch_line("*no docstring available*")
    result.stdout.no_fnmatch_line("_istio*")


def test_disabled_plugin_leaves_no_trace(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    help_text = pytester.runpytest_subprocess("-p", "no:istio", "--help").stdout.str()
    assert "istio" not in help_text


def test_phases_of_threads_and_processes_are_gathered(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("run"))

    class Nowhere:
        period = 0.01

        def line(self, text: str) -> None: ...
        def update(self, text: str) -> None: ...

    for process in ("controller", "gw0"):
        progress = live.Live(Nowhere(), folder, process)
        with progress.phase("outer"), progress.phase("inner"):
            progress.waiting("something")
    assert [name for name, _ in live.durations(folder)] == ["inner", "outer", "inner", "outer"]
