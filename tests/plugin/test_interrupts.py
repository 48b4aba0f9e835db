"""A whole run on the embedded Kubernetes that is interrupted: it says so, and nothing of it remains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pytest_istio.local.processes import started_at
from tests.local.test_ends import SECONDS, command, family
from tests.plugin.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture
def arguments(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kube_binaries: Mapping[str, Path]
) -> list[str]:
    """The arguments of a run on a local cluster whose files have a place of their own."""
    programs = pytester.mkdir("programs")
    for name, path in kube_binaries.items():
        (programs / name).symlink_to(path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.mkdir("state")))
    monkeypatch.setenv("TMPDIR", str(pytester.mkdir("t")))
    return ["--istio-version=1.0.5", "--istio-cluster=local", f"--istio-kube-binaries={programs}"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("phase", ["Kubernetes programs", "cluster", "apply", "gateway"])
def test_interrupt_leaves_nothing(
    pytester: pytest.Pytester, arguments: list[str], phase: str, number: signal.Signals
) -> None:
    pytester.makepyfile("def test_it(gateway, bookinfo): import time; time.sleep(60)")
    started = [sys.executable, "-m", "pytest", *arguments]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout
        for line in run.stdout:
            if f"{phase} took" in line:
                break
        time.sleep(0.3)
        processes = family(run.pid)
        os.kill(run.pid, number)
        rest = run.stdout.read()
    assert run.returncode == pytest.ExitCode.INTERRUPTED, rest
    assert "Traceback" not in rest
    end = time.monotonic() + SECONDS
    while left := [command(pid) for pid in processes if started_at(pid) is not None]:
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.05)
    assert list((pytester.path / "state").rglob("*.json")) == []
    assert list((pytester.path / "t").glob("pytest-istio*")) == []
