"""Real Envoys, configured by the discovery service's own code, in front of real bookinfo services."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pytest_istio.local.images.web import json_response, serve
from tests.images import mesh_objects as given

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

from tests.images.envoys import (
    EVERYTHING,
    GATEWAY,
    IDENTITIES,
    ROOT,
    Cluster,
    Json,
    Pilot,
    eventually,
    get,
    in_sync,
    ready,
    start_bookinfo,
    status,
    syncz,
)


@pytest.fixture(scope="module")
def pilot() -> Pilot:
    return Pilot()


@pytest.fixture
def cluster(pilot: Pilot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(pilot, tmp_path, monkeypatch)
    yield made
    made.close()


def test_requests_pass_every_proxy_under_mutual_tls(cluster: Cluster) -> None:
    """The whole of bookinfo: one request id at each hop, each hop's peer proven by its certificate."""
    subsets = given.istio("DestinationRule", "reviews", given.MUTUAL["spec"] | given.ALL_SUBSETS["spec"])
    rules = (given.MUTUAL, subsets, given.reviews_to(("v3", 100)))
    cluster.discovery.show(given.mesh(*EVERYTHING, *IDENTITIES, *rules))
    start_bookinfo(cluster, certificates=True)

    page = get(f"{GATEWAY}/productpage", x_request_id="the-one")

    assert page.status == 200, cluster.log("ingress")
    assert b"<title>Simple Bookstore App</title>" in page.body
    assert b"Error fetching" not in page.body
    assert page.body.count(b'color="red"') == 2
    assert page.headers["server"] == "istio-envoy"
    assert "x-envoy-upstream-service-time" in page.headers
    assert page.headers["x-request-id"] == "the-one"
    hops = {"ingress": "/productpage", "productpage-v1": "/productpage", "ratings-v1": "/ratings/0"}
    for name, path in {**hops, "reviews-v3": "/reviews/0", "details-v1": "/details/0"}.items():
        lines = cluster.access_log(name, path)
        assert [line["request_id"] for line in lines] == ["the-one"], (name, cluster.log(name))
    (ratings,) = cluster.access_log("ratings-v1", "/ratings/0")
    assert ratings["downstream_peer"] == "spiffe://cluster.local/ns/default/sa/default"
    (ingress,) = cluster.access_log("ingress", "/productpage")
    assert ingress["upstream_peer"] == "spiffe://cluster.local/ns/default/sa/default"
    assert get(f"{GATEWAY}/details/0").status == 404

    assert len(syncz()) == 7
    assert all(in_sync(proxy) for proxy in syncz())


def test_routes_follow_the_objects(cluster: Cluster) -> None:
    """Changes reach a running proxy, and no request fails meanwhile."""
    base = (*EVERYTHING, given.ALL_SUBSETS)
    cluster.discovery.show(given.mesh(*base, given.reviews_to(("v1", 100))))
    start_bookinfo(cluster, certificates=False)
    ask = f"{GATEWAY}/productpage"
    assert b"glyphicon" not in get(ask).body

    def stars(color: str) -> float:
        return eventually(lambda: f'color="{color}"'.encode() in get(ask).body, f"stars are {color}")

    for color, subset in (("red", "v3"), ("black", "v2"), ("red", "v3")):
        # A poll that has just been answered is opened again after at most half a second.
        time.sleep(0.6)
        cluster.discovery.show(given.mesh(*base, given.reviews_to((subset, 100))))
        assert stars(color) < 1.0

    missing = given.reviews_to(("v9", 100))
    cluster.discovery.show(given.mesh(*base, missing))
    eventually(lambda: b"Error fetching product reviews!" in get(ask).body, "the missing subset shows")
    assert cluster.access_log("productpage-v1", "/reviews/0")[-1]["response_code"] == 503


