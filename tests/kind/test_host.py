"""Combinations that cannot work are refused before anything is created."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_istio.clusters.engine import Engine
from pytest_istio.clusters.host import check_host, default_image
from pytest_istio.errors import ClusterError

HOST = Engine("docker", "amd64", 2, 16 * 2**30, Path("/nowhere"), "here")


@pytest.mark.parametrize("cgroup", [1, 2])
def test_the_default_node_image_starts_with_either_version_of_cgroups(cgroup: int) -> None:
    check_host(replace(HOST, cgroup=cgroup), default_image("1.0.5"), "1.0.5")


@pytest.mark.parametrize(
    ("cgroup", "image", "works"),
    [
        (2, "kindest/node:v1.15.12", "a node image of 1.19 or newer"),
        (2, "registry.example/kindest/node:v1.18.20@sha256:abc", "a node image of 1.19 or newer"),
        (1, "kindest/node:v1.35.0", "a node image of 1.34 or older"),
    ],
)
def test_kubelets_and_cgroups_that_do_not_go_together_are_refused(
    cgroup: int, image: str, works: str
) -> None:
    with pytest.raises(ClusterError) as caught:
        check_host(replace(HOST, cgroup=cgroup), image, "1.0.5")
    assert works in str(caught.value)
    assert "--istio-kind-image=docker.io/kindest/node:v1.21.14" in str(caught.value)
    assert "nothing was created" in str(caught.value)


@pytest.mark.parametrize(
    ("cgroup", "image"),
    [(2, "kindest/node:v1.19.16"), (1, "kindest/node:v1.34.3"), (2, "kindest/node:v1.35.0"), (1, "my/node")],
)
def test_other_combinations_pass(cgroup: int, image: str) -> None:
    check_host(replace(HOST, cgroup=cgroup), image, "1.0.5")


def test_old_releases_are_refused_where_containers_are_not_amd64() -> None:
    with pytest.raises(ClusterError, match=r"before 1\.15 Istio's images were released for amd64 alone"):
        check_host(replace(HOST, architecture="arm64"), "kindest/node:v1.21.14", "1.0.5")


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"expected: 3\.0 GiB"):
        check_host(replace(HOST, memory=2**31), "kindest/node:v1.21.14", "1.0.5")


def test_too_little_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_istio.clusters.host._STORAGE", 2**60)
    with pytest.raises(ClusterError, match=f"the disk under {tmp_path}"):
        check_host(replace(HOST, storage=tmp_path), "kindest/node:v1.21.14", "1.0.5")


def test_a_disk_that_this_user_may_not_look_at_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "closed" / "storage").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700 if os.geteuid() == 0 else 0)
    nobody, before = 65534, os.geteuid()
    if before == 0:
        os.seteuid(nobody)
    try:
        check_host(replace(HOST, storage=tmp_path / "closed" / "storage"), "kindest/node:v1.21.14", "1.0.5")
    finally:
        os.seteuid(before)
        (tmp_path / "closed").chmod(0o700)


def test_a_version_without_a_node_image_asks_for_one() -> None:
    with pytest.raises(ClusterError, match="name one with --istio-kind-image"):
        default_image("9.9.9")
