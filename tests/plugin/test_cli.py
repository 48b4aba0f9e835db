from __future__ import annotations

import re

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


def test_failure_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> list[str]:
        raise ClusterError("It does not end.")

    monkeypatch.setattr(local, "cleanup", fails)
    assert main(["cleanup"]) == 1
    assert capsys.readouterr().err == "pytest-istio: It does not end.\n"


@pytest.mark.parametrize("arguments", [[], ["install"], ["list", "more"]])
def test_wrong_call_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pytest-istio: ")