def test_certificates_that_are_mounted_late_hold_nobody_up(cluster: Cluster) -> None:
    """Their Secret is an optional volume, which a kubelet may fill a minute after Citadel has made it."""
    two = [item for item in EVERYTHING if "reviews" not in item["metadata"]["name"]]
    cluster.discovery.show(given.mesh(*two, *IDENTITIES))
    cluster.application("productpage-v1", 6, "productpage")
    cluster.sidecar("productpage-v1", 6)
    cluster.sidecar("ingress", 9, role="router", namespace="istio-system")
    ready(6)
    ready(9)
    ask = f"{GATEWAY}/api/v1/products"
    eventually(lambda: get(ask).status == 200, "plain text passes")
    assert cluster.access_log("productpage-v1", "/api/v1/products")[-1]["downstream_peer"] is None

    cluster.certificates("ingress", "istio-system/default")
    cluster.certificates("productpage-v1", "default/default")
    cluster.discovery.show(given.mesh(*two, *IDENTITIES, given.MUTUAL))

    def mutual() -> bool:
        answer = get(ask)
        last = cluster.access_log("productpage-v1", "/api/v1/products")[-1]
        return answer.status == 200 and last["downstream_peer"] is not None

    eventually(mutual, "mutual TLS is used")
    # Who is no proxy of the mesh still gets an answer in plain text: PERMISSIVE.
    assert get("http://127.190.0.6:9080/health").status == 200


EVERY_SETTING = (
    given.istio("DestinationRule", "details", {
        "host": "details",
        "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"httpCookie": {"name": "user", "ttl": "10s"}}},
            "connectionPool": {
                "tcp": {"maxConnections": 1, "connectTimeout": "30ms"},
                "http": {"http1MaxPendingRequests": 1, "maxRequestsPerConnection": 1, "maxRetries": 1},
            },
            "outlierDetection": {"consecutiveErrors": 7, "interval": "5m", "maxEjectionPercent": 100},
            "tls": {"mode": "SIMPLE", "sni": "a.example"},
        },
    }),
    given.istio("DestinationRule", "ratings", {
        "host": "ratings", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}),
    given.istio("VirtualService", "details", {"hosts": ["details"], "http": [
        {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/new", "authority": "new.example"}},
        {
            "match": [{"uri": {"regex": "/details/[0-9]+"}, "headers": {"x-a": {"prefix": "b"}}}],
            "route": [{"destination": {"host": "details"}, "weight": 100}],
            "timeout": "1s",
            "retries": {"attempts": 2, "perTryTimeout": "300ms"},
            "rewrite": {"authority": "details"},
            "mirror": {"host": "ratings"},
            "corsPolicy": {"allowOrigin": ["*"], "allowMethods": ["GET"], "maxAge": "1m",
                           "allowCredentials": False},
            "appendHeaders": {"x-added": "1"},
            "removeResponseHeaders": ["x-gone"],
            "fault": {"delay": {"percent": 1, "fixedDelay": "1s"}},
        },
        {"route": [{"destination": {"host": "details"}}]},
    ]}),
    given.istio("ServiceEntry", "outside", {
        "hosts": ["outside.example"], "resolution": "DNS",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}),
    given.service("grpc", 9, {"name": "grpc-a", "port": 50051}, {"name": "tcp", "port": 27017}),
    given.istio("MeshPolicy", "default", {"peers": [{"mtls": {}}]}, namespace=""),
)  # fmt: skip


def test_envoy_takes_everything_that_is_translated(cluster: Cluster) -> None:
    cluster.discovery.show(given.mesh(*EVERYTHING, *EVERY_SETTING, *IDENTITIES))
    cluster.certificates("productpage-v1", "default/default")
    cluster.sidecar("productpage-v1", 6)
    cluster.sidecar("ingress", 9, role="router", namespace="istio-system")
    ready(6)
    ready(9)
    # The next polls are open, and say what became of the first answers.
    eventually(lambda: all(in_sync(proxy) for proxy in syncz()), "all proxies are in sync")
    assert cluster.discovery.refusals == {"clusters": 0, "listeners": 0, "routes": 0}
    # STRICT: who shows no certificate gets no answer.
    with pytest.raises(OSError, match=r"reset|closed|aborted"):
        get("http://127.190.0.6:9080/health")
    # Who is unknown is answered 404, and what is known and outside cannot be reached from here.
    through = {"proxy": "http://127.190.0.6:15001"}
    assert status("http://nobody.example/", **through) == 404
    assert status("http://outside.example/", **through) == 503


