"""Citadel on a real API server, with the rights that the manifests give its ServiceAccount and no others."""

from __future__ import annotations

import base64
import contextlib
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from pytest_istio.local.images.citadel.authority import Authority
from pytest_istio.local.images.cluster_api import ApiError
from tests.images.pods import Object, Pods, Running, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ARGUMENTS = [
    "--append-dns-names=true",
    "--grpc-port=8060",
    "--grpc-hostname=citadel",
    "--citadel-storage-namespace=istio-system",
    "--custom-dns-names=istio-pilot-service-account.istio-system:istio-pilot.istio-system",
    "--self-signed-ca=true",
]


@pytest.fixture(scope="module")
def citadel(pods: Pods) -> Iterator[Running]:
    root = pods.root_of("istio-citadel-service-account")
    with pods.running("citadel", _ARGUMENTS, root, pods.address(1)) as running:
        yield running


def secret(pods: Pods, name: str, namespace: str = "istio-system") -> Object:
    return pods.admin.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")


def pem(found: Object, name: str) -> bytes:
    return base64.b64decode(found["data"][name])


def names(certificate: bytes) -> tuple[list[str], list[str]]:
    parsed = x509.load_pem_x509_certificate(certificate)
    alternatives = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        alternatives.get_values_for_type(x509.UniformResourceIdentifier),
        alternatives.get_values_for_type(x509.DNSName),
    )


def test_every_account_in_every_namespace_gets_a_certificate(pods: Pods, citadel: Running) -> None:
    accounts = pods.admin.request("GET", "/api/v1/serviceaccounts")["items"]
    assert len(accounts) > 10
    for account in accounts:
        name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
        found = eventually(partial(secret, pods, f"istio.{name}", namespace))
        assert found["type"] == "istio.io/key-and-cert"
        assert set(found["data"]) == {"root-cert.pem", "cert-chain.pem", "key.pem"}
        identities, _ = names(pem(found, "cert-chain.pem"))
        assert identities == [f"spiffe://cluster.local/ns/{namespace}/sa/{name}"]


def test_the_root_is_kept_in_a_secret(pods: Pods, citadel: Running) -> None:
    root = eventually(lambda: secret(pods, "istio-ca-secret"))
    assert root["type"] == "istio.io/ca-root"
    assert set(root["data"]) == {"ca-cert.pem", "ca-key.pem"}
    workload = eventually(lambda: secret(pods, "istio.default"))
    assert pem(workload, "root-cert.pem") == pem(root, "ca-cert.pem")


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (
            "istio-sidecar-injector-service-account",
            ["istio-sidecar-injector.istio-system.svc", "istio-sidecar-injector.istio-system"],
        ),
        ("istio-galley-service-account", ["istio-galley.istio-system.svc", "istio-galley.istio-system"]),
        ("istio-pilot-service-account", ["istio-pilot.istio-system"]),
        ("default", []),
    ],
)
def test_servers_are_certified_for_their_names(
    pods: Pods, citadel: Running, account: str, expected: list[str]
) -> None:
    found = eventually(lambda: secret(pods, f"istio.{account}"))
    parsed = x509.load_pem_x509_certificate(pem(found, "cert-chain.pem"))
    alternatives = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert alternatives.value.get_values_for_type(x509.DNSName) == expected
    assert alternatives.critical  # there is no subject


def test_a_deleted_secret_is_issued_again_within_a_second(pods: Pods, citadel: Running) -> None:
    before = eventually(lambda: secret(pods, "istio.istio-mixer-service-account"))
    path = "/api/v1/namespaces/istio-system/secrets/istio.istio-mixer-service-account"
    pods.admin.request("DELETE", path)
    started = time.monotonic()
    after = eventually(lambda: secret(pods, "istio.istio-mixer-service-account"))
    assert time.monotonic() - started < 1
    assert after["data"]["key.pem"] != before["data"]["key.pem"]
    assert after["data"]["root-cert.pem"] == before["data"]["root-cert.pem"]


def test_a_new_accounts_secret_comes_and_goes_with_it(pods: Pods, citadel: Running) -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "guest", "namespace": "default"},
    }
    pods.apply(account)
    eventually(lambda: secret(pods, "istio.guest", "default"), timeout=1)
    pods.admin.request("DELETE", "/api/v1/namespaces/default/serviceaccounts/guest")

    def gone() -> bool:
        try:
            secret(pods, "istio.guest", "default")
        except ApiError as error:
            return error.reason == "NotFound"
        return False

    eventually(gone, timeout=1)


def test_a_certificate_of_another_root_is_replaced(pods: Pods, citadel: Running) -> None:
    found = eventually(lambda: secret(pods, "istio.prometheus"))
    foreign = Authority.self_signed().issue("spiffe://cluster.local/ns/istio-system/sa/prometheus")
    patch = {"data": {"cert-chain.pem": base64.b64encode(foreign.certificate).decode()}}
    path = "/api/v1/namespaces/istio-system/secrets/istio.prometheus"
    pods.admin.request("PATCH", path, patch, content_type="application/merge-patch+json")
    eventually(lambda: pem(secret(pods, "istio.prometheus"), "cert-chain.pem") != foreign.certificate)
    assert secret(pods, "istio.prometheus")["data"]["root-cert.pem"] == found["data"]["root-cert.pem"]


def test_a_second_citadel_goes_on_with_the_first_ones_root(pods: Pods, citadel: Running) -> None:
    first = eventually(lambda: secret(pods, "istio.default"))
    root = pods.root_of("istio-citadel-service-account")
    with pods.running("citadel", _ARGUMENTS, root, pods.address(2)) as second:
        eventually(lambda: "root certificate found" in second.log)
        time.sleep(0.5)
    assert secret(pods, "istio.default")["data"] == first["data"]
    assert "secret issued" not in second.log


def test_strict_verifiers_take_its_certificates(tmp_path: Path) -> None:
    authority = Authority.self_signed()
    pair = authority.issue("spiffe://cluster.local/ns/a/sa/b", ["server.a.svc"])
    files = {"root": authority.root.certificate, "chain": pair.certificate, "key": pair.key}
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    server_side.load_verify_locations(tmp_path / "root")
    server_side.verify_mode = ssl.CERT_REQUIRED
    client_side = ssl.create_default_context(cafile=str(tmp_path / "root"))
    client_side.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    for context in (server_side, client_side):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname="server.a.svc")
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert client.version() == server.version() == "TLSv1.3"
    peer = server.getpeercert() or {}
    assert ("URI", "spiffe://cluster.local/ns/a/sa/b") in peer["subjectAltName"]


def test_a_namespace_that_goes_leaves_citadel_at_work(pods: Pods, citadel: Running) -> None:
    pods.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "passing"}})
    eventually(partial(secret, pods, "istio.default", "passing"))
    pods.admin.request("DELETE", "/api/v1/namespaces/passing")
    path = "/api/v1/namespaces/istio-system/secrets/istio.prometheus"
    before = eventually(partial(secret, pods, "istio.prometheus"))
    pods.admin.request("DELETE", path)
    after = eventually(partial(secret, pods, "istio.prometheus"))
    assert after["metadata"]["uid"] != before["metadata"]["uid"]

    def gone() -> bool:
        found = pods.admin.request("GET", "/api/v1/namespaces")["items"]
        return "passing" not in {each["metadata"]["name"] for each in found}

    eventually(gone, timeout=40)
