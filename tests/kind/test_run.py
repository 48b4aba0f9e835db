"""Istio 1.0.5 on a real kubelet in real containers, from nothing to nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters.kind_folder import folders
from tests.kind.containers import containers
from tests.kind.runs import WITH_STAND_INS, command, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_cleaned")


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("nodes", [1, 3])
def test_smoke_passes_and_nothing_is_left(node_image: str, tmp_path: Path, nodes: int) -> None:
    secret = f"--istio-image-pull-secret={config(tmp_path)}"
    done = run(tmp_path, node_image, f"--istio-kind-nodes={nodes}", secret)
    assert done.passed, done.output
    assert done.report["cluster"]["description"].startswith(f"{nodes} node")
    assert done.report["gateway"]["way"] == "node-port"
    assert done.report["rehearsal"], "stand-ins are no Istio"
    assert {"cluster", "images", "apply", "control plane", "teardown"} <= done.phases.keys()
    assert list(folders()) == []
    assert containers(done.report["cluster"]["name"]) == set()
    assert "c2VjcmV0" not in done.output + str(done.report)


def test_without_its_images_it_fails_early_and_says_what_the_registry_answered(
    node_image: str, tmp_path: Path
) -> None:
    done = run(tmp_path, node_image, "--istio-keep=never", environment={})
    assert done.code == pytest.ExitCode.TESTS_FAILED, done.output
    messages = {check["id"]: check["message"] for check in done.report["checks"]}
    message = messages["CP-001[istio-pilot]"]
    assert "docker.io/istio/pilot:1.0.5" in message
    assert "failed to resolve reference" in message or "failed to do request" in message
    assert list(folders()) == []


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["apply", "control plane"])
def test_an_interrupted_installation_leaves_nothing(
    node_image: str, number: signal.Signals, phase: str
) -> None:
    before = {"apply": "istio: preflight took", "control plane": "istio: apply took"}[phase]
    environment = {**os.environ, **WITH_STAND_INS}
    with subprocess.Popen(
        command(node_image), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout
        said = [next(line for line in run.stdout if line.startswith(before))]
        (folder,) = folders()
        assert containers(folder.name)
        run.send_signal(number)
        said += run.stdout
    assert run.returncode == pytest.ExitCode.INTERRUPTED, said
    assert not [line for line in said if line.startswith((f"istio: {phase} took", "Traceback"))]
    assert list(folders()) == []
    assert containers(folder.name) == set()


def config(folder: Path) -> str:
    """Write a docker config for a registry that nobody asks, and return its path."""
    file = folder / "config.json"
    file.write_text('{"auths": {"registry.invalid": {"auth": "c29tZWJvZHk6c2VjcmV0"}}}')
    return str(file)
