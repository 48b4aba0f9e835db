"""What is expected of an Istio that is there already."""

from __future__ import annotations

import pytest

from pytest_istio.istio import installed
from pytest_istio.settings import Settings


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
