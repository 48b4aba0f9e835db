"""Policies and certificates in, TLS out."""

from __future__ import annotations

import pytest

from pytest_istio.local.images.pilot import listeners, policy
from tests.images import mesh_objects as given
from tests.images.mesh_objects import BOOKINFO, REVIEWS, Json, istio, proxy
from tests.images.test_pilot_clusters import cluster

pytestmark = pytest.mark.usefixtures("embedded")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(None, False), ("DISABLE", False), ("ISTIO_MUTUAL", True), ("SIMPLE", True)],
)
def test_who_speaks_tls(mode: str | None, expected: bool) -> None:
    settings = {"trafficPolicy": {"tls": {"mode": mode}}} if mode else {}
    rule = istio("DestinationRule", "reviews", {"host": "reviews", **settings})
    found = cluster(f"outbound|9080||{REVIEWS}", rule, given.certificate("default"))
    assert ("transport_socket" in found) == expected


def test_server_is_expected_to_be_one_of_the_services_accounts() -> None:
    other = given.pod("reviews-v2", 4, app="reviews", version="v2", account="reviewer")
    found = cluster(f"outbound|9080||{REVIEWS}", other, given.MUTUAL)
    combined = found["transport_socket"]["typed_config"]["common_tls_context"]["combined_validation_context"]
    names = combined["default_validation_context"]["match_typed_subject_alt_names"]
    assert [name["matcher"]["exact"] for name in names] == [
        "spiffe://cluster.local/ns/default/sa/default",
        "spiffe://cluster.local/ns/default/sa/reviewer",
    ]


PERMISSIVE: Json = {"peers": [{"mtls": {"mode": "PERMISSIVE"}}]}
STRICT: Json = {"peers": [{"mtls": {}}]}
NONE: Json = {"peers": []}


def a_policy(spec: Json, *targets: Json, name: str = "default") -> Json:
    return istio("Policy", name, {**spec, **({"targets": list(targets)} if targets else {})})


def for_mesh(spec: Json) -> Json:
    return istio("MeshPolicy", "default", spec, namespace="")


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ((), policy.PERMISSIVE),
        ((for_mesh(STRICT),), policy.STRICT),
        ((for_mesh(STRICT), a_policy(PERMISSIVE)), policy.PERMISSIVE),
        ((for_mesh(STRICT), a_policy(NONE, {"name": "reviews"}, name="r")), policy.DISABLE),
        ((a_policy(STRICT, {"name": "ratings"}, name="r"),), policy.PERMISSIVE),
        ((a_policy(STRICT, {"name": "reviews", "ports": [{"number": 9080}]}, name="r"),), policy.STRICT),
        ((a_policy(STRICT, {"name": "reviews", "ports": [{"number": 81}]}, name="r"),), policy.PERMISSIVE),
        ((a_policy({"peers": [{"mtls": None}]}),), policy.STRICT),
    ],
)
def test_policies(objects: tuple[Json, ...], expected: str) -> None:
    picture = given.mesh(*BOOKINFO, *objects)
    service = picture.services[REVIEWS]
    assert policy.mutual_tls(picture, service, service.ports[0]) == expected


@pytest.mark.parametrize(
    ("objects", "chains"),
    [
        ((), ["plain"]),
        ((given.certificate("default"),), ["tls", "plain"]),
        ((given.certificate("default"), for_mesh(STRICT)), ["tls"]),
        ((for_mesh(STRICT),), ["tls"]),
        ((given.certificate("default"), for_mesh(NONE)), ["plain"]),
    ],
)
def test_inbound_takes_what_the_policy_allows(objects: tuple[Json, ...], chains: list[str]) -> None:
    picture = given.mesh(*BOOKINFO, *objects)
    inbound = listeners.for_sidecar(picture, proxy(picture))[0]
    assert inbound["address"] == {"socket_address": {"address": "127.190.0.6", "port_value": 9080}}
    found = ["tls" if "transport_socket" in chain else "plain" for chain in inbound["filter_chains"]]
    assert found == chains
