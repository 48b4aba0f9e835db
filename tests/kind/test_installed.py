"""An Istio that is on a real cluster already: tested as it is, and left as it was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pytest_istio.istio import installed
from pytest_istio.kube.client import Kube
from pytest_istio.paths import suites_folder
from pytest_istio.settings import Settings
from tests.kind.inventory import stored

INSTALLED = "PYTEST_ISTIO_TEST_INSTALLED"
"""The environment variable with a kubeconfig whose current context has an Istio; without it nothing runs."""
CLIENT_IMAGE = "PYTEST_ISTIO_TEST_CLIENT_IMAGE"
"""The environment variable that names an image with curl which the cluster's nodes can have."""
CHURNING = {"Event", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision"}
"""Kinds that Kubernetes itself makes and removes as time goes by."""


@pytest.fixture
def kubeconfig() -> Path:
    if INSTALLED not in os.environ:
        pytest.skip(f"{INSTALLED} names no kubeconfig of a cluster with an Istio")
    return Path(os.environ[INSTALLED])


@pytest.fixture
def context(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["current-context"])


@pytest.fixture
def version(kubeconfig: Path, context: str) -> str:
    return installed.version(Kube.connect(kubeconfig, context), Settings())


def run(kubeconfig: Path, context: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the suites against the installed Istio, as a user would."""
    given = [f"--istio-kubeconfig={kubeconfig}", f"--istio-context={context}", "--istio-use-installed"]
    command = [sys.executable, "-m", "pytest", str(suites_folder()), "-p", "no:cacheprovider", *given]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def test_all_checks_pass_and_nothing_is_changed(
    kubeconfig: Path, context: str, version: str, tmp_path: Path
) -> None:
    kube = Kube.connect(kubeconfig, context)
    before = inventory(kube)
    report = tmp_path / "report.json"
    image = os.environ.get(CLIENT_IMAGE)
    done = run(
        kubeconfig,
        context,
        f"--istio-version={version}",
        f"--istio-allow-context={context}",
        f"--istio-report={report}",
        *([f"--istio-client-image={image}"] if image else []),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert inventory(kube) == before
    told = json.loads(report.read_text())
    outcomes = {each["id"]: each["outcome"] for each in told["checks"]}
    assert set(outcomes.values()) == {"passed", "not applicable", "skipped"}
    assert {name for name, outcome in outcomes.items() if outcome == "skipped"} == {"INJ-001", "INV-002"}
    assert re.fullmatch(r"bookinfo-run-\w+\.example\.com", told["gateway"]["host"])


def test_another_version_is_refused_before_anything_is_made(
    kubeconfig: Path, context: str, version: str
) -> None:
    other = re.sub(r"\d+$", lambda patch: str(int(patch.group()) + 1), version)
    kube = Kube.connect(kubeconfig, context)
    before = inventory(kube)
    done = run(kubeconfig, context, f"--istio-version={other}", f"--istio-allow-context={context}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"Take --istio-version={version}" in done.stderr
    assert inventory(kube) == before


def test_without_consent_nothing_is_made(kubeconfig: Path, context: str, version: str) -> None:
    done = run(kubeconfig, context, f"--istio-version={version}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"add --istio-allow-context={context}" in done.stderr


def test_installing_beside_it_is_refused_and_the_option_named(
    kubeconfig: Path, context: str, version: str
) -> None:
    command = [sys.executable, "-m", "pytest", str(suites_folder()), "-p", "no:cacheprovider"]
    given = [f"--istio-kubeconfig={kubeconfig}", f"--istio-context={context}"]
    done = subprocess.run(
        [*command, *given, f"--istio-allow-context={context}", "--istio-version=1.0.5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "To test the Istio that is there: --istio-use-installed" in done.stderr


def inventory(kube: Kube) -> dict[str, str]:
    """Return what is on the cluster: kind, namespace, name and UID, with the version of what is specified."""
    found: dict[str, str] = {}
    for each in stored(kube, but=CHURNING):
        metadata = each["metadata"]
        name = f"{each['kind']} {metadata.get('namespace', '')}/{metadata['name']} {metadata['uid']}"
        found[name] = str(metadata.get("generation", ""))
    return found
