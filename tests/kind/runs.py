"""Whole runs on kind, as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_istio.clusters.kind_images import STAND_INS_ALLOWED
from pytest_istio.paths import suites_folder

if TYPE_CHECKING:
    from pathlib import Path

WITH_STAND_INS = {STAND_INS_ALLOWED: "1"}


@dataclass(frozen=True)
class Done:
    """What a run came to."""

    code: int
    output: str
    report: dict[str, Any]

    @property
    def phases(self) -> dict[str, float]:
        """The seconds of each phase."""
        return {phase["name"]: phase["seconds"] for phase in self.report["phases"]}

    @property
    def passed(self) -> bool:
        """Whether checks ran and all of them passed."""
        outcomes = {check["outcome"] for check in self.report["checks"]}
        return self.code == 0 and outcomes == {"passed"}


def run(folder: Path, node_image: str, *arguments: str, environment: dict[str, str] = WITH_STAND_INS) -> Done:
    """Run the profile smoke of Istio 1.0.5 on kind, and return what came of it.

    Args:
        folder: Where the report goes.
        node_image: The image of the nodes.
        arguments: More options of pytest's.
        environment: Added to this process's.
    """
    report = folder / "report.json"
    done = subprocess.run(
        [*command(node_image), f"--istio-report={report}", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    return Done(done.returncode, output, json.loads(report.read_text()) if report.exists() else {})


def command(node_image: str) -> list[str]:
    """Return how the profile smoke of Istio 1.0.5 is run on kind."""
    return [
        sys.executable, "-m", "pytest", str(suites_folder()), "-p", "no:cacheprovider", "-p", "no:randomly",
        "--istio-version=1.0.5", "--istio-cluster=kind", "--istio-profile=smoke",
        f"--istio-kind-image={node_image}",
    ]  # fmt: skip
