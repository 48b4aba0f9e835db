"""What is expected of an Istio that is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.istio import installed
from pytest_istio.settings import Settings
from tests.istio.fake import FakeKube, obj

if TYPE_CHECKING:
    from pytest_istio.kube.client import Kube

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
