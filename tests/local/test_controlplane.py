"""The control plane alone."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.kube.client import Kube
from pytest_istio.local.controlplane import ControlPlane, running_control_plane
from pytest_istio.local.instances import allocate, make_folder
from pytest_istio.local.versions import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@pytest.fixture
def fake_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane of scripts, of which kube-controller-manager soon gives up."""
    programs = {}
    for name in PROGRAMS:
        programs[name] = tmp_path / name
        ending = "echo no patience; exit 1" if name == "kube-controller-manager" else "exec sleep 60"
        programs[name].write_text(f"#!/bin/sh\n{ending}\n")
        programs[name].chmod(0o755)
    folder = make_folder()
    with allocate() as plan:
        plane = ControlPlane(programs, plan, folder)
        plane.start()
        yield plane
        plane.stop()
    shutil.rmtree(folder)


def wait_for_the_end(pid: int) -> None:
    """Wait for a child to end, and leave it to its parent to take note of that."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_a_program_that_loses_patience_at_the_start_gets_another_chance(
    fake_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.local.controlplane._SHORT_LIFE", 0)
    first = fake_plane.pids["kube-controller-manager"]
    wait_for_the_end(first)
    fake_plane.check()
    again = fake_plane.pids["kube-controller-manager"]
    assert again != first
    wait_for_the_end(again)
    fake_plane.ready = True
    with pytest.raises(
        ClusterError, match=r"kube-controller-manager .* ended with exit code 1\.\n.*\nno patience"
    ):
        fake_plane.check()


def test_a_program_that_is_broken_gets_no_other_chance(fake_plane: ControlPlane) -> None:
    wait_for_the_end(fake_plane.pids["kube-controller-manager"])
    with pytest.raises(ClusterError, match=r"kube-controller-manager .* ended with exit code 1"):
        fake_plane.check()


@pytest.mark.cluster
def test_it_serves_keeps_its_secrets_and_leaves_nothing(kube_binaries: Mapping[str, Path]) -> None:
    with running_control_plane(kube_binaries) as plane:
        kube = Kube.connect(plane.kubeconfig)
        assert kube.ready()
        assert kube.version()["gitVersion"].startswith("v1.34.")
        assert kube.get("v1", "ServiceAccount", "default", "default")
        assert stat.S_IMODE(plane.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(plane.kubeconfig.stat().st_mode) == 0o600
        kube.close()
    assert not plane.folder.exists()


@pytest.mark.cluster
def test_a_program_that_is_none_is_named(kube_binaries: Mapping[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "kube-scheduler"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    with (
        pytest.raises(ClusterError, match="kube-scheduler cannot be run: Exec format error"),
        running_control_plane({**kube_binaries, "kube-scheduler": broken}),
    ):
        raise AssertionError


@pytest.mark.cluster
def test_waiting_has_a_bound(kube_binaries: Mapping[str, Path]) -> None:
    with (
        pytest.raises(
            ClusterError, match=r"not ready after 0 s: GET /readyz: (.|\n)*--istio-timeout-factor=3"
        ),
        running_control_plane(kube_binaries, timeout=0),
    ):
        raise AssertionError
