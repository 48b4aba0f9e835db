"""Whatever way a run ends, nothing of its cluster remains within five seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.clusters import provider
from pytest_istio.clusters.base import Cluster
from pytest_istio.clusters.local import LocalProvider, cleanup
from pytest_istio.errors import ClusterError
from pytest_istio.local.processes import started_at
from pytest_istio.local.records import Record, records
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.cluster

SECONDS = 5.0


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kube_binaries: Mapping[str, Path]) -> None:
    """Records and temporary folders of these tests are apart from those of the user, and of short path."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folders = {str(path.parent) for path in kube_binaries.values()}
    monkeypatch.setenv("PATH", os.pathsep.join([*folders, os.environ["PATH"]]))
    monkeypatch.setenv("PYTEST_ISTIO_KUBE_BINARIES", "")


@contextmanager
def owner(how: str = "hold") -> Iterator[subprocess.Popen[str]]:
    """Start a run in a process group of its own, as a shell does."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.local.owner", how],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], key: str) -> dict[str, Any]:
    """Read what a run prints up to a line with `key`."""
    assert process.stdout
    for line in process.stdout:
        said: dict[str, Any] = json.loads(line)
        if key in said:
            return said
    raise AssertionError(f"the run ended with exit code {process.wait()} before it said anything of {key}")


def parent(pid: int) -> int | None:
    """Return the id of a process's parent, None if the process is not there any more."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def family(pid: int) -> set[int]:
    """Return the ids of a process and of all below it."""
    found = {pid}
    for entry in Path("/proc").glob("[0-9]*"):
        if parent(int(entry.name)) == pid:
            found |= family(int(entry.name))
    return found


def only_record() -> Record:
    (record,) = records()
    return record


def command(pid: int) -> str:
    """Return the command line of a process, nothing if it is not there any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def supervisor_of(record: Record) -> int:
    """Return the watchdog's only child that runs the same program; it adopts others, too."""
    (child,) = [
        pid
        for pid in family(record.pid)
        if parent(pid) == record.pid and "-m pytest_istio.local {" in command(pid)
    ]
    return child


def assert_gone(record: Record, processes: set[int]) -> None:
    end = time.monotonic() + SECONDS
    while True:
        # A killed process whose new parent does not wait for it stays as a zombie, which holds nothing.
        left = [command(pid) for pid in processes if started_at(pid) is not None]
        files = [path for path in (Path(record.folder), record.path) if path.exists()]
        if not left and not files:
            return
        assert time.monotonic() < end, f"still there after {SECONDS} s: {left} {files}"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["waiting", "kubeconfig"], ids=["during-start", "running"])
def test_the_end_of_the_run_is_the_end_of_the_cluster(moment: str, number: signal.Signals) -> None:
    with owner() as run:
        until(run, moment)
        record = only_record()
        processes = family(record.pid)
        os.killpg(run.pid, number)
        assert_gone(record, processes)


def test_an_impatient_second_ctrl_c_changes_nothing() -> None:
    with owner() as run:
        until(run, "kubeconfig")
        record = only_record()
        processes = family(record.pid)
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        assert_gone(record, processes)


@pytest.mark.parametrize("victim", ["watchdog", "supervisor"])
def test_the_supervisor_killed(victim: str) -> None:
    with owner() as run:
        until(run, "kubeconfig")
        record = only_record()
        processes = family(record.pid)
        os.kill(record.pid if victim == "watchdog" else supervisor_of(record), signal.SIGKILL)
        assert_gone(record, processes)


def test_a_lost_program_ends_the_cluster_and_is_told() -> None:
    local = LocalProvider()
    cluster = local.start(Settings(), Silent())
    record = only_record()
    processes = family(record.pid)
    try:
        (etcd,) = [pid for pid in processes if "--data-dir" in command(pid)]
        os.kill(etcd, signal.SIGKILL)
        assert_gone(record, processes)
        assert local.trouble
        assert local.trouble.startswith(
            "etcd of the embedded Kubernetes was killed by SIGKILL.\nThe last lines"
        )
    finally:
        local.stop(cluster, keep=False)


def test_a_program_that_fails_at_once_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "kube-apiserver"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo Kubernetes v1.34.3 && exit\necho no, thanks; exit 3\n'
    )
    broken.chmod(0o755)
    with pytest.raises(ClusterError, match=r"kube-apiserver .* ended with exit code 3\.\n.*\nno, thanks$"):
        provider("local").start(Settings(kube_binaries=tmp_path), Silent())
    assert records() == []


def test_a_kept_cluster_stays_until_cleanup_and_others_run_beside_it(
    kube_binaries: Mapping[str, Path],
) -> None:
    with owner("keep") as run:
        kept = Cluster.from_state(until(run, "kubeconfig"))
        assert run.wait(30) == 0
    record = only_record()
    processes = family(record.pid)
    with owner() as run:
        other = Cluster.from_state(until(run, "kubeconfig"))
        server, others = (json.loads(each.kubeconfig.read_text())["clusters"] for each in (kept, other))
        assert server != others
        assert cleanup() == [kept.name]
        assert_gone(record, processes)
        assert other.kubeconfig.exists()
        assert cleanup() == []


def test_several_cleanups_at_once_do_not_mind_each_other(kube_binaries: Mapping[str, Path]) -> None:
    with owner("keep") as run:
        kept = Cluster.from_state(until(run, "kubeconfig"))
        assert run.wait(30) == 0
    record = only_record()
    processes = family(record.pid)
    with ThreadPoolExecutor(4) as pool:
        told = [name for names in pool.map(lambda _: cleanup(), range(4)) for name in names]
    assert set(told) == {kept.name}
    assert_gone(record, processes)
    assert records() == []


def test_remains_of_a_violent_end_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "pytest-istio-left"
    folder.mkdir()
    record = Record(
        "pytest-istio-left", str(folder), pid=2**22 + 1, started=1, owner=2**22 + 1, owner_started=1
    )
    record.write()
    assert cleanup() == ["pytest-istio-left"]
    assert not folder.exists()
    assert records() == []
