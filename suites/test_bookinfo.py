"""BKI: the sample application runs in the mesh and works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding, report
from pytest_istio.gateway import REVIEWS
from pytest_istio.istio import observations
from pytest_istio.kube.polling import until
from pytest_istio.traffic import why_otherwise

if TYPE_CHECKING:
    from pytest_istio.bookinfo import Answer, Bookinfo
    from pytest_istio.gateway import Gateway
    from pytest_istio.istio.mesh import Mesh

VERSIONS = {"v1", "v2", "v3"}
TITLE = "<title>Simple Bookstore App</title>"
RUNNING = ["CP-001[istio-pilot]", "BKI-001"]
ANSWERING = [
    "CP-001[istio-pilot]",
    "CP-001[istio-ingressgateway]",
    "ING-001",
    "BKI-001",
    "BKI-003",
    "ING-002",
]
SHOWING = [*ANSWERING, "BKI-002"]


@pytest.mark.istio("BKI-001", level="core", requires=["CP-001[istio-pilot]"])
def test_deployments_are_available(mesh: Mesh, bookinfo: Bookinfo) -> None:
    """Each of bookinfo's deployments has all its replicas updated and available.

    Source: Istio, "Bookinfo Application".
    """
    problems = observations.bookinfo_available(mesh, bookinfo.namespace)
    assert not problems, report(problems)


@pytest.mark.istio("BKI-002", level="core", requires=RUNNING)
def test_pods_have_application_and_sidecar_ready(mesh: Mesh, bookinfo: Bookinfo) -> None:
    """Each pod of bookinfo has its application container and the sidecar, both ready.

    Source: Istio, "Bookinfo Application": READY 2/2. The sidecar may be an ordinary container or, in later
    releases, an init container that keeps running.
    """
    problems = observations.bookinfo_pods_ready(mesh, bookinfo.namespace)
    assert not problems, report(problems)


@pytest.mark.istio("BKI-003", level="core", requires=RUNNING)
def test_services_have_endpoints(mesh: Mesh, bookinfo: Bookinfo) -> None:
    """Each of bookinfo's services has at least one ready address behind it.

    Source: Kubernetes, "EndpointSlices".
    """
    problems = observations.bookinfo_endpoints(mesh, bookinfo.namespace)
    assert not problems, report(problems)


@pytest.mark.istio("BKI-004", level="core")
def test_images_are_of_this_release(mesh: Mesh, bookinfo: Bookinfo) -> None:
    """Bookinfo's pods run the images that belong to this Istio release.

    Source: the release's samples/bookinfo.
    """
    problems = observations.bookinfo_images(mesh, bookinfo.namespace)
    assert not problems, report(problems)


@pytest.mark.istio("BKI-005", level="core", requires=RUNNING)
def test_productpage_from_inside_the_mesh(mesh: Mesh, bookinfo: Bookinfo) -> None:
    """A pod of the mesh that asks productpage by its service name gets the page.

    Source: Istio, "Bookinfo Application", confirming that it runs, from the ratings pod.
    """
    answer = until(
        lambda: bookinfo.request_inside("/productpage"),
        _is_page,
        timeout=mesh.timeouts.consistency,
        tolerate=ClusterError,
    )
    assert _is_page(answer), finding(
        f"http://productpage:9080/productpage, asked by {answer.pod}",
        expected="200 and the title Simple Bookstore App",
        seen=f"{answer.status}: {answer.text[:200]!r}",
        cause="the caller's or productpage's sidecar has no configuration",
        look=f"kubectl -n {bookinfo.namespace} logs {answer.pod} -c istio-proxy",
    )


@pytest.mark.istio("BKI-006", level="core", requires=[*SHOWING, "BKI-008"])
def test_every_hop_passes_its_proxy(mesh: Mesh, bookinfo: Bookinfo, gateway: Gateway) -> None:
    """One request shows under one id in the access logs of the gateway and of every sidecar on its way.

    Of several requests one is judged that met a version of reviews that asks ratings, if any did.

    Source: Istio, MeshConfig accessLogFile (on in 1.0: /dev/stdout) and Envoy's x-request-id. Proves that
    the mesh carries the traffic, and the services do not talk past it.
    """
    problems = observations.hops_of_one_request(mesh, bookinfo.namespace, gateway)
    assert not problems, report(problems)


@pytest.mark.istio("BKI-007", level="core", requires=[*SHOWING, "ING-004", "BKI-008"])
@pytest.mark.usefixtures("bookinfo")
def test_all_versions_of_reviews_are_seen(gateway: Gateway) -> None:
    """Without routing rules all three versions of reviews answer in turn: no stars, black ones, red ones.

    Source: Istio, "Bookinfo Application". With round robin or random choice of three, sixty requests miss
    one version by chance with a probability below 1e-10.
    """
    seen = gateway.settled_review_versions(VERSIONS, 60)
    assert set(seen) == VERSIONS, finding(
        f"{gateway.request_line(REVIEWS)}, 60 requests",
        expected="reviews v1, v2 and v3 each at least once, and nothing else",
        seen=dict(seen),
        cause=why_otherwise(
            seen, "a routing rule for reviews is left over, or pods of a version get no traffic"
        ),
        look="kubectl get virtualservices,destinationrules --all-namespaces",
    )


@pytest.mark.istio("BKI-008", level="core", requires=SHOWING)
def test_details_and_reviews_are_shown(mesh: Mesh, bookinfo: Bookinfo, gateway: Gateway) -> None:
    """Each page shows the book's details, its reviews, and their ratings, not that some cannot be had.

    Source: Istio, "Bookinfo Application". productpage answers 200 as well when the others do not answer it.
    v1 of reviews shows no ratings, so thirty pages are looked at.
    """
    problems = observations.bookinfo_page_whole(mesh, bookinfo.namespace, gateway)
    assert not problems, report(problems)


def _is_page(answer: Answer) -> bool:
    return answer.status == 200 and TITLE in answer.text
