"""VirtualServices in, Envoy routes out."""

from __future__ import annotations

import pytest

from pytest_istio.local.images.pilot import mesh, routes
from tests.images import mesh_objects as given
from tests.images.mesh_objects import BOOKINFO, REVIEWS, Json, istio, proxy

pytestmark = pytest.mark.usefixtures("embedded")


def virtual_hosts(*objects: Json) -> dict[str, Json]:
    picture = given.mesh(*BOOKINFO, *objects)
    return {host["name"]: host for host in routes.for_sidecar(picture, proxy(picture))["virtual_hosts"]}


def reviews_routes(*http: Json, others: tuple[Json, ...] = ()) -> list[Json]:
    rule = istio("VirtualService", "reviews", {"hosts": ["reviews"], "http": list(http)})
    found: list[Json] = virtual_hosts(rule, *others)[f"{REVIEWS}:9080"]["routes"]
    return found


def to(subset: str) -> list[Json]:
    return [{"destination": {"host": "reviews", "subset": subset}}]


def test_service_is_known_by_every_name_that_a_caller_beside_it_may_use() -> None:
    assert virtual_hosts()[f"{REVIEWS}:9080"]["domains"] == [
        "reviews.default.svc.cluster.local:9080",
        "reviews.default.svc:9080",
        "reviews.default:9080",
        "reviews:9080",
        "10.126.0.3:9080",
    ]


def test_service_of_another_namespace_has_no_short_name() -> None:
    found = virtual_hosts(given.service("web", 9, {"name": "http", "port": 80}, namespace="other"))
    domains = found["web.other.svc.cluster.local:80"]["domains"]
    assert "web.other" in domains, "port 80 may be left out"
    assert not any(domain.startswith("web:") or domain == "web" for domain in domains)


def test_port_that_does_not_carry_http_has_no_route() -> None:
    found = virtual_hosts(given.service("db", 9, {"name": "mongo", "port": 27017}))
    assert not any(name.startswith("db.") for name in found)


def test_a_domain_is_given_away_once() -> None:
    """Envoy refuses all routes when two virtual hosts share a domain."""
    twice = istio("ServiceEntry", "same", {"hosts": [REVIEWS], "ports": [{"number": 9080, "name": "http"}]})
    other = istio("VirtualService", "other", {"hosts": ["reviews"], "http": [{"route": to("v2")}]})
    hosts = virtual_hosts(given.reviews_to(("v1", 100)), other, twice).values()
    domains = [domain for host in hosts for domain in host["domains"]]
    assert len(domains) == len(set(domains))


def test_weights() -> None:
    (route,) = virtual_hosts(given.reviews_to(("v1", 80), ("v2", 20)))[f"{REVIEWS}:9080"]["routes"]
    assert route["route"]["weighted_clusters"]["clusters"] == [
        {"name": f"outbound|9080|v1|{REVIEWS}", "weight": 80},
        {"name": f"outbound|9080|v2|{REVIEWS}", "weight": 20},
    ]


def test_user_is_matched_by_header_and_everybody_else_after_that() -> None:
    match = [{"headers": {"end-user": {"exact": "jason"}}}]
    first, second = reviews_routes({"match": match, "route": to("v2")}, {"route": to("v1")})
    assert first["match"] == {
        "prefix": "/",
        "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}],
    }
    assert first["route"] == {"cluster": f"outbound|9080|v2|{REVIEWS}"}
    assert second["match"] == {"prefix": "/"}
    assert second["route"] == {"cluster": f"outbound|9080|v1|{REVIEWS}"}


def test_nothing_follows_a_route_that_takes_everything() -> None:
    assert len(reviews_routes({"route": to("v1")}, {"route": to("v2")})) == 1


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"uri": {"exact": "/a"}}, {"path": "/a"}),
        ({"uri": {"prefix": "/a"}}, {"prefix": "/a"}),
        ({"uri": {"regex": "/a.*"}}, {"safe_regex": {"regex": "/a.*"}}),
        ({"method": {"exact": "GET"}}, {"prefix": "/", "headers": [
            {"name": ":method", "string_match": {"exact": "GET"}}]}),
        ({"headers": {"X-A": {"regex": "b+"}}}, {"prefix": "/", "headers": [
            {"name": "x-a", "string_match": {"safe_regex": {"regex": "b+"}}}]}),
        ({"headers": {"x-a": {}}}, {"prefix": "/", "headers": [{"name": "x-a", "present_match": True}]}),
    ],
)  # fmt: skip
def test_conditions(condition: Json, expected: Json) -> None:
    (route,) = reviews_routes({"match": [condition], "route": to("v1")})
    assert route["match"] == expected


