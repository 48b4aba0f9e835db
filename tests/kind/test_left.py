"""Clusters that runs have left: deleted once, by the right engine, and whatever has become of the others."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_istio.clusters import kind
from pytest_istio.clusters.base import Cluster
from pytest_istio.clusters.engine import find_engine
from pytest_istio.clusters.kind import KindProvider
from pytest_istio.clusters.kind_folder import KindFolder, folders, state_folder
from pytest_istio.errors import ClusterError
from pytest_istio.kube.polling import until
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings

INFO = {"Architecture": "x86_64", "CgroupVersion": "2", "MemTotal": 2**34, "DockerRootDir": "/nowhere"}
SETTINGS = Settings(istio_version="1.0.5")
# Notes each deletion, and is not done with it before it may be.
KIND = """#!/bin/sh
case "$1" in
delete)
  echo "$0 $3" >>{here}/deleted
  while [ -e {here}/slow ]; do sleep 0.05; done ;;
create) exit 1 ;;
export) {export} ;;
esac
"""


class Notes(Silent):
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str) -> None:
        self.lines.append(what)


@pytest.fixture(autouse=True)
def _programs(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytest_kind")
    answer_from(programs, "first")
    write_kind(programs / "kind")
    monkeypatch.setenv("XDG_CACHE_HOME", str(programs / "cache"))
    monkeypatch.setenv("PYTEST_ISTIO_KIND_URL", "http://127.0.0.1:9")


def answer_from(programs: Path, host: str) -> None:
    """Have the engine of a host answer, which has neither containers nor images."""
    info = json.dumps({**INFO, "Name": host})
    (programs / "docker").write_text(f"#!/bin/sh\ncase $1 in info) echo '{info}' ;; image) exit 1 ;; esac\n")
    (programs / "docker").chmod(0o755)


def write_kind(path: Path, *, export: str = "true") -> Path:
    path.write_text(KIND.format(here=path.parent, export=export))
    path.chmod(0o755)
    return path


def deleted(programs: Path) -> list[str]:
    """Return for each deletion which program of kind's did it, and of what."""
    text = (programs / "deleted").read_text() if (programs / "deleted").exists() else ""
    return text.replace(f"{programs}/", "").replace("--name=", "").splitlines()


def left(name: str, program: Path, *, kept: bool = False) -> KindFolder:
    """Return the record of a cluster whose run was killed, or has kept it."""
    folder = KindFolder.create(name, program, find_engine())
    if kept:
        folder.keep(Cluster(name, "kind", folder.kubeconfig, "c", True, frozenset(), "1 node", {}))
    folder.lock.release()
    return folder


def recorded() -> list[str]:
    return [folder.name for folder in folders()]


def test_two_runs_at_once_delete_it_once(programs: Path) -> None:
    folder = left("a", programs / "kind")
    (programs / "slow").touch()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(kind._remove_abandoned, Silent())
        until(lambda: deleted(programs), bool, timeout=30)
        notes = Notes()
        kind._remove_abandoned(notes)
        assert kind.cleanup() == []
        with pytest.raises(ClusterError, match="another run uses the cluster a"):
            kind._refuse_taken("a", programs / "kind", find_engine())
        (programs / "slow").unlink()
        first.result()
    assert notes.lines == []
    assert deleted(programs) == ["kind a"]
    assert not folder.path.exists()
    assert not list(state_folder().glob("removed-*"))


def test_a_kept_one_that_a_run_takes_during_a_cleanup_stays(programs: Path) -> None:
    left("a", programs / "kind", kept=True)
    taken = left("b", programs / "kind", kept=True)
    (programs / "slow").touch()
    with ThreadPoolExecutor(1) as pool:
        cleanup = pool.submit(kind.cleanup)
        until(lambda: deleted(programs), bool, timeout=30)
        assert taken.claim()
        taken.take()
        (programs / "slow").unlink()
        assert cleanup.result() == ["a"]
    assert recorded() == ["b"]
    taken.lock.release()


def test_one_that_has_gone_meanwhile_is_not_in_use(programs: Path) -> None:
    folder = left("a", programs / "kind")
    (listed,) = folders()
    assert folder.hold()
    folder.remove()
    assert not listed.in_use
    assert not listed.hold()
    assert listed.claim() is None


def test_another_kind_deletes_it_when_the_one_that_made_it_is_gone(programs: Path) -> None:
    old = write_kind(programs / "kind-old")
    left("a", old)
    old.unlink()
    assert kind.cleanup() == ["a"]
    assert deleted(programs) == ["kind a"]


