"""Real Envoys in front of real applications, run as the node runs them, and their discovery service."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
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
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]

PILOT = "127.126.0.77"
ROOT = os.geteuid() == 0
GATEWAY = f"http://127.190.0.9:{80 if ROOT else 10080}"


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


class Cluster:
    """Programs of images, each run as the node runs it."""

    def __init__(self, pilot: Pilot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.hosts = folder / "hosts"
        names = ("details", "ratings", "reviews", "productpage")
        lines = [f"{given.SERVICES}{number} {name}.default" for number, name in enumerate(names, 1)]
        self.hosts.write_text("\n".join([*lines, f"{given.SERVICES}77 istio-pilot.istio-system"]))
        monkeypatch.setenv("LOCAL_ADDRESSES", str(self.hosts))
        monkeypatch.setenv("LOCAL_PORT_SHIFT", "0" if ROOT else "10000")
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


def in_sync(proxy: Json) -> bool:
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
