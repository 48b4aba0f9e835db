"""Istio from a registry that wants credentials, as vendors mirror it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters.kind_folder import folders
from tests.kind.containers import ask_engine
from tests.kind.registry import Registry, serving
from tests.kind.runs import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_cleaned")

REGISTRIES = ("docker.io", "quay.io")
CONFIG = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraMounts:
  - hostPath: {hosts}
    containerPath: /etc/containerd/certs.d
containerdConfigPatches:
- |-
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
"""


@pytest.fixture(scope="module")
def registry(stand_ins: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry at an address of this machine that the nodes of kind's reach."""
    network = ask_engine("network", "inspect", "kind")
    # Docker and Podman agree on no more than this.
    host = re.findall(r'"gateway": *"([0-9.]+)"', network, re.IGNORECASE)[0]
    with serving(Registry(stand_ins, tmp_path_factory.mktemp("registry")), host) as served:
        yield served


@pytest.fixture
def arguments(registry: Registry, tmp_path: Path) -> list[str]:
    """What a vendor says: where the images are, and to containerd that the registry speaks plain HTTP."""
    hosts = tmp_path / "hosts" / registry.address
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'[host."http://{registry.address}"]\n')
    config = tmp_path / "kind.yaml"
    config.write_text(CONFIG.format(hosts=hosts.parent))
    places = [f"--istio-image-registry={name}={registry.address}" for name in REGISTRIES]
    return [f"--istio-kind-config={config}", *places]


def test_images_are_pulled_with_the_credentials(
    registry: Registry, node_image: str, tmp_path: Path, arguments: list[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(registry.docker_config(registry.password))
    done = run(tmp_path, node_image, *arguments, f"--istio-image-pull-secret={config}", environment={})
    assert done.passed, done.output
    assert done.report["cluster"]["description"].endswith("0 images loaded")
    assert registry.password not in done.output + str(done.report)
    assert list(folders()) == []


@pytest.mark.parametrize("secret", [[], ["--istio-image-pull-secret"]], ids=["none", "wrong password"])
def test_without_them_it_fails_early_and_says_what_the_registry_answered(
    registry: Registry, node_image: str, tmp_path: Path, arguments: list[str], secret: list[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(registry.docker_config("wrong"))
    given = [f"{option}={config}" for option in secret]
    done = run(tmp_path, node_image, *arguments, *given, environment={})
    assert done.code == pytest.ExitCode.TESTS_FAILED, done.output
    messages = {check["id"]: check["message"] for check in done.report["checks"]}
    message = messages["CP-001[istio-pilot]"]
    assert f"{registry.address}/istio/pilot:1.0.5" in message
    assert "401 Unauthorized" in message
    assert list(folders()) == []
