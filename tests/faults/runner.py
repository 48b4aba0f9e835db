"""Running the suites under a fault, as a user would, and judging the judges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pytest_istio.kube.manifests import load
from pytest_istio.paths import fixtures_folder, suites_folder
from tests.faults.changes import changed_all
from tests.faults.plugin import FILE

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.faults.faults import Fault

__all__ = ["VERSION", "Run", "all_checks", "run"]

VERSION = "1.0.5"
FACTOR = 0.3
"""Of the bounds on waiting: what a fault keeps from coming is not waited for as long as by a user."""
LONGEST = 900
"""Seconds after which a run is taken to hang."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """A run of the suites under a fault.

    Attributes:
        fault: What was broken.
        outcomes: What each check came to.
        messages: What each check had to say.
        seconds: How long the run took.
        text: What pytest printed.
    """

    fault: Fault
    outcomes: dict[str, str]
    messages: dict[str, str]
    seconds: float
    text: str

    def surprises(self) -> list[str]:
        """Return what came out otherwise than the fault's declaration says, false passes first."""
        wrong = [(check, self.fault.expected(check), seen) for check, seen in self.outcomes.items()]
        order = sorted(each for each in wrong if each[1] != each[2])
        order.sort(key=lambda each: each[1:] != ("failed", "passed"))
        return [
            f"{check}: {seen}, should be {expected}: {' '.join(self.messages[check].split())[:400]}"
            for check, expected, seen in order
        ]


@cache
def all_checks() -> tuple[str, ...]:
    """Return the names of all checks of the core profile, as pytest collects them."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        names = Path(folder) / "names.json"
        done = _pytest(Path(folder), {"checks": None, "names": str(names)}, ["--collect-only", "-q"])
        assert names.exists(), done.stdout
        return tuple(json.loads(names.read_text(encoding="utf-8")))


def run(fault: Fault, checks: Collection[str], *, factor: float = FACTOR) -> Run:
    """Run checks under a fault, on a cluster of their own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        report = folder / "report.json"
        arguments = [f"--istio-report={report}", f"--istio-timeout-factor={factor}", "-rfE", "--tb=short"]
        if fault.manifests:
            arguments.append(f"--istio-manifests={_changed_manifests(fault, folder)}")
        told = {"checks": sorted(checks), "before": fault.before, "live": fault.live}
        done = _pytest(folder, told, arguments)
        found = json.loads(report.read_text(encoding="utf-8"))["checks"] if report.exists() else []
    outcomes = {each["id"]: each["outcome"] for each in found}
    # What did not come to anything is a surprise as well.
    missing = dict.fromkeys(set(checks) - outcomes.keys(), f"did not run, exit code {done.returncode}")
    messages = {
        **dict.fromkeys(missing, done.stdout[-2000:]),
        **{each["id"]: each["message"] for each in found},
    }
    return Run(fault, {**outcomes, **missing}, messages, time.monotonic() - began, done.stdout)


def _changed_manifests(fault: Fault, folder: Path) -> Path:
    objects = load(fixtures_folder() / "istio" / VERSION).objects
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(changed_all(objects, fault.manifests)), encoding="utf-8")
    return path


def _pytest(folder: Path, told: dict[str, Any], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    file = folder / "fault.json"
    file.write_text(json.dumps(told), encoding="utf-8")
    # What the outer run was given is not for the inner one, but for the way to Kubernetes' programs.
    kept = {"PYTEST_ISTIO_KUBE_BINARIES"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_") or k in kept}
    command = [
        sys.executable, "-m", "pytest", str(suites_folder()), f"--rootdir={ROOT}",
        f"--istio-version={VERSION}", "--istio-cluster=local",
        "-p", "tests.faults.plugin", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments,
    ]  # fmt: skip
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**environment, FILE: str(file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
        check=False,
    )
