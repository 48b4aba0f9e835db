"""What services listen on and where that leads."""

from __future__ import annotations

from typing import Any

from pytest_istio.local.addresses import PORT_SHIFT, Plan
from pytest_istio.local.routes import host_lines, routes

PLAN = Plan(0)
Object = dict[str, Any]


def service(name: str = "web", **spec: object) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return {
        "metadata": metadata,
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.1.1", "ports": ports, **spec},
    }


def endpoint_slice(
    *addresses: str, name: str = "web", port_name: str = "http", ready: bool | None = True
) -> Object:
    labels = {"kubernetes.io/service-name": name}
    return {
        "metadata": {"name": f"{name}-x", "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": port_name, "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
    }


def test_a_service_leads_to_its_ready_endpoints() -> None:
    slices = [endpoint_slice("10.160.0.1", "10.160.0.2"), endpoint_slice("10.160.0.3", ready=False)]
    assert routes([service()], slices, PLAN, {}) == {
        ("127.96.1.1", 80): [("127.160.0.1", 8080), ("127.160.0.2", 8080)]
    }


def test_readiness_that_is_not_known_counts_as_ready() -> None:
    assert routes([service()], [endpoint_slice("10.160.0.1", ready=None)], PLAN, {})


def test_a_service_without_ready_endpoints_refuses_connections() -> None:
    assert routes([service()], [], PLAN, {}) == {}
    assert routes([service()], [endpoint_slice("10.160.0.1", ready=False)], PLAN, {}) == {}
    null = {**endpoint_slice(), "endpoints": None, "ports": None}
    assert routes([service()], [null], PLAN, {}) == {}


def test_ports_are_told_apart_by_name() -> None:
    assert routes([service()], [endpoint_slice("10.160.0.1", port_name="admin")], PLAN, {}) == {}


def test_slices_of_other_services_and_families_do_not_count() -> None:
    other = endpoint_slice("10.160.0.1", name="other")
    six = {**endpoint_slice("fd00::1"), "addressType": "IPv6"}
    assert routes([service()], [other, six], PLAN, {}) == {}


def test_a_node_port_is_served_at_the_node() -> None:
    ports = [{"name": "http", "port": 80, "nodePort": 31380}]
    found = routes([service(type="NodePort", ports=ports)], [endpoint_slice("10.160.0.1")], PLAN, {})
    assert found["127.224.0.1", 31380] == [("127.160.0.1", 8080)]


def test_a_load_balancer_listens_also_without_endpoints() -> None:
    assert routes([service()], [], PLAN, {"uid-web": "127.96.0.200"}) == {("127.96.0.200", 80): []}


def test_low_ports_are_shifted_on_both_sides() -> None:
    target = endpoint_slice("10.160.0.1")
    target["ports"][0]["port"] = 443
    found = routes([service()], [target], Plan(0, PORT_SHIFT), {})
    assert found == {("127.96.1.1", 10080): [("127.160.0.1", 10443)]}


def test_headless_and_external_services_and_udp_are_not_listened_on() -> None:
    slices = [endpoint_slice("10.160.0.1")]
    udp = [{"name": "http", "port": 53, "protocol": "UDP"}]
    assert routes([service(clusterIP="None")], slices, PLAN, {}) == {}
    assert routes([service(ports=udp)], slices, PLAN, {}) == {}
    external = service(type="ExternalName", externalName="example.com", ports=None)
    del external["spec"]["clusterIP"]
    assert routes([external], slices, PLAN, {}) == {}
    assert host_lines([external], slices) == []


def test_names_lead_to_the_service_or_to_the_pods_of_a_headless_one() -> None:
    services = [service(), service("bare", clusterIP="None")]
    slices = [endpoint_slice("10.160.0.2", "10.160.0.1", name="bare"), endpoint_slice("10.160.0.3")]
    assert host_lines(services, slices) == [
        "10.160.0.1 bare.default",
        "10.160.0.2 bare.default",
        "10.96.1.1 web.default",
    ]
