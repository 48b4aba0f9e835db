"""Gateways in, listeners and routes out; and every sample as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from pytest_istio.local.images.pilot import clusters, envoy, gateways, mesh, routes
from pytest_istio.paths import fixtures_folder
from tests.images import mesh_objects as given
from tests.images.mesh_objects import BOOKINFO, GATEWAY, Json, gateway, istio, proxy

pytestmark = pytest.mark.usefixtures("embedded")


def test_gateway_serves_what_its_virtual_services_name() -> None:
    picture = given.mesh(*BOOKINFO, *GATEWAY)
    (listener,) = gateways.listeners(picture, gateway(picture))
    assert listener["address"] == {"socket_address": {"address": "127.190.0.9", "port_value": 80}}
    (host,) = gateways.routes_named(picture, gateway(picture), "http.80")["virtual_hosts"]
    assert host["domains"] == ["*"]
    matches = [route["match"] for route in host["routes"]]
    assert matches == [
        {"path": "/productpage"},
        {"path": "/login"},
        {"path": "/logout"},
        {"prefix": "/api/v1/products"},
    ]
    assert host["routes"][0]["route"]["cluster"] == "outbound|9080||productpage.default.svc.cluster.local"


def test_gateway_without_gateways_listens_nowhere() -> None:
    picture = given.mesh(*BOOKINFO, GATEWAY[0])
    assert gateways.listeners(picture, gateway(picture)) == []


def hosts_of(gateway_hosts: list[str], *rules: Json) -> dict[str, int]:
    """How many routes each domain has at a gateway with some hosts."""
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": gateway_hosts}
    one = istio("Gateway", "g", {"selector": {"istio": "ingressgateway"}, "servers": [server]})
    picture = given.mesh(*BOOKINFO, GATEWAY[0], one, *rules)
    found = gateways.routes_named(picture, gateway(picture), "http.80")["virtual_hosts"]
    return {host["domains"][0]: len(host["routes"]) for host in found}


def bound(name: str, hosts: list[str], to_gateway: str = "g", namespace: str = "default") -> Json:
    http = [{"match": [{"uri": {"prefix": f"/{name}"}}], "route": [{"destination": {"host": "details"}}]}]
    spec = {"hosts": hosts, "gateways": [to_gateway], "http": http}
    return istio("VirtualService", name, spec, namespace=namespace)


def test_gateway_hosts_are_the_narrower_of_both_sides() -> None:
    assert hosts_of(["*.example"], bound("a", ["a.example", "other.test"])) == {"a.example": 1}
    assert hosts_of(["a.example"], bound("a", ["*"])) == {"a.example": 1}


def test_virtual_services_of_one_host_are_merged() -> None:
    assert hosts_of(["*"], bound("a", ["a.example"]), bound("b", ["a.example"])) == {"a.example": 2}


def test_gateway_of_another_namespace_is_named_in_full() -> None:
    assert hosts_of(["*"], bound("a", ["a.example"], namespace="other")) == {}
    full = bound("a", ["a.example"], "g.default.svc.cluster.local", namespace="other")
    assert hosts_of(["*"], full) == {"a.example": 1}


def test_https_server_has_its_certificate_and_host() -> None:
    tls = {
        "mode": "MUTUAL",
        "serverCertificate": "/etc/istio/ingressgateway-certs/tls.crt",
        "privateKey": "/etc/istio/ingressgateway-certs/tls.key",
        "caCertificates": "/etc/istio/ingressgateway-ca-certs/ca.pem",
    }
    server = {
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
        "hosts": ["a.example"],
        "tls": tls,
    }
    one = istio("Gateway", "g", {"selector": {"istio": "ingressgateway"}, "servers": [server]})
    picture = given.mesh(*BOOKINFO, GATEWAY[0], one)
    (listener,) = gateways.listeners(picture, gateway(picture))
    (chain,) = listener["filter_chains"]
    assert chain["filter_chain_match"] == {"server_names": ["a.example"]}
    context = chain["transport_socket"]["typed_config"]
    assert context["require_client_certificate"] is True
    (pair,) = context["common_tls_context"]["tls_certificates"]
    assert pair["private_key"] == {"filename": "root/etc/istio/ingressgateway-certs/tls.key"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7s", "7.000000s"), ("1m0.5s", "60.500000s"), ("500ms", "0.500000s"), ("1h", "3600.000000s")],
)
def test_durations(text: str, expected: str) -> None:
    assert envoy.duration(text) == expected


@pytest.mark.parametrize("text", ["", "7", "s", "7 s", "-1s", "7sx"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        envoy.duration(text)


def samples() -> list[Path]:
    folders = [fixtures_folder() / "bookinfo/1.0.5"]
    reference = os.environ.get("PYTEST_ISTIO_REFERENCE_DATA")
    if reference:
        folders.append(Path(reference) / "istio-1.0.5/networking")
    return sorted(path for folder in folders for path in folder.rglob("*.yaml"))


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.name)
def test_samples_are_understood_as_a_whole(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.left_out.cache_clear()
    kinds = {"VirtualService", "DestinationRule", "Gateway", "ServiceEntry"}
    documents = [one for one in yaml.safe_load_all(path.read_text()) if one and one["kind"] in kinds]
    objects = [istio(one["kind"], one["metadata"]["name"], one["spec"]) for one in documents]
    picture = given.mesh(*BOOKINFO, GATEWAY[0], *objects)
    routes.for_sidecar(picture, proxy(picture))
    clusters.outbound(picture)
    gateways.listeners(picture, gateway(picture))
    gateways.routes_named(picture, gateway(picture), "http.80")
    assert "left out" not in capsys.readouterr().out
