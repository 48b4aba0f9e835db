"""The control plane alone."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.kube.client import Kube
from pytest_istio.local.controlplane import running_control_plane

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.cluster


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


def test_a_program_that_is_none_is_named(kube_binaries: Mapping[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "kube-scheduler"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    with (
        pytest.raises(ClusterError, match="kube-scheduler cannot be run: Exec format error"),
        running_control_plane({**kube_binaries, "kube-scheduler": broken}),
    ):
        raise AssertionError


def test_waiting_has_a_bound(kube_binaries: Mapping[str, Path]) -> None:
    with (
        pytest.raises(ClusterError, match=r"not ready after 0 s: /readyz gives .*--istio-timeout-factor=3"),
        running_control_plane(kube_binaries, timeout=0),
    ):
        raise AssertionError