def test_source_labels_choose_the_proxy() -> None:
    rule = {"match": [{"sourceLabels": {"app": "productpage"}}], "route": to("v1")}
    assert len(reviews_routes(rule, {"route": to("v2")})) == 2
    rule = {"match": [{"sourceLabels": {"app": "details"}}], "route": to("v1")}
    assert len(reviews_routes(rule, {"route": to("v2")})) == 1


def test_faults() -> None:
    fault = {
        "delay": {"percent": 100, "fixedDelay": "7s"},
        "abort": {"percentage": {"value": 0.5}, "httpStatus": 500},
    }
    (route,) = reviews_routes({"fault": fault, "route": to("v1")})
    found = route["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert found["delay"] == {
        "fixed_delay": "7.000000s",
        "percentage": {"numerator": 1_000_000, "denominator": "MILLION"},
    }
    assert found["abort"] == {
        "http_status": 500,
        "percentage": {"numerator": 5_000, "denominator": "MILLION"},
    }


def test_timeout_retries_rewrite_and_mirror() -> None:
    (route,) = reviews_routes(
        {
            "route": to("v1"),
            "timeout": "0.5s",
            "retries": {"attempts": 3, "perTryTimeout": "2s"},
            "rewrite": {"uri": "/other", "authority": "else"},
            "mirror": {"host": "reviews", "subset": "v2"},
            "appendHeaders": {"x-added": "1"},
        }
    )
    action = route["route"]
    assert action["timeout"] == "0.500000s"
    assert action["retry_policy"]["num_retries"] == 3
    assert action["retry_policy"]["per_try_timeout"] == "2.000000s"
    assert (action["prefix_rewrite"], action["host_rewrite_literal"]) == ("/other", "else")
    assert action["request_mirror_policies"] == [{"cluster": f"outbound|9080|v2|{REVIEWS}"}]
    assert route["request_headers_to_add"][0]["header"] == {"key": "x-added", "value": "1"}


def test_redirect() -> None:
    (route,) = reviews_routes({"redirect": {"uri": "/there", "authority": "host"}})
    assert route["redirect"] == {"path_redirect": "/there", "host_redirect": "host"}
    assert "route" not in route


@pytest.mark.parametrize(
    "http",
    [
        {"route": [{"destination": {"host": "reviews"}, "weight": 90}, *to("v1")]},
        {"route": [{"destination": {}}]},
        {"route": to("v1"), "timeout": "soon"},
        {"route": to("v1"), "match": [{"uri": {"regex": "("}}]},
        {"route": to("v1"), "match": [{"uri": {"suffix": "/a"}}]},
        {"route": to("v1"), "fault": {"abort": {"percent": 100, "httpStatus": 1000}}},
        {"route": to("v1"), "fault": {"delay": {"percent": 101, "fixedDelay": "1s"}}},
        {"route": "nowhere"},
        {},
        "text",
    ],
    ids=str,
)
def test_broken_rule_is_left_out_and_breaks_no_other(
    http: object, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.left_out.cache_clear()
    broken = istio("VirtualService", "reviews", {"hosts": ["reviews"], "http": [http]})
    sound = istio("VirtualService", "ratings", {"hosts": ["ratings"], "http": [{"timeout": "1s", "route": [
        {"destination": {"host": "ratings"}}]}]})  # fmt: skip
    found = virtual_hosts(broken, sound)
    assert found[f"{REVIEWS}:9080"]["routes"] == [
        {"match": {"prefix": "/"}, "route": {"cluster": f"outbound|9080||{REVIEWS}"}}
    ]
    assert found["ratings.default.svc.cluster.local:9080"]["routes"][0]["route"]["timeout"] == "1.000000s"
    assert capsys.readouterr().out.count("default/reviews") == 1
