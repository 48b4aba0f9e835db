"""TRF: requests go where the rules say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio import traffic
from pytest_istio.findings import finding
from pytest_istio.gateway import REVIEWS
from pytest_istio.paths import fixtures_folder

if TYPE_CHECKING:
    from pytest_istio.gateway import Gateway
    from pytest_istio.routes import Routes

SAMPLES = fixtures_folder() / "bookinfo" / "1.0.5" / "networking"
SUBSETS = SAMPLES / "destination-rule-all.yaml"
ROUTING = [
    "CP-001[istio-galley]",
    "CP-003[istio-galley]",
    "CP-001[istio-pilot]",
    "CP-001[istio-ingressgateway]",
    "ING-001",
    "BKI-001",
    "BKI-003",
    "ING-002",
    "ING-004",
    "BKI-002",
    "BKI-008",
    "CP-007",
]
LOOK = "kubectl get virtualservices,destinationrules --all-namespaces -o yaml"

pytestmark = pytest.mark.usefixtures("bookinfo")


@pytest.mark.istio("TRF-001", level="core", requires=ROUTING)
def test_all_traffic_to_one_version(gateway: Gateway, routes: Routes) -> None:
    """With every route set to v1 no review has stars.

    Source: Istio, "Configuring Request Routing".
    """
    routes.apply(SUBSETS, SAMPLES / "virtual-service-all-v1.yaml")
    seen = gateway.settled_review_versions({"v1"}, 30)
    assert set(seen) == {"v1"}, _distribution(gateway, "reviews v1 in each of 30 requests", dict(seen))


@pytest.mark.istio("TRF-002", level="core", requires=ROUTING)
def test_route_by_user(gateway: Gateway, routes: Routes) -> None:
    """One user is sent to another version than everybody else, by a header that productpage passes on.

    Source: Istio, "Configuring Request Routing", route based on user identity.
    """
    routes.apply(
        SUBSETS, SAMPLES / "virtual-service-all-v1.yaml", SAMPLES / "virtual-service-reviews-test-v2.yaml"
    )
    with gateway.signed_in("jason") as jason:
        seen = jason.settled_review_versions({"v2"}, 20)
        assert set(seen) == {"v2"}, _distribution(
            gateway, "reviews v2 in each of jason's 20 requests", dict(seen)
        )
    seen = gateway.settled_review_versions({"v1"}, 20)
    assert set(seen) == {"v1"}, _distribution(gateway, "reviews v1 for everybody else", dict(seen))


@pytest.mark.istio("TRF-003", level="core", requires=ROUTING, features=["weighted-routing"])
@pytest.mark.parametrize(
    ("sample", "shares"),
    [
        pytest.param("virtual-service-reviews-50-v3.yaml", {"v1": 0.5, "v3": 0.5}, id="50-50"),
        pytest.param("virtual-service-reviews-80-20.yaml", {"v1": 0.8, "v2": 0.2}, id="80-20"),
        pytest.param("virtual-service-reviews-90-10.yaml", {"v1": 0.9, "v2": 0.1}, id="90-10"),
    ],
)
def test_weights(gateway: Gateway, routes: Routes, sample: str, shares: dict[str, float]) -> None:
    """Requests are split between versions by their weights.

    Source: Istio, "Traffic Shifting". The sample size comes from the error bounds: a right split fails
    with a probability of 1e-6, a split that is off by fifteen points passes with one of 0.01.
    """
    routes.apply(SUBSETS, SAMPLES / sample)
    test = traffic.SplitTest(shares, alpha=1e-6, power=0.99, off_by=0.15)
    seen = gateway.settled_review_versions(set(shares), test.requests)
    assert test.accepts(seen), _distribution(gateway, test.expectation, dict(seen))


def _distribution(gateway: Gateway, expected: str, seen: dict[str, int]) -> str:
    return finding(
        gateway.request_line(REVIEWS),
        expected=expected,
        seen=seen,
        cause=traffic.why_otherwise(
            seen, "the virtual service or the subsets of reviews did not reach every sidecar"
        ),
        look=LOOK,
    )
