"""The same verdicts in whatever order and by however many processes: whole runs with a fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
import yaml

from pytest_istio.kube.manifests import load
from pytest_istio.paths import fixtures_folder, suites_folder
from tests.faults.changes import changed_all
from tests.faults.faults import all_faults
from tests.plugin.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FAULT = "idle-components-scaled-to-zero"
"""Two checks fail by it, one is blocked, and nothing is waited for."""
LONGEST = 600
"""Seconds after which a run is taken to hang."""
UNSHUFFLED = ("-p", "no:randomly")
NO_CACHE = ("-p", "no:cacheprovider")
# The statistics of traffic take half of the time and are no different from their neighbours.
MOST = ("-k", "not test_weights")


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        code: Its exit code.
        verdicts: The outcome of each check that ran, by the check's name.
        properties: The same, as JUnit's file tells it.
        clusters: How many clusters were started.
        text: What was printed.
    """

    code: int
    verdicts: dict[str, str]
    properties: dict[str, str]
    clusters: int
    text: str


class Runs:
    """Runs the suites, with one cache for all runs."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        manifests = folder / "manifests.yaml"
        objects = load(fixtures_folder() / "istio" / "1.0.5").objects
        manifests.write_text(yaml.safe_dump_all(changed_all(objects, all_faults()[FAULT].manifests)))
        self._usual = (
            *("--istio-version=1.0.5", "--istio-cluster=local", f"--istio-kube-binaries={programs}"),
            *(f"--istio-manifests={manifests}", f"--basetemp={folder / 'temporary'}"),
            *("-p", "no:hypothesispytest", "-p", "no:anyio"),
        )
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        self._environment = {**kept, "PYTHONPATH": str(REPOSITORY)}

    def run(self, *arguments: str) -> Outcome:
        report, junit = self._folder / "report.json", self._folder / "junit.xml"
        report.unlink(missing_ok=True)
        junit.unlink(missing_ok=True)
        # Without the cache pytest does not know its option.
        cache = () if NO_CACHE[1] in arguments else ("-o", f"cache_dir={self._folder / 'cache'}")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", str(suites_folder()), *self._usual, *cache, *arguments,
             f"--istio-report={report}", f"--junitxml={junit}"],
            cwd=self._folder, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=LONGEST, check=False,
        )  # fmt: skip
        print(done.stdout)
        checks = json.loads(report.read_text())["checks"] if report.exists() else []
        verdicts = {check["id"]: check["outcome"] for check in checks}
        clusters = sum(line.startswith("istio: cluster took ") for line in done.stdout.splitlines())
        return Outcome(done.returncode, verdicts, _properties(junit), clusters, done.stdout)


def _properties(junit: Path) -> dict[str, str]:
    """Return what each check came to in the end, if it did: each phase of a test adds its properties."""
    if not junit.exists():
        return {}
    found = {}
    for case in ET.parse(junit).iter("testcase"):
        told = {each.get("name", ""): each.get("value", "") for each in case.iter("property")}
        if "istio_outcome" in told:
            found[told["istio_check"]] = told["istio_outcome"]
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, kube_binaries: Mapping[str, Path]) -> Runs:
    folder = tmp_path_factory.mktemp("orders")
    programs = folder / "programs"
    programs.mkdir()
    for name, path in kube_binaries.items():
        (programs / name).symlink_to(path)
    return Runs(folder, programs)


@pytest.fixture(scope="module")
def reference(runs: Runs) -> Outcome:
    """One process, in the order of the files."""
    return runs.run(*UNSHUFFLED, *MOST)


def test_in_order(reference: Outcome) -> None:
    assert reference.code == pytest.ExitCode.TESTS_FAILED
    found = {check: verdict for check, verdict in reference.verdicts.items() if verdict != "passed"}
    assert found == {
        "CP-001[prometheus]": "failed",
        "CP-001[istio-egressgateway]": "failed",
        "CP-003": "blocked",
    }
    assert len(reference.verdicts) > 45
    assert reference.properties == reference.verdicts
    assert reference.clusters == 1


@pytest.mark.parametrize("arguments", [("-n2",), ("-n4", *NO_CACHE)], ids=" ".join)
def test_side_by_side_and_in_random_order(runs: Runs, reference: Outcome, arguments: tuple[str, ...]) -> None:
    found = runs.run(*arguments, *MOST)
    assert "--randomly-seed=" in found.text
    assert found.verdicts == found.properties == reference.verdicts
    assert (found.code, found.clusters) == (reference.code, 1)


def test_a_part(runs: Runs, reference: Outcome) -> None:
    found = runs.run("-k", "test_services_have_endpoints", *UNSHUFFLED)
    expected = {check: reference.verdicts[check] for check in ("CP-003", "BKI-003")}
    assert found.verdicts == found.properties == expected
    assert (found.code, found.clusters) == (reference.code, 1)


def test_the_first_of_the_last_failures(runs: Runs, reference: Outcome) -> None:
    found = runs.run("--lf", "-x")
    (failed,) = found.verdicts
    assert found.verdicts == found.properties == {failed: "failed"}
    assert reference.verdicts[failed] == "failed"
    assert "rerun previous 2 failures" in found.text
    assert (found.code, found.clusters) == (reference.code, 1)


@pytest.mark.parametrize("dry", ["--collect-only", "--setup-plan"])
def test_dry(runs: Runs, dry: str) -> None:
    found = runs.run(dry)
    assert (found.code, found.clusters, found.verdicts) == (pytest.ExitCode.OK, 0, {})
    assert "istio: " not in found.text.replace("istio: 1.0.5 (from option)", "")
