from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_istio.cli import main
from pytest_istio.clusters import existing, kind, local
from pytest_istio.errors import ClusterError


def test_list_tells_id_level_profiles_and_title(
    capsys: pytest.CaptureFixture[str], pytester: pytest.Pytester
) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"ING-002 +core +smoke,core,extended +all +\S", line) for line in lines)
    assert len({line.split()[0] for line in lines if re.match(r"[A-Z]+-\d{3} ", line)}) > 30
    assert "  bookinfo details, " in lines[-1]


def test_images_are_those_of_istio_sidecars_and_bookinfo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "1.0.5"]) == 0
    plain = capsys.readouterr().out.splitlines()
    assert plain == sorted(set(plain))
    assert {"docker.io/istio/pilot:1.0.5", "docker.io/istio/proxy_init:1.0.5"} <= set(plain)
    assert sum("/examples-bookinfo-" in image for image in plain) == 6
    assert main(["images", "1.0.5", "--addon=grafana"]) == 0
    (added,) = set(capsys.readouterr().out.splitlines()) - set(plain)
    assert "grafana" in added
    assert main(["images", "1.0.5", "--image-registry=docker.io/nosuch=a.example"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == plain
    assert "note: no image of this run is of docker.io/nosuch" in printed.err


@pytest.mark.parametrize("arguments", [["9.9.9"], ["1.0"], ["1.0.5", "--manifests=none.yaml"]])
def test_images_of_what_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["images", *arguments]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pytest-istio")


def test_cleanup_tells_what_it_ended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "cleanup", lambda: ["local-3"])
    monkeypatch.setattr(kind, "cleanup", lambda: ["kind-4"])
    monkeypatch.setattr(existing, "cleanup", lambda settings: [f"run on {settings.context}"])
    assert main(["cleanup"]) == 0
    assert capsys.readouterr().out == "ended: local-3, kind-4\n"
    assert main(["cleanup", "--context=mine"]) == 0
    assert capsys.readouterr().out == "ended: run on mine\n"
    # Such as that of a variable that is not set: not to be taken for none.
    assert main(["cleanup", "--context", ""]) == 1
    assert capsys.readouterr() == (
        "",
        "pytest-istio: cleanup: --context: '' is no name; nothing was touched\n",
    )


def test_failure_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> list[str]:
        raise ClusterError("It does not end.")

    monkeypatch.setattr(local, "cleanup", fails)
    assert main(["cleanup"]) == 1
    assert capsys.readouterr().err == "pytest-istio: It does not end.\n"


RECORD = {
    "name": "a", "folder": "/nowhere/pytest-istio-a", "pid": 1, "started": -1, "owner": 1,
    "owner_started": -1,
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "[" * 100_000,
        '{"name": "a"}',
        json.dumps({**RECORD, "pid": "x"}),
        json.dumps({**RECORD, "kept": 1}),
        json.dumps({**RECORD, "name": "b"}),
        json.dumps({**RECORD, "folder": "/home/somebody"}),
        json.dumps({**RECORD, "folder": "/home/somebody/pytest-istio-a/.."}),
        json.dumps({**RECORD, "folder": "pytest-istio-a"}),
    ],
)
def test_a_record_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    record = tmp_path / "pytest-istio" / "clusters" / "a.json"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    assert main(["cleanup"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"pytest-istio: {record} is no record of a cluster")
    assert line.endswith("remove the file.")
    assert record.exists()


def clusters(monkeypatch: pytest.MonkeyPatch, state: Path) -> Path:
    """Return the folder of records in a state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    folder = state / "pytest-istio" / "clusters"
    folder.parent.mkdir(parents=True)
    return folder


def test_a_pipe_in_place_of_a_record_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = clusters(monkeypatch, tmp_path)
    folder.mkdir()
    os.mkfifo(folder / "a.json")
    with pytest.raises(ClusterError, match=r"a.json is no record .*: it is no regular file"):
        local.cleanup()


def test_records_that_cannot_be_looked_at_are_not_taken_for_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = clusters(monkeypatch, tmp_path)
    assert local.cleanup() == []
    folder.touch()
    assert main(["cleanup"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pytest-istio: [Errno 20] Not a directory: ")


def test_a_relative_state_folder_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = clusters(monkeypatch, tmp_path)
    folder.mkdir()
    (folder / "a.json").write_text("{")
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("XDG_STATE_HOME", tmp_path.name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert local.cleanup() == []


def test_output_that_nobody_takes_is_no_traceback() -> None:
    command = [sys.executable, "-m", "pytest_istio.cli", "images", "1.0.5"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "pytest-istio: [Errno 28] No space left on device\n")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["install"], ["list", "more"]])
def test_wrong_call_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pytest-istio: ")