def test_faults_and_timeouts_are_kept(cluster: Cluster) -> None:
    def ratings(**http: Any) -> Json:  # noqa: ANN401  # JSON values
        rule = {"route": [{"destination": {"host": "ratings"}}], **http}
        return given.istio("VirtualService", "ratings", {"hosts": ["ratings"], "http": [rule]})

    delayed = ratings(fault={"delay": {"percent": 100, "fixedDelay": "1s"}})
    cluster.discovery.show(given.mesh(*EVERYTHING, delayed))
    cluster.application("ratings-v1", 2, "ratings")
    cluster.sidecar("ratings-v1", 2)
    cluster.sidecar("productpage-v1", 6)
    ready(2)
    ready(6)
    through = {"proxy": "http://127.190.0.6:15001"}
    url = "http://ratings:9080/ratings/0"
    eventually(lambda: status("http://127.62.0.2:9080/health") == 200, "ratings answers")
    started = time.monotonic()
    assert status(url, **through) == 200
    assert 1.0 <= time.monotonic() - started < 5.0

    aborted = ratings(fault={"abort": {"percent": 100, "httpStatus": 418}})
    cluster.discovery.show(given.mesh(*EVERYTHING, aborted))
    eventually(lambda: status(url, **through) == 418, "requests are aborted")


def test_https_server_whose_certificate_comes_later(cluster: Cluster) -> None:
    """The gateway's certificate is a file that may be mounted after the Gateway was created."""
    folder = "/etc/istio/ingressgateway-certs"
    tls = {"mode": "SIMPLE", "serverCertificate": f"{folder}/tls.crt", "privateKey": f"{folder}/tls.key"}
    port = {"number": 443, "name": "https", "protocol": "HTTPS"}
    secure = {
        "selector": {"istio": "ingressgateway"},
        "servers": [{"port": port, "hosts": ["*"], "tls": tls}],
    }
    cluster.discovery.show(given.mesh(*EVERYTHING, given.istio("Gateway", "bookinfo-gateway", secure)))
    cluster.sidecar("ingress", 9, role="router", namespace="istio-system")
    eventually(lambda: cluster.discovery.refusals["listeners"] == 1, "the listener is refused")

    files = cluster.authority.files("istio-system/default")
    mounted = cluster.root("ingress") / folder.lstrip("/")
    mounted.mkdir(parents=True)
    (mounted / "tls.crt").write_bytes(files["cert-chain.pem"])
    (mounted / "tls.key").write_bytes(files["key.pem"])
    where = ("127.190.0.9", 443 if ROOT else 10443)

    def shaken_hands() -> bool:
        context = ssl.create_default_context(cadata=files["root-cert.pem"].decode())
        # From Python 3.13 on; Citadel's certificates name no key of their issuer's.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = False
        with socket.create_connection(where) as plain, context.wrap_socket(plain) as secured:
            return secured.version() is not None

    eventually(shaken_hands, "the gateway speaks TLS")


def test_application_sees_who_called(cluster: Cluster) -> None:
    """The caller's identity is in the header that Istio's users know; nobody can make it up."""
    serve(lambda request: json_response(dict(request.headers.items())), ("127.62.0.7", 9080))
    echo = (given.service("echo", 8), given.pod("echo-v1", 7, app="echo"), given.endpoints("echo", 7))
    cluster.discovery.show(given.mesh(*EVERYTHING, *echo, *IDENTITIES, given.MUTUAL))
    for name, number in (("echo-v1", 7), ("productpage-v1", 6)):
        cluster.certificates(name, "default/default")
        cluster.sidecar(name, number)
        ready(number)
    forged = {"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/forged"}
    with httpx.Client(proxy="http://127.190.0.6:15001", trust_env=False) as client:
        seen = client.get("http://echo:9080/", headers=forged).json()
    assert "URI=spiffe://cluster.local/ns/default/sa/default" in seen["x-forwarded-client-cert"]
    assert "forged" not in seen["x-forwarded-client-cert"]
    plain = get("http://127.190.0.7:9080/", x_forwarded_client_cert=forged["x-forwarded-client-cert"])
    assert b"forged" not in plain.body
