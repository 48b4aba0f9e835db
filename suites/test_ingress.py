"""ING: the way into the mesh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.findings import finding, report
from pytest_istio.istio import observations

if TYPE_CHECKING:
    from pytest_istio.gateway import Gateway
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.routes import Routes

HERE = Path(__file__).parent
REACHABLE = ["CP-001[istio-pilot]", "CP-001[istio-ingressgateway]", "ING-001", "BKI-001", "BKI-003"]
ANSWERING = [*REACHABLE, "ING-002"]
ROUTING = ["CP-001[istio-galley]", *ANSWERING]
"""Galley's webhook stands before every change of a route."""
UPSTREAM = "x-envoy-upstream-service-time"
"""The header that Envoy adds to what a service behind it has answered, and to nothing else."""


@pytest.mark.istio("ING-001", level="core", requires=["CP-001[istio-ingressgateway]"])
def test_gateway_has_an_address(mesh: Mesh, gateway: Gateway) -> None:
    """The ingress gateway is available and takes connections at an address from outside.

    Source: Istio, "Control Ingress Traffic": the load balancer's address, else a node port; else
    port-forward. Which one it was is recorded.
    """
    problems = observations.gateway_addressed(mesh, gateway)
    assert not problems, report(problems)


@pytest.mark.istio("ING-002", level="core", requires=REACHABLE)
@pytest.mark.usefixtures("bookinfo")
def test_productpage_answers(gateway: Gateway) -> None:
    """The page of bookinfo answers 200 through the gateway, three times in a row.

    Source: Istio, "Bookinfo Application": curl http://GATEWAY_URL/productpage.
    """
    problems = observations.productpage_answers(gateway)
    assert not problems, report(problems)


@pytest.mark.istio("ING-003", level="core", requires=ANSWERING)
@pytest.mark.usefixtures("bookinfo")
def test_unknown_path_is_404(gateway: Gateway) -> None:
    """A path that no virtual service matches answers 404, by the gateway itself.

    Source: Istio, VirtualService: without a matching route there is no destination.
    """
    answer = gateway.get("/no-such-path")
    assert answer.status_code == 404, _answered(gateway, "/no-such-path", "404", answer.status_code)
    assert "envoy" in answer.headers.get("server", ""), finding(
        f"{gateway.url}/no-such-path",
        expected="a 404 of the gateway's Envoy",
        seen=f"server: {answer.headers.get('server', 'no such header')}",
        cause="something else listens at the gateway's address",
    )
    assert UPSTREAM not in answer.headers, _let_through(gateway, "/no-such-path")


@pytest.mark.istio("ING-004", level="core", requires=ANSWERING)
@pytest.mark.usefixtures("bookinfo")
def test_only_declared_paths_are_open(gateway: Gateway) -> None:
    """The paths of bookinfo's virtual service are open, and services behind productpage are not.

    Source: the release's samples/bookinfo/networking/bookinfo-gateway.yaml.
    """
    for path in ("/productpage", "/api/v1/products"):
        status = gateway.get(path).status_code
        assert status == 200, _answered(gateway, path, "200", status)
    for path in ("/login", "/logout"):
        status = gateway.get(path).status_code
        assert status != 404, _answered(gateway, path, "routed to productpage, so not 404", status)
    for path in ("/details/0", "/ratings/0", "/reviews/0"):
        answer = gateway.get(path)
        assert answer.status_code == 404, _answered(
            gateway, path, "404, since it is not declared", answer.status_code
        )
        assert UPSTREAM not in answer.headers, _let_through(gateway, path)


@pytest.mark.istio("ING-006", level="core", requires=ROUTING)
@pytest.mark.usefixtures("bookinfo")
def test_hosts_are_matched(gateway: Gateway, routes: Routes) -> None:
    """A virtual service for one host answers requests to that host and no other.

    Source: Istio, Gateway and VirtualService, hosts.
    """
    routes.apply(HERE / "hosts.yaml")
    path = "/reviews/0"
    gateway.wait_answer(path, 200, headers={"Host": "reviews.example.com"})
    status = gateway.get(path, headers={"Host": "other.example.com"}).status_code
    assert status == 404, _answered(gateway, path, "404 for a host that no virtual service names", status)


def _let_through(gateway: Gateway, path: str) -> str:
    return finding(
        f"{gateway.url}{path}",
        expected="a 404 of the gateway itself",
        seen="a 404 of a service behind it, to which the request was let through",
        cause="a virtual service matches more paths than bookinfo's own",
        look="kubectl get virtualservices --all-namespaces -o yaml",
    )


def _answered(gateway: Gateway, path: str, expected: str, seen: int) -> str:
    return finding(
        f"{gateway.url}{path}",
        expected=expected,
        seen=seen,
        cause="the virtual service bookinfo is missing or changed, or the gateway has not got it",
        look="kubectl get gateways,virtualservices --all-namespaces -o yaml",
    )
