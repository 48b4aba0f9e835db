from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from pytest_istio.report import writers
from pytest_istio.report.model import CheckResult, Report
from pytest_istio.report.terminal import verdict

if TYPE_CHECKING:
    from pathlib import Path

REPORT = Report(
    istio={"version": "1.0.5", "source": "bundled", "sha256": "0" * 64, "rewrites": [], "adaptations": []},
    cluster={"name": "istio-0", "provider": "local", "description": "embedded", "created": True},
    profile="core",
    rehearsal=True,
    exit_status=1,
    phases=(("cluster", 3.14159), ("apply", 1.0)),
    checks=(
        CheckResult("PRE-001", "core", "The API answers.", "passed", 0.12345),
        CheckResult("CP-001[istio-pilot]", "core", "It is available.", "failed", 1.0, "0 of 1\n  seen: ü"),
        CheckResult("ING-002", "core", "It answers.", "blocked", message="by CP-001"),
        CheckResult("SEC-003", "core", "Later.", "not applicable"),
    ),
)


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_forms_hold_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"report{suffix}"
    writers.write(REPORT, path)
    text = path.read_text(encoding="utf-8")
    data = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    assert data == REPORT.to_data()


def test_totals_are_those_of_the_checks() -> None:
    data = REPORT.to_data()
    assert data["summary"] == {"passed": 1, "failed": 1, "blocked": 1, "skipped": 0, "not applicable": 1}
    assert data["checks"][0] == {
        "id": "PRE-001",
        "level": "core",
        "title": "The API answers.",
        "outcome": "passed",
        "duration": 0.123,
        "message": "",
    }
    assert data["phases"] == [{"name": "cluster", "seconds": 3.142}, {"name": "apply", "seconds": 1.0}]


def test_verdict_counts_what_there_is() -> None:
    assert verdict(REPORT).startswith(
        "istio 1.0.5 on local, profile core: 1 passed, 1 failed, 1 blocked, 1 not applicable; a REHEARSAL: "
    )
