"""An Istio that is there already: what is expected of it, and that a run leaves it as it is."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.istio import installed
from pytest_istio.settings import Settings
from tests.istio.fake import FakeKube, obj

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.kube.client import Kube
    from tests.istio.conftest import Installed

SETTINGS = Settings(istio_version="1.31.0")
OF_THE_CHART = {"metadata": {"annotations": {"inject.istio.io/templates": "gateway"}}}
OF_ISTIOCTL = {"spec": {"containers": [{"name": "istio-proxy", "args": ["proxy", "router"]}]}}


def gateway(
    namespace: str, name: str, template: dict[str, Any], *, kind: str = "LoadBalancer", port: str = "http2"
) -> list[dict[str, Any]]:
    """Return Service and Deployment of a gateway."""
    containers = {"spec": {"containers": [{"name": "c"}]}}
    spec = {"type": kind, "ports": [{"name": port, "port": 80}]}
    return [
        obj("Service", name, namespace=namespace, spec=spec),
        obj("Deployment", name, "apps/v1", namespace, spec={"template": {**containers, **template}}),
    ]


def found(*objects: list[dict[str, Any]]) -> tuple[str, str] | None:
    kube = FakeKube([each for part in objects for each in part])
    return installed.gateway(cast("Kube", kube), SETTINGS)


@pytest.mark.parametrize("template", [OF_THE_CHART, OF_ISTIOCTL])
def test_a_gateway_that_is_not_the_usual_one_is_found(template: dict[str, Any]) -> None:
    others = [
        gateway("shop", "web", {}),
        gateway("edge", "inside", template, kind="ClusterIP"),
        gateway("edge", "eastwest", template, port="tls"),
    ]
    assert found(*others, gateway("edge", "public", template)) == ("edge", "public")
    assert found(*others) is None


def test_the_usual_gateway_comes_first_and_of_several_none() -> None:
    several = [gateway("edge", "public", OF_THE_CHART), gateway("edge", "second", OF_THE_CHART)]
    assert found(*several, gateway("istio-system", "istio-ingressgateway", OF_ISTIOCTL)) is None
    with pytest.raises(ClusterError, match=r"edge/public, edge/second\. Say which"):
        found(*several)


def test_the_usual_gateway_is_expected_unless_another_one_is_named() -> None:
    assert installed.expected(Settings(istio_version="1.31.0")).gateway.service == "istio-ingressgateway"
    known = installed.expected(Settings(istio_version="1.31.0", gateway=("edge", "public")))
    assert (known.gateway.service, known.gateway.deployment) == ("public", "public")
    assert "istio-ingressgateway" not in {each.name for each in known.components}
    assert known.successors["istio-ingressgateway"] == "public"
    assert known.successors["istio-pilot"] == "istiod"


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("docker.io/istio/pilot:1.31.0", "1.31.0"),
        ("localhost:5000/pilot:v1.30.3-distroless", "1.30.3"),
        ("mirror/pilot:1.0.5@sha256:0123", "1.0.5"),
        ("mirror/pilot:latest", None),
        ("localhost:5000/pilot", None),
    ],
)
def test_the_version_is_read_off_the_image(image: str, version: str | None) -> None:
    found = installed.TAG.search(image)
    assert (found.group(1) if found else None) == version


CANARY = {"app": "istiod", "istio.io/rev": "canary"}
NO_REVISION = (
    "only a control plane without a revision can be tested, whose Deployment is istio-pilot or istiod"
)


@pytest.mark.parametrize(
    ("there", "seen", "cause"),
    [
        ({"istio-system/istiod-canary": CANARY}, "istio-system/istiod-canary, revision canary", NO_REVISION),
        ({"mesh/istiod-canary": CANARY}, "mesh/istiod-canary, revision canary", NO_REVISION),
        (
            {"istio-system/istiod-canary": CANARY, "istio-system/istiod-1": {"istio": "pilot"}},
            "istio-system/istiod-canary, revision canary, Deployment istio-system/istiod-1, revision default",
            NO_REVISION,
        ),
        (
            {"istio-system/istiod-canary": CANARY, "mesh/istiod": {"istio": "pilot"}},
            "mesh/istiod, revision default",
            "--istio-namespace=mesh",
        ),
        ({"shop/web": {"app": "web"}}, "no Deployment of a control plane", "there is none"),
    ],
)
def test_a_control_plane_that_is_not_the_usual_one_is_named(
    there: dict[str, dict[str, str]], seen: str, cause: str
) -> None:
    deployments = [
        obj("Deployment", name, "apps/v1", namespace, metadata={"labels": labels})
        for (namespace, name), labels in ((place.split("/"), labels) for place, labels in there.items())
    ]
    with pytest.raises(ClusterError) as caught:
        installed.version(cast("Kube", FakeKube(deployments)), SETTINGS)
    assert seen in str(caught.value)
    assert cause in str(caught.value)


def test_a_run_reads_the_version_off_the_cluster_and_changes_nothing_of_istio(
    local: Installed, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_it(gateway, bookinfo, istio_settings):\n"
        "    assert not bookinfo.troubles\n"
        "    assert istio_settings.istio_version == '1.0.5'\n"
        "    gateway.wait_answer('/productpage')\n"
    )
    before = of_istio(local.mesh.kube)
    assert run(local, tmp_path) == (0, "")
    assert of_istio(local.mesh.kube) == before
    code, said = run(local, tmp_path, "--istio-version=1.0.6")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "Istio 1.0.5 is installed in istio-system; nothing was changed. Take --istio-version=1.0.5" in said


def run(local: Installed, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a user's tests against the Istio that is installed; return exit code and error output."""
    name = "pytest-istio"
    given = [
        f"--istio-kubeconfig={local.kubeconfig}",
        f"--istio-context={name}",
        f"--istio-allow-context={name}",
    ]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--istio-cluster=existing", *given]
    done = subprocess.run(
        [*command, "--istio-use-installed", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    return done.returncode, done.stderr


def of_istio(kube: Kube) -> dict[str, object]:
    """Return the namespaces, what Istio's has in it, and what of it is outside of namespaces, by UID."""
    kinds = {("v1", "Namespace"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")}
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        kinds.add(("admissionregistration.k8s.io/v1", kind))
    found = [each for kind in kinds for each in kube.list(*kind)]
    for kind in (
        ("apps/v1", "Deployment"),
        ("v1", "Pod"),
        ("v1", "Service"),
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
    ):
        found += kube.list(*kind, "istio-system")
    # What is about to go, such as the pods of a Deployment that a test had changed, may do so meanwhile.
    lasting = [each for each in found if "deletionTimestamp" not in each["metadata"]]
    return {each["metadata"]["uid"]: each.get("spec") or each.get("webhooks") for each in lasting}
