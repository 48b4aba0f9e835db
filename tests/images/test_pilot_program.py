"""The discovery service's program on an API server that lacks what it calls."""

from __future__ import annotations

import http.client
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from pytest_istio.istio.catalog import release
from pytest_istio.local.images.cluster_api import ApiError
from tests.images.pods import Pods, eventually, istio_objects, served_definition, wire

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = "istio-pilot-service-account"
WITHOUT_DEFINITIONS = ["discovery", "--disable-install-crds"]


@pytest.fixture
def root(pods: Pods) -> Path:
    """A container whose mesh configuration is the bundled one."""
    (config,) = [each for each in istio_objects("ConfigMap") if each["metadata"]["name"] == "istio"]
    root = pods.root_of(ACCOUNT)
    folder = root / "etc/istio/config"
    folder.mkdir(parents=True)
    (folder / "mesh").write_text(config["data"]["mesh"])
    return root


@pytest.fixture(scope="module")
def surroundings(pods: Pods) -> None:
    """The definitions of the manifests, and the object of the pod, which tells the program its version."""
    pods.apply(*[served_definition(each) for each in istio_objects("CustomResourceDefinition")])
    container = {"name": "discovery", "image": "docker.io/istio/pilot:1.0.5"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": os.uname().nodename.lower(), "namespace": "istio-system"},
        "spec": {"serviceAccountName": ACCOUNT, "containers": [container]},
    }
    pods.apply(pod)


def add_authentication(pods: Pods) -> None:
    """Make the two definitions that the manifests leave to the program, as the catalogue has them."""
    added = [each for each in release("1.0.5").adaptations if each.how == "create"]
    assert len(added) == 2
    pods.apply(*[{"kind": each.kind, "metadata": {"name": each.name}, **each.value} for each in added])


def remove_authentication(pods: Pods) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for name in release("1.0.5").runtime_crds:
        with suppress(ApiError):
            pods.admin.request("DELETE", f"{path}/{name}")


def ready(address: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*wire(address, 8080), timeout=5)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_it_ends_when_it_is_to_make_definitions_and_cannot(pods: Pods, root: Path) -> None:
    ended = pods.run("pilot", ["discovery"], root)
    assert ended.returncode == 255
    assert "failed to register custom resources" in ended.stdout


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("mode", ["", "ingressControllerMode: STRICT", "ingressControllerMode: OFF"])
def test_it_waits_for_ingresses_for_ever_unless_that_is_off_in_quotes(
    pods: Pods, root: Path, mode: str
) -> None:
    configure(root, mode)
    add_authentication(pods)
    with pods.running("pilot", WITHOUT_DEFINITIONS, root, pods.address(20)):
        answer = "ingresses.extensions: not served in extensions/v1beta1\n"
        eventually(lambda: ready(pods.address(20)) == (503, answer))


@pytest.mark.usefixtures("surroundings")
def test_it_is_ready_once_the_definitions_are_there_that_it_cannot_make(pods: Pods, root: Path) -> None:
    configure(root, 'ingressControllerMode: "OFF"')
    remove_authentication(pods)
    with pods.running("pilot", WITHOUT_DEFINITIONS, root, pods.address(21)):
        eventually(lambda: ready(pods.address(21))[1].startswith("MeshPolicy: 404"))
        assert ready(pods.address(21))[0] == 503
        add_authentication(pods)
        eventually(lambda: ready(pods.address(21)) == (200, "ready\n"))


def configure(root: Path, line: str) -> None:
    config = root / "etc/istio/config/mesh"
    config.write_text(f"{config.read_text()}\n{line}\n")
