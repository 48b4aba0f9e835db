"""Addresses of objects and where they are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.local import addresses
from pytest_istio.local.addresses import INSTANCES, PORT_SHIFT, Plan

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "hosts"
    file.write_text(
        "10.96.3.4 details.default\n10.96.3.5 details.other\n"
        "10.160.0.7 headless.default\n10.160.0.8 headless.default\n"
    )
    monkeypatch.setenv("LOCAL_ADDRESSES", str(file))
    monkeypatch.setenv("LOCAL_PORT_SHIFT", "0")
    return file


def test_every_function_is_the_identity_outside_the_embedded_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_ADDRESSES", raising=False)
    assert addresses.wire_host("10.96.0.1") == "10.96.0.1"
    assert addresses.wire_port(443) == 443
    assert addresses.wire("details", 9080) == ("details", 9080)
    assert addresses.resolve("details") == ("details",)
    assert addresses.application_host("10.160.0.7") == "10.160.0.7"
    assert addresses.listening_host("10.160.0.7") == "0.0.0.0", "so that ports can be forwarded to the pod"


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize(
    ("host", "wire"),
    [
        ("10.96.0.1", "127.96.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("10.example.com", "10.example.com"),
    ],
)
def test_only_literal_cluster_addresses_are_mapped(host: str, wire: str) -> None:
    assert addresses.wire_host(host) == wire


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize(
    "name",
    ["details", "details.default", "details.default.svc", "details.default.svc.cluster.local",
     "details.default.svc.cluster.local."],
)  # fmt: skip
def test_a_service_is_found_by_every_form_of_its_name(name: str) -> None:
    assert addresses.resolve(name) == ("127.96.3.4",)
    assert addresses.wire(name, 9080) == ("127.96.3.4", 9080)


@pytest.mark.usefixtures("hosts")
def test_a_short_name_is_looked_up_in_the_namespace_of_who_asks() -> None:
    assert addresses.resolve("details", "other") == ("127.96.3.5",)
    assert addresses.resolve("details", "nowhere") == ()


@pytest.mark.usefixtures("hosts")
def test_a_headless_service_has_the_addresses_of_its_pods() -> None:
    assert addresses.resolve("headless") == ("127.160.0.7", "127.160.0.8")


@pytest.mark.usefixtures("hosts")
def test_low_ports_are_shifted_for_who_may_not_bind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_PORT_SHIFT", str(PORT_SHIFT))
    assert addresses.wire("10.96.0.1", 443) == ("127.96.0.1", 10443)
    assert addresses.wire("10.96.0.1", 1024) == ("127.96.0.1", 1024)
    assert addresses.wire("127.0.0.1", 80) == ("127.0.0.1", 80)
    assert Plan(0, PORT_SHIFT).wire("10.96.0.1", 443) == ("127.96.0.1", 10443)
    assert Plan(0, PORT_SHIFT).wire("127.0.0.1", 80) == ("127.0.0.1", 80)


def test_no_two_ranges_of_any_two_clusters_meet() -> None:
    seconds: list[int] = []
    for instance in range(INSTANCES):
        plan = Plan(instance)
        literals = (plan.api_service, plan.pod(1), plan.node, plan.application(plan.pod(1)))
        seconds += [int(literal.split(".")[1]) for literal in literals]
    assert len(set(seconds)) == 4 * INSTANCES
    assert 0 not in seconds
    assert max(seconds) < 256


def test_addresses_of_pods_are_distinct_and_end_within_their_range() -> None:
    plan = Plan(31)
    assert plan.pod(1) == "10.191.0.1"
    assert plan.pod(65533) == "10.191.255.253"