def test_one_that_cannot_be_deleted_keeps_nobody_from_the_others(programs: Path) -> None:
    left("a", programs / "kind", kept=True)
    left("b", programs / "kind")
    left("c", write_kind(programs / "it's kind"))
    left("d", write_kind(programs / "mine"), kept=True)
    (programs / "kind").unlink()
    notes = Notes()
    kind._remove_abandoned(notes)
    (note,) = notes.lines
    assert note.startswith("a killed run's cluster stays, see `pytest-istio cleanup`: b: ")
    assert "there is none on PATH" in note
    assert recorded() == ["a", "b", "d"]
    with pytest.raises(ClusterError) as caught:
        kind.cleanup()
    assert [line[:3] for line in str(caught.value).splitlines() if "none on PATH" in line] == ["a: ", "b: "]
    assert str(caught.value).endswith("These are deleted: d")
    assert recorded() == ["a", "b"]
    write_kind(programs / "kind")
    assert kind.cleanup() == ["a", "b"]


def test_the_record_of_one_that_is_on_another_engine_stays(programs: Path) -> None:
    folder = left("a", programs / "kind")
    answer_from(programs, "second")
    with pytest.raises(ClusterError, match="made with docker at first:/nowhere, and now the one at second:"):
        kind.cleanup()
    notes = Notes()
    kind._remove_abandoned(notes)
    (note,) = notes.lines
    assert "docker at first:/nowhere" in note
    assert str(folder.path) in note
    with pytest.raises(ClusterError, match="there is a kind cluster a already"):
        kind._refuse_taken("a", programs / "kind", find_engine())
    assert deleted(programs) == []
    answer_from(programs, "first")
    assert kind.cleanup() == ["a"]


def test_a_record_of_an_earlier_version_does_not_say_where_it_is(programs: Path) -> None:
    folder = left("a", programs / "kind")
    folder.write("owner", {"pid": 1, "engine": "docker"})
    answer_from(programs, "second")
    assert kind.cleanup() == ["a"]


@pytest.mark.parametrize("text", ["[]", "{}", '{"engine": 1}', "[" * 100_000])
def test_junk_in_place_of_a_record_is_named_and_stays(programs: Path, text: str) -> None:
    record = left("a", programs / "kind").path / "owner.json"
    record.write_text(text)
    with pytest.raises(ClusterError, match=f"{record} is no record of a cluster of kind: "):
        kind.cleanup()
    assert recorded() == ["a"]


def test_a_pipe_in_place_of_a_record_is_not_waited_for(programs: Path) -> None:
    record = left("a", programs / "kind").path / "owner.json"
    record.unlink()
    os.mkfifo(record)
    with pytest.raises(ClusterError, match="it is a pipe"):
        kind.cleanup()


@pytest.mark.parametrize("text", ["[]", "{}", '{"kubeconfig": "", "capabilities": []}'])
def test_junk_in_place_of_a_kept_cluster_is_named(programs: Path, text: str) -> None:
    folder = left("a", programs / "kind", kept=True)
    (folder.path / "kept.json").write_text(text)
    with pytest.raises(ClusterError, match=r"kept\.json is no record of a cluster of kind: "):
        folder.claim()


def test_what_cannot_be_looked_at_is_not_taken_for_nothing() -> None:
    assert kind.cleanup() == []
    state_folder().mkdir(parents=True)
    (state_folder() / "kind").touch()
    with pytest.raises(NotADirectoryError):
        kind.cleanup()


def test_a_relative_state_folder_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert state_folder() == Path.home() / ".local" / "state" / "pytest-istio"


@pytest.mark.parametrize("earlier", [False, True])
def test_without_its_engines_program_the_record_stays(programs: Path, earlier: bool) -> None:
    folder = left("a", programs / "kind")
    if earlier:
        folder.write("owner", {"pid": 1, "engine": "docker"})
    (programs / "docker").unlink()
    with pytest.raises(ClusterError, match=r"a: docker: .*install it"):
        kind.cleanup()
    assert recorded() == ["a"]


def create(programs: Path) -> None:
    """Fail to create a cluster."""
    progress = Silent()
    kind._created(find_engine(), programs / "kind", SETTINGS, image="n:1", config="", progress=progress)


def test_an_interrupt_while_kinds_logs_are_kept_leaves_nothing(programs: Path) -> None:
    write_kind(programs / "kind", export="kill -INT $PPID")
    with pytest.raises(KeyboardInterrupt):
        create(programs)
    assert len(deleted(programs)) == 1
    assert recorded() == []


def test_logs_that_cannot_be_kept_leave_nothing(programs: Path) -> None:
    state_folder().mkdir(parents=True)
    (state_folder() / "kind-logs").touch()
    with pytest.raises(FileExistsError):
        create(programs)
    assert len(deleted(programs)) == 1
    assert recorded() == []


def test_a_pulse_that_cannot_begin_leaves_nothing(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = left("a", programs / "kind")
    assert folder.hold()
    cluster = Cluster("a", "kind", folder.kubeconfig, "c", True, frozenset(), "1 node", {})
    monkeypatch.setattr(kind, "_kept_or_made", lambda *_: (folder, cluster))
    with pytest.raises(ClusterError, match="no such file"):
        KindProvider().start(SETTINGS, Silent())
    assert deleted(programs) == ["kind a"]
    assert recorded() == []
