"""The way to the ingress gateway: each is taken where it works, in the order of preference."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio import gateway
from pytest_istio.clusters.base import Address
from pytest_istio.istio.address import NoAddressError, find_address
from pytest_istio.progress import Silent
from tests.istio.fake import FakeKube, mesh, obj

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "istio-ingressgateway"
CLOSED = 9


@dataclass
class ForwardingKube(FakeKube):
    """Notes which port of which pod is forwarded."""

    forwarded: list[tuple[str, str, int]] = field(default_factory=list)

    @contextmanager
    def port_forward(self, namespace: str, pod: str, port: int) -> Iterator[tuple[str, int]]:
        self.forwarded.append((namespace, pod, port))
        yield "127.0.0.1", 1234


@pytest.fixture
def open_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def cluster(port: int, node_port: int, *ingress: dict[str, str], target: str | int = 80) -> ForwardingKube:
    ports: list[Any] = [{"name": "http2", "port": port, "nodePort": node_port, "targetPort": target}]
    service = obj("Service", NAME, spec={"type": "LoadBalancer", "selector": {"app": NAME}, "ports": ports},
                  status={"loadBalancer": {"ingress": list(ingress)}})  # fmt: skip
    node = obj("Node", "node", namespace=None,
               status={"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]})  # fmt: skip
    containers = [{"name": "istio-proxy", "ports": [{"name": "web", "containerPort": 8080}]}]
    pod = obj("Pod", "pod", metadata={"labels": {"app": NAME}}, spec={"containers": containers})
    return ForwardingKube([service, node, pod])


def found(kube: FakeKube) -> Address:
    with ExitStack() as held:
        return find_address(mesh(kube), lambda host, port: (host, port), held, progress=Silent())


@pytest.mark.parametrize("kind", ["ip", "hostname"])
def test_the_load_balancers_address_comes_first(open_port: int, kind: str) -> None:
    host = {"ip": "127.0.0.1", "hostname": "localhost"}[kind]
    assert found(cluster(open_port, CLOSED, {kind: host})) == Address(host, open_port, "load-balancer")


def test_a_nodes_port_is_next(open_port: int) -> None:
    assert found(cluster(CLOSED, open_port, {"ip": "127.0.0.1"})) == Address(
        "127.0.0.1", open_port, "node-port"
    )


@pytest.mark.parametrize(("target", "inside"), [(80, 80), ("web", 8080)])
def test_where_neither_is_reached_a_port_is_forwarded(target: str | int, inside: int) -> None:
    kube = cluster(CLOSED, CLOSED, target=target)
    assert found(kube) == Address("127.0.0.1", 1234, "port-forward")
    assert kube.forwarded == [("istio-system", "pod", inside)]


def test_without_a_pod_there_is_no_way() -> None:
    kube = cluster(CLOSED, CLOSED)
    del kube.objects[-1]
    with pytest.raises(NoAddressError, match="no address takes connections, and no pod with app="):
        found(kube)


def test_a_gateway_elsewhere_is_named_with_its_namespace(open_port: int) -> None:
    kube = cluster(open_port, CLOSED, {"ip": "127.0.0.1"})
    for each in kube.objects:
        each["metadata"]["namespace"] = "edge"
    there = mesh(kube)
    there = replace(there, settings=replace(there.settings, gateway=("edge", NAME)))
    opened = gateway.find(there, lambda host, port: (host, port), progress=Silent())
    opened.close()
    assert (opened.namespace, opened.deployment) == ("edge", NAME)
