"""ING: the way into the mesh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.findings import finding, report
from pytest_istio.istio import observations
from pytest_istio.istio.observations import NOT_OPEN

if TYPE_CHECKING:
    from pytest_istio.gateway import Gateway
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.routes import Routes

HERE = Path(__file__).parent
REACHABLE = ["CP-001[istio-pilot]", "CP-001[istio-ingressgateway]", "ING-001", "BKI-001", "BKI-003"]
ANSWERING = [*REACHABLE, "ING-002"]
ROUTING = ["CP-001[istio-galley]", "CP-003[istio-galley]", *ANSWERING, "CP-007"]
"""Galley's webhook stands before every change of a route."""
LOOK = "kubectl get gateways,virtualservices --all-namespaces -o yaml"


@pytest.mark.istio("ING-001", level="core", requires=["CP-001[istio-ingressgateway]"])
@pytest.mark.usefixtures("bookinfo")
def test_gateway_has_an_address(mesh: Mesh, gateway: Gateway) -> None:
    """The ingress gateway answers at an address from outside, be it 404; bookinfo's Gateway opens its port.

    Source: Istio, "Control Ingress Traffic": the load balancer's address, else a node port; else
    port-forward. Which one it was is recorded.
    """
    problems = observations.gateway_addressed(mesh, gateway)
    assert not problems, report(problems)


@pytest.mark.istio("ING-002", level="core", requires=REACHABLE)
@pytest.mark.usefixtures("bookinfo")
def test_productpage_answers(gateway: Gateway) -> None:
    """The page of bookinfo answers 200 through the gateway, thirty times in a row.

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
    seen = observations.answered_by(gateway.get("/no-such-path"))
    assert seen == NOT_OPEN, finding(
        gateway.request_line("/no-such-path"),
        expected=NOT_OPEN,
        seen=seen,
        cause="a virtual service matches more paths than bookinfo's own",
        look=LOOK,
    )


@pytest.mark.istio("ING-004", level="core", requires=ANSWERING)
@pytest.mark.usefixtures("bookinfo")
def test_only_declared_paths_are_open(gateway: Gateway) -> None:
    """The paths of bookinfo's virtual service are open, and services behind productpage are not.

    Source: the release's samples/bookinfo/networking/bookinfo-gateway.yaml.
    """
    problems = observations.declared_paths_open(gateway)
    assert not problems, report(problems)


@pytest.mark.istio("ING-006", level="core", requires=ROUTING)
@pytest.mark.usefixtures("bookinfo")
def test_hosts_are_matched(mesh: Mesh, gateway: Gateway, routes: Routes) -> None:
    """A virtual service for one host answers requests to that host and no other.

    Source: Istio, Gateway and VirtualService, hosts.
    """
    path, other = "/reviews/0", {"Host": "other.example.com"}
    if mesh.settings.use_installed and observations.answered_by(gateway.get(path, headers=other)) != NOT_OPEN:
        pytest.skip("the cluster's owner leads every host somewhere, so a host that nobody names is missing")
    routes.apply(HERE / "hosts.yaml")
    gateway.wait_answer(path, 200, headers={"Host": "reviews.example.com"})
    seen = observations.answered_by(gateway.get(path, headers=other))
    assert seen == NOT_OPEN, finding(
        f"{gateway.url}{path} for the host other.example.com",
        expected=f"{NOT_OPEN}, since no virtual service names that host",
        seen=seen,
        cause="a virtual service matches more hosts than it should, or the gateway has an old configuration",
        look=LOOK,
    )
