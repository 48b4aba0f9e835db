"""Services and DestinationRules in, Envoy clusters out."""

from __future__ import annotations

import pytest

from pytest_istio.local.images.pilot import clusters, listeners, routes
from tests.images import mesh_objects as given
from tests.images.mesh_objects import BOOKINFO, REVIEWS, Json, istio, proxy

pytestmark = pytest.mark.usefixtures("embedded")


def cluster(name: str, *objects: Json) -> Json:
    picture = given.mesh(*BOOKINFO, *objects)
    (found,) = [one for one in clusters.outbound(picture) if one["name"] == name]
    return found


def addresses_of(found: Json) -> list[tuple[str, int]]:
    ends = found["load_assignment"]["endpoints"][0]["lb_endpoints"]
    sockets = [end["endpoint"]["address"]["socket_address"] for end in ends]
    return [(socket["address"], socket["port_value"]) for socket in sockets]


def test_subset_has_the_endpoints_whose_pods_have_its_labels() -> None:
    assert addresses_of(cluster(f"outbound|9080|v2|{REVIEWS}", given.ALL_SUBSETS)) == [("127.190.0.4", 9080)]
    assert len(addresses_of(cluster(f"outbound|9080||{REVIEWS}", given.ALL_SUBSETS))) == 3


def test_settings_of_a_subset_override_the_ports_and_the_rules() -> None:
    rule = istio("DestinationRule", "reviews", {
        "host": "reviews",
        "trafficPolicy": {
            "loadBalancer": {"simple": "RANDOM"},
            "connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 2}},
            "outlierDetection": {"consecutiveErrors": 1, "interval": "1s", "baseEjectionTime": "3m"},
            "portLevelSettings": [{"port": {"number": 9080}, "loadBalancer": {"simple": "LEAST_CONN"}}],
        },
        "subsets": [{"name": "v1", "labels": {"version": "v1"},
                     "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}],
    })  # fmt: skip
    whole = cluster(f"outbound|9080||{REVIEWS}", rule)
    assert whole["lb_policy"] == "LEAST_REQUEST"
    assert whole["circuit_breakers"] == {"thresholds": [{"max_connections": 1, "max_pending_requests": 2}]}
    assert whole["outlier_detection"] == {
        "consecutive_5xx": 1,
        "interval": "1.000000s",
        "base_ejection_time": "180.000000s",
    }
    assert cluster(f"outbound|9080|v1|{REVIEWS}", rule)["lb_policy"] == "ROUND_ROBIN"


def test_consistent_hash_is_on_cluster_and_route() -> None:
    balancer = {"consistentHash": {"httpHeaderName": "x-user"}}
    rule = istio("DestinationRule", "r", {"host": "reviews", "trafficPolicy": {"loadBalancer": balancer}})
    assert cluster(f"outbound|9080||{REVIEWS}", rule)["lb_policy"] == "RING_HASH"
    picture = given.mesh(*BOOKINFO, rule)
    hosts = routes.for_sidecar(picture, proxy(picture))["virtual_hosts"]
    ((route,),) = [host["routes"] for host in hosts if host["name"] == f"{REVIEWS}:9080"]
    assert route["route"]["hash_policy"] == [{"header": {"header_name": "x-user"}}]


def test_broken_destination_rule_leaves_the_service_as_it_is() -> None:
    rule = istio("DestinationRule", "reviews", {"host": "reviews", "trafficPolicy": {"loadBalancer": "any"},
                                                "subsets": [{"labels": {}}]})  # fmt: skip
    assert len(addresses_of(cluster(f"outbound|9080||{REVIEWS}", rule))) == 3


def entry(*ends: Json, host: str = "outside.example") -> Json:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return istio("ServiceEntry", "outside", {"hosts": [host], "ports": ports, "endpoints": list(ends)})


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([{"address": "10.126.0.1", "ports": {"http": 9080}}], [("127.126.0.1", 9080)]),
        ([{"address": "127.0.0.9"}], [("127.0.0.9", 80)]),
        (
            [{"address": "details.default.svc.cluster.local", "ports": {"http": 9080}}],
            [("127.126.0.1", 9080)],
        ),
        ([{"address": "192.0.2.1"}], []),
        ([{"address": "somewhere.example"}], []),
        ([], []),
    ],
)
def test_nothing_leaves_the_machine(ends: list[Json], expected: list[tuple[str, int]]) -> None:
    assert addresses_of(cluster("outbound|80||outside.example", entry(*ends))) == expected


def test_outside_the_embedded_cluster_names_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_ADDRESSES")
    found = cluster("outbound|80||outside.example", entry())
    assert found["type"] == "STRICT_DNS"
    assert addresses_of(found) == [("outside.example", 80)]


def test_application_is_behind_the_sidecar() -> None:
    picture = given.mesh(*BOOKINFO)
    (inbound,) = clusters.inbound(picture, proxy(picture))
    assert addresses_of(inbound) == [("127.62.0.6", 9080)]
    assert [listener["name"] for listener in listeners.for_sidecar(picture, proxy(picture))] == [
        "10.190.0.6_9080",
        "http_proxy",
    ]


def test_named_target_port_and_a_port_without_service() -> None:
    service = given.service("web", 9, {"name": "http", "port": 80, "targetPort": "web"})
    pod = given.pod("web", 8, app="web", ports=(8000, 9000))
    pod["spec"]["containers"][0]["ports"][0]["name"] = "web"
    picture = given.mesh(service, pod)
    found = [listener["name"] for listener in listeners.for_sidecar(picture, proxy(picture, "web", 8))]
    assert found == ["10.190.0.8_8000", "10.190.0.8_9000", "http_proxy"]
    names = [one["name"] for one in clusters.inbound(picture, proxy(picture, "web", 8))]
    assert names == ["inbound|80|http|web.default.svc.cluster.local", "inbound|9000||"]


def test_proxy_of_an_unknown_pod_is_unknown() -> None:
    assert given.mesh(*BOOKINFO).proxy(given.node("nobody", 99)) is None
