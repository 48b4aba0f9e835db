"""Credentials for images: what is taken for a docker config, and where the Secret goes."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_istio import bookinfo
from pytest_istio.errors import BadSettingError
from pytest_istio.istio import install, leftovers, pull_secret, sources
from pytest_istio.istio.namespaces import temporary_namespace
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

SECRET = "c29tZWJvZHk6c2VjcmV0"
CONFIG = {"auths": {"registry.example.com": {"auth": SECRET}}}
NAMED = [{"name": pull_secret.NAME}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "config.json"
    written.write_text(json.dumps(CONFIG))
    return written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a docker config"),
        (SECRET, "is not a docker config"),
        (f'["{SECRET}"]', "is not a docker config"),
        (f'{{"auths": "{SECRET}"}}', "is not a docker config"),
        (f'{{"auths": {{"a.example": "{SECRET}"}}}}', "is not a docker config"),
        ("[" * 100_000, "is not a docker config"),
        ('{"auths": {}}', "holds no credentials"),
        (f'{{"auths": {{"a.example": {{}}}}, "credsStore": "{SECRET}"}}', "holds no credentials"),
    ],
)
def test_another_file_is_refused_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        pull_secret.read(file)
    assert SECRET not in str(caught.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        pull_secret.read(tmp_path)


def test_a_file_that_has_gone_meanwhile_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone.json"
    with pytest.raises(BadSettingError, match=f"--istio-image-pull-secret: {gone} cannot be read"):
        pull_secret.secrets(Settings(image_pull_secret=gone), ["default"])


def test_every_kind_of_workload_names_the_secret_beside_its_own(file: Path) -> None:
    pod = {"containers": [], "imagePullSecrets": [{"name": "own"}]}
    template = {"spec": {"template": {"spec": pod}}}
    given: list[Object] = [
        {"kind": "Pod", "spec": pod},
        {"kind": "Deployment", **template},
        {"kind": "CronJob", "spec": {"jobTemplate": template}},
        {"kind": "ConfigMap", "data": {"containers": []}},
    ]
    settings = Settings(image_pull_secret=file)
    one, two, three, other = pull_secret.with_pull_secret(given, settings)
    wanted = {**pod, "imagePullSecrets": [{"name": "own"}, *NAMED]}
    assert one["spec"] == wanted
    assert two["spec"]["template"]["spec"] == wanted
    assert three["spec"]["jobTemplate"]["spec"]["template"]["spec"] == wanted
    assert other == given[3]
    assert pull_secret.with_pull_secret(given, Settings()) == given
    odd: list[Object] = [{"kind": "Pod", "spec": {**pod, "imagePullSecrets": 5}}]
    assert pull_secret.with_pull_secret(odd, settings) == odd, "it is for the API server to refuse"


def test_all_pods_of_a_run_pull_with_the_credentials_and_nothing_of_them_stays(
    kube: Kube, file: Path
) -> None:
    settings = Settings(istio_version="1.0.5", image_pull_secret=file)
    manifests = sources.manifests(settings)
    mesh = install.start(kube, settings, manifests, created=True, run="run-1", progress=Silent())
    mesh = replace(mesh, settings=settings)
    bookinfo.start(mesh, "shop", progress=Silent())
    assert places(kube) == {"istio-system", "shop"}
    deployments = kube.list("apps/v1", "Deployment")
    assert len(deployments) > 10
    for each in deployments:
        assert each["spec"]["template"]["spec"]["imagePullSecrets"] == NAMED, each["metadata"]["name"]
    with temporary_namespace(mesh, "test", injected=False, progress=Silent()) as namespace:
        (secret,) = kube.list("v1", "Secret", namespace)
        assert secret["type"] == "kubernetes.io/dockerconfigjson"
        assert json.loads(base64.b64decode(secret["data"][".dockerconfigjson"])) == CONFIG
        assert kube.get("v1", "ServiceAccount", "default", namespace)["imagePullSecrets"] == NAMED
        made = leftovers.made_by(kube, "run-1").refs
        assert {ref.namespace for ref in made if ref.kind == "Secret"} == {"istio-system", "shop", namespace}


def places(kube: Kube) -> set[str]:
    """Return the namespaces that have the Secret."""
    return {
        each["metadata"]["namespace"]
        for each in kube.list("v1", "Secret")
        if each["metadata"]["name"] == pull_secret.NAME
    }
