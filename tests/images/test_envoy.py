"""Real Envoys, configured by the discovery service's own code, in front of real bookinfo services."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pytest_istio.local.images.pilot.discovery import Discovery
from pytest_istio.local.images.pilot.status import Debug
from pytest_istio.local.images.web import Request, Response, fetch, serve
from tests.images import mesh_objects as given

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = dict[str, Any]

PILOT = "127.126.0.77"
GATEWAY = "http://127.190.0.9:80"


class Authority:
    """Makes certificates of the mesh, as Citadel does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "tests")])
        self.root = self._signed(self._name, self._key.public_key(), None)

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePublicKey, uri: str | None) -> x509.Certificate:
        now = dt.datetime.now(dt.timezone.utc)
        builder = x509.CertificateBuilder(self._name, name, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1))
        builder = builder.not_valid_after(now + dt.timedelta(hours=1))
        builder = builder.add_extension(
            x509.BasicConstraints(ca=uri is None, path_length=None), critical=True
        )
        if uri:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
            builder = builder.add_extension(names, critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def files(self, account: str) -> dict[str, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        uri = f"spiffe://cluster.local/ns/{account.replace('/', '/sa/')}"
        pem = serialization.Encoding.PEM
        plain = serialization.NoEncryption()
        return {
            "cert-chain.pem": self._signed(x509.Name([]), key.public_key(), uri).public_bytes(pem),
            "key.pem": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
            "root-cert.pem": self.root.public_bytes(pem),
        }


class Pilot:
    """The discovery service's ports; each test has a discovery service of its own behind them."""

    def __init__(self) -> None:
        self.discovery = Discovery()
        serve(self._poll, (PILOT, 15010))
        serve(self._debug, (PILOT, 8080))

    def _poll(self, request: Request) -> Response:
        return self.discovery.answer(request)

    def _debug(self, request: Request) -> Response:
        return Debug(self.discovery, dict).answer(request)


@pytest.fixture(scope="module")
def pilot() -> Pilot:
    return Pilot()


class Cluster:
    """Programs of images, each run as the node runs it."""

    def __init__(self, pilot: Pilot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.hosts = folder / "hosts"
        names = ("details", "ratings", "reviews", "productpage")
        lines = [f"{given.SERVICES}{number} {name}.default" for number, name in enumerate(names, 1)]
        self.hosts.write_text("\n".join([*lines, f"{given.SERVICES}77 istio-pilot.istio-system"]))
        monkeypatch.setenv("LOCAL_ADDRESSES", str(self.hosts))
        monkeypatch.setenv("LOCAL_PORT_SHIFT", "0" if os.geteuid() == 0 else "10000")
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        self.discovery = pilot.discovery = Discovery()
        self.authority = Authority()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def root(self, name: str) -> Path:
        return self.folder / name

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def access_log(self, name: str, path: str) -> list[Json]:
        time.sleep(0.2)
        lines = [json.loads(line) for line in self.log(name).splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("path") == path and "response_code" in line]

    def run(self, name: str, number: int, module: str, *arguments: str, **environment: str) -> None:
        surroundings = {
            **os.environ,
            "PODROOT": str(self.root(name.removesuffix("-app"))),
            "LOCAL_POD_IP": f"{given.PODS}{number}",
            "INSTANCE_IP": f"{given.PODS}{number}",
            "POD_NAME": name,
            "POD_NAMESPACE": "default",
            **environment,
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"pytest_istio.local.images.{module}", *arguments],
                stdout=log,
                stderr=log,
                env=surroundings,
            )

    def sidecar(self, name: str, number: int, role: str = "sidecar", namespace: str = "default") -> None:
        arguments = ["proxy", role, "--discoveryAddress", "istio-pilot.istio-system:15007"]
        self.run(name, number, "proxy", *arguments, POD_NAMESPACE=namespace)

    def application(self, name: str, number: int, module: str) -> None:
        own = f"127.62.0.{number}"
        proxy = f"http://127.190.0.{number}:15001"
        self.run(f"{name}-app", number, f"bookinfo.{module}", LOCAL_LISTEN=own, http_proxy=proxy)

    def certificates(self, name: str, account: str) -> None:
        """Mount certificates as the kubelet does: a folder that appears as a whole."""
        folder = self.root(name) / "etc/certs"
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"..{time.monotonic_ns()}"
        made.mkdir()
        files = self.authority.files(account)
        for file, content in files.items():
            (made / file).write_bytes(content)
        temporary = folder / "..data_tmp"
        temporary.symlink_to(made.name)
        temporary.rename(folder / "..data")
        for file in files:
            if not (folder / file).is_symlink():
                (folder / file).symlink_to(f"..data/{file}")

    def stop(self, name: str) -> None:
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for name in list(self._processes):
            self.stop(name)


@pytest.fixture
def cluster(pilot: Pilot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(pilot, tmp_path, monkeypatch)
    yield made
    made.close()


def get(url: str, **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return fetch(url, headers=names)


def eventually(try_it: Callable[[], bool], what: str, seconds: float = 60.0) -> float:
    """Wait until something holds and return how long that took."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        with contextlib.suppress(OSError, HTTPException):
            if try_it():
                return time.monotonic() - started
        time.sleep(0.01)
    pytest.fail(f"not within {seconds} s: {what}")


def syncz() -> list[Json]:
    found: list[Json] = json.loads(get(f"http://{PILOT}:8080/debug/syncz").body)
    return found


def _in_sync(proxy: Json) -> bool:
    fields = ("cluster", "listener", "route", "endpoint")
    return all(proxy[f"{field}_sent"] == proxy[f"{field}_acked"] != "" for field in fields)


def status(url: str, *, proxy: str = "") -> int:
    """Ask as an application does that has a sidecar, or directly."""
    with httpx.Client(proxy=proxy or None, trust_env=False) as client:
        return client.get(url).status_code


def answers(url: str) -> None:
    eventually(lambda: get(url).status == 200, f"{url} answers 200")


def ready(number: int) -> None:
    answers(f"http://127.190.0.{number}:15000/ready")


PARTS = (
    ("details-v1", 1, "details"),
    ("ratings-v1", 2, "ratings"),
    ("reviews-v1", 3, "reviews_v1"),
    ("reviews-v2", 4, "reviews_v2"),
    ("reviews-v3", 5, "reviews_v3"),
    ("productpage-v1", 6, "productpage"),
)
EVERYTHING = (*given.BOOKINFO, *given.GATEWAY)
IDENTITIES = (given.certificate("default"), given.certificate("default", "istio-system"))


def start_bookinfo(cluster: Cluster, *, certificates: bool) -> None:
    for name, number, module in PARTS:
        if certificates:
            cluster.certificates(name, "default/default")
        cluster.application(name, number, module)
        cluster.sidecar(name, number)
    if certificates:
        cluster.certificates("ingress", "istio-system/default")
    cluster.sidecar("ingress", 9, role="router", namespace="istio-system")
    for number in (1, 2, 3, 4, 5, 6, 9):
        ready(number)
    for _, number, _ in PARTS:
        answers(f"http://127.62.0.{number}:9080/health")


def test_requests_pass_every_proxy_under_mutual_tls(cluster: Cluster) -> None:
    """The whole of bookinfo: one request id at each hop, each hop's peer proven by its certificate."""
    cluster.discovery.show(
        given.mesh(*EVERYTHING, *IDENTITIES, given.ALL_SUBSETS, given.reviews_to(("v3", 100)))
    )
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
    assert all(_in_sync(proxy) for proxy in syncz())


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


def test_certificates_that_appear_later_are_used(cluster: Cluster) -> None:
    """The Secret is an optional volume: traffic is plain text until it is there, and no proxy restarts."""
    two = [item for item in EVERYTHING if "reviews" not in item["metadata"]["name"]]
    cluster.discovery.show(given.mesh(*two))
    cluster.application("productpage-v1", 6, "productpage")
    cluster.sidecar("productpage-v1", 6)
    cluster.sidecar("ingress", 9, role="router", namespace="istio-system")
    ready(6)
    ready(9)
    ask = f"{GATEWAY}/api/v1/products"
    eventually(lambda: get(ask).status == 200, "plain text passes")
    assert cluster.access_log("productpage-v1", "/api/v1/products")[-1]["downstream_peer"] is None

    cluster.discovery.show(given.mesh(*two, *IDENTITIES))
    time.sleep(0.3)
    cluster.certificates("ingress", "istio-system/default")
    cluster.certificates("productpage-v1", "default/default")

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
    eventually(lambda: all(_in_sync(proxy) for proxy in syncz()), "all proxies are in sync")
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
    where = ("127.190.0.9", 443 if os.geteuid() == 0 else 10443)

    def shaken_hands() -> bool:
        context = ssl.create_default_context(cadata=files["root-cert.pem"].decode())
        context.check_hostname = False
        with socket.create_connection(where) as plain, context.wrap_socket(plain) as secured:
            return secured.version() is not None

    eventually(shaken_hands, "the gateway speaks TLS")
