"""Who is sent what, when, and what is known of it."""

from __future__ import annotations

import json
import threading
from email.message import Message
from typing import Any

import pytest

from pytest_istio.local.images.pilot import discovery as service
from pytest_istio.local.images.pilot.discovery import Discovery
from pytest_istio.local.images.pilot.status import Debug, monitoring
from pytest_istio.local.images.web import Request, Response
from tests.images import mesh_objects as given

pytestmark = pytest.mark.usefixtures("embedded")

Json = dict[str, Any]
NODE = given.node("productpage-v1", 6)


@pytest.fixture(autouse=True)
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_HOLD", 0.3)


def poll(
    discovery: Discovery,
    kind: str = "routes",
    *,
    node: str = NODE,
    version: str = "",
    error: str = "",
    start: str = "",
) -> tuple[int, str]:
    """Ask as Envoy does; return status and version of the answer."""
    asked: Json = {"node": {"id": node, "metadata": {"START": start}}, "version_info": version}
    if kind == "routes":
        asked["resource_names"] = ["http_proxy"]
    if error:
        asked["error_detail"] = {"message": error}
    body = json.dumps(asked).encode()
    path = f"/v3/discovery:{kind}"
    answer = discovery.answer(Request("POST", path, "", Message(), body, "127.0.0.1"))
    return answer.status, json.loads(answer.body)["version_info"] if answer.body else ""


def get(answer: Any, path: str) -> Response:  # noqa: ANN401  # a handler
    response: Response = answer(Request("GET", path, "", Message(), b"", "127.0.0.1"))
    return response


def synced(discovery: Discovery) -> list[Json]:
    found: list[Json] = json.loads(get(Debug(discovery, dict).answer, "/debug/syncz").body)
    return found


def shown(*objects: Json) -> Discovery:
    discovery = Discovery()
    discovery.show(given.mesh(*given.BOOKINFO, *objects))
    return discovery


def test_what_a_proxy_has_is_not_sent_again() -> None:
    discovery = shown()
    status, version = poll(discovery)
    assert status == 200
    assert poll(discovery, version=version) == (304, "")


def test_change_ends_the_wait() -> None:
    discovery = shown()
    version = poll(discovery)[1]
    after = given.mesh(*given.BOOKINFO, given.reviews_to(("v1", 100)))
    threading.Timer(0.05, discovery.show, [after]).start()
    status, changed = poll(discovery, version=version)
    assert status == 200
    assert changed != version


def test_change_that_makes_no_difference_to_a_proxy_does_not_reach_it() -> None:
    discovery = shown()
    version = poll(discovery, "listeners")[1]
    discovery.show(given.mesh(*given.BOOKINFO, given.reviews_to(("v1", 100))))
    assert poll(discovery, "listeners", version=version)[0] == 304


def test_proxy_waits_for_its_pod_to_be_known() -> None:
    discovery = shown()
    late = given.node("late", 50)
    threading.Timer(0.05, discovery.show, [given.mesh(given.pod("late", 50, app="late"))]).start()
    assert poll(discovery, "listeners", node=late)[0] == 200


def test_in_sync_means_accepted() -> None:
    discovery = shown()
    version = poll(discovery)[1]
    assert synced(discovery) == [
        {"proxy": "productpage-v1.default", "route_sent": version, "route_acked": ""}
    ]
    poll(discovery, version=version)
    assert synced(discovery)[0]["route_acked"] == version


def test_refused_configuration_shows_and_is_sent_again_only_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    discovery = shown()
    good = poll(discovery)[1]
    poll(discovery, version=good)
    discovery.show(given.mesh(*given.BOOKINFO, given.reviews_to(("v1", 100))))
    bad = poll(discovery, version=good)[1]
    assert poll(discovery, version=good, error="no such file") == (304, "")
    (proxy,) = synced(discovery)
    assert (proxy["route_sent"], proxy["route_acked"]) == (bad, good)
    assert proxy["route_refused"] == "no such file"
    assert discovery.refusals["routes"] == 1
    monkeypatch.setattr(service, "_REFUSED_PAUSE", 0.0)
    assert poll(discovery, version=good, error="no such file") == (200, bad)


def test_configuration_that_is_not_taken_was_refused() -> None:
    """Envoy's REST client does not always say so."""
    discovery = shown()
    poll(discovery)
    assert poll(discovery) == (304, "")
    assert discovery.refusals["routes"] == 1


def test_proxy_that_starts_anew_gets_everything_anew() -> None:
    discovery = shown()
    version = poll(discovery, start="1")[1]
    poll(discovery, version=version, start="1")
    assert poll(discovery, start="2") == (200, version)
    assert discovery.refusals["routes"] == 0
    assert len(synced(discovery)) == 1


def test_proxy_stays_in_sync_when_the_service_restarts() -> None:
    version = poll(shown())[1]
    restarted = shown()
    assert poll(restarted, version=version)[0] == 304
    (proxy,) = synced(restarted)
    assert proxy["route_sent"] == proxy["route_acked"] == version


def test_routes_wait_for_the_clusters_they_lead_to() -> None:
    discovery = shown()
    clusters, old = poll(discovery, "clusters")[1], poll(discovery)[1]
    new = (given.ALL_SUBSETS, given.reviews_to(("v1", 100)))
    discovery.show(given.mesh(*given.BOOKINFO, *new))
    assert poll(discovery, version=old)[0] == 304, "the new cluster is not there yet"
    assert poll(discovery, "clusters", version=clusters)[0] == 200
    assert poll(discovery, version=old)[0] == 200


def test_routes_wait_no_longer_for_a_poll_for_clusters_that_got_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    discovery = shown()
    poll(discovery, "clusters")
    old = poll(discovery)[1]
    discovery.show(given.mesh(*given.BOOKINFO, given.ALL_SUBSETS, given.reviews_to(("v1", 100))))
    monkeypatch.setattr(service, "_CLUSTERS_LATE", 0.1)
    assert poll(discovery, version=old)[0] == 200


def test_proxy_that_is_gone_is_not_told_of() -> None:
    discovery = shown()
    poll(discovery)
    discovery.show(
        given.mesh(*(one for one in given.BOOKINFO if one["metadata"]["name"] != "productpage-v1"))
    )
    assert synced(discovery) == []


def test_ready_names_what_is_missing() -> None:
    missing = {"Gateway": "404 Not Found"}
    answer = get(Debug(shown(), lambda: missing).answer, "/ready")
    assert (answer.status, answer.body) == (503, b"Gateway: 404 Not Found\n")
    assert get(Debug(Discovery(), dict).answer, "/ready").status == 503
    assert get(Debug(shown(), dict).answer, "/ready").status == 200


def test_endpoints_and_figures_are_told() -> None:
    discovery = shown()
    poll(discovery)
    told = json.loads(get(Debug(discovery, dict).answer, "/debug/endpointz").body)
    (reviews,) = [one for one in told if one["svc"] == "reviews.default.svc.cluster.local:http"]
    assert [end["endpoint"]["Address"] for end in reviews["ep"]] == ["10.190.0.3", "10.190.0.4", "10.190.0.5"]
    answer = monitoring(discovery, "the version")
    assert get(answer, "/version").body == b"the version\n"
    assert b'pilot_xds_pushes{type="rds"} 1\n' in get(answer, "/metrics").body
