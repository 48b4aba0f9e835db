"""The way to the ingress gateway: each is taken where it works, in the order of preference."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio import gateway
from pytest_istio.clusters.base import Address
from pytest_istio.istio import address
from pytest_istio.istio.address import NoAddressError, find_address
from pytest_istio.progress import Silent
from pytest_istio.timeouts import Timeouts
from tests.istio.fake import FakeKube, mesh, obj

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "istio-ingressgateway"
CLOSED = 9
SILENT, NAMELESS = "192.0.2.1", "elb.invalid"


@dataclass
class ForwardingKube(FakeKube):
    """Notes which port of which pod is forwarded, and knows the time."""

    forwarded: list[tuple[str, str, int]] = field(default_factory=list)

    @contextmanager
    def port_forward(self, namespace: str, pod: str, port: int) -> Iterator[tuple[str, int]]:
        self.forwarded.append((namespace, pod, port))
        yield "127.0.0.1", 1234

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


class Notes(Silent):
    """Progress that keeps what is noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str) -> None:
        self.lines.append(what)


class Network:
    """Takes the place of connecting: some hosts are silent, or are not known for so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, unknown: int = 0) -> None:
        self.asked: list[str] = []
        self._unknown = unknown
        self._connect = socket.create_connection
        monkeypatch.setattr(address, "CONNECT_SECONDS", 0.2)
        monkeypatch.setattr(address.socket, "create_connection", self.connect)

    def connect(self, place: tuple[str, int], timeout: float) -> socket.socket:
        self.asked.append(place[0])
        if place[0].startswith(SILENT.rpartition(".")[0]):
            time.sleep(timeout)
            raise TimeoutError("timed out")
        if place[0] != NAMELESS:
            return self._connect(place, timeout)
        if self.asked.count(NAMELESS) <= self._unknown:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._connect(("127.0.0.1", place[1]), timeout)


@pytest.fixture
def open_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def cluster(
    port: int, node_port: int, *ingress: dict[str, str], target: str | int = 80, age: float = 0.0
) -> ForwardingKube:
    made = (datetime.now(timezone.utc) - timedelta(seconds=age)).isoformat().replace("+00:00", "Z")
    ports: list[Any] = [{"name": "http2", "port": port, "nodePort": node_port, "targetPort": target}]
    service = obj("Service", NAME, metadata={"creationTimestamp": made},
                  spec={"type": "LoadBalancer", "selector": {"app": NAME}, "ports": ports},
                  status={"loadBalancer": {"ingress": list(ingress)}})  # fmt: skip
    node = obj("Node", "node", namespace=None,
               status={"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]})  # fmt: skip
    containers = [{"name": "istio-proxy", "ports": [{"name": "web", "containerPort": 8080}]}]
    pod = obj("Pod", "pod", metadata={"labels": {"app": NAME}}, spec={"containers": containers})
    return ForwardingKube([service, node, pod])


def found(kube: FakeKube, bound: float = 0.0, progress: Silent | None = None) -> Address:
    there = mesh(kube)
    there = replace(there, settings=replace(there.settings, timeouts=Timeouts(gateway_address=bound)))
    with ExitStack() as held:
        return find_address(there, lambda host, port: (host, port), held, progress=progress or Silent())


def with_nodes(kube: ForwardingKube, *hosts: str) -> ForwardingKube:
    for host in hosts:
        addresses = [{"type": "InternalIP", "address": host}]
        kube.objects.insert(1, obj("Node", host, namespace=None, status={"addresses": addresses}))
    return kube


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


def test_a_load_balancer_whose_name_is_not_known_yet_is_waited_for(
    open_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, progress = Network(monkeypatch, unknown=2), Notes()
    kube = cluster(open_port, open_port, {"hostname": NAMELESS})
    assert found(kube, 30.0, progress) == Address(NAMELESS, open_port, "load-balancer")
    assert network.asked == [NAMELESS] * 3, "a node was tried although the load balancer was to come"
    assert progress.lines == []


@pytest.mark.parametrize(("age", "looks"), [(0.0, range(2, 5)), (3600.0, range(1, 2))])
def test_a_load_balancer_that_stays_silent_is_passed_over_with_a_word(
    open_port: int, monkeypatch: pytest.MonkeyPatch, age: float, looks: range
) -> None:
    network, progress = Network(monkeypatch), Notes()
    began = time.monotonic()
    way = found(cluster(CLOSED, open_port, {"ip": SILENT}, age=age), 2.5, progress)
    assert way == Address("127.0.0.1", open_port, "node-port")
    assert time.monotonic() - began < 5.0
    assert network.asked.count(SILENT) in looks
    assert progress.lines == [
        f"the load balancer of Service {NAME} is passed over: {SILENT}:9 takes no connections (timed out)"
    ]


def test_a_load_balancer_that_refuses_is_not_waited_for(
    open_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, progress = Network(monkeypatch), Notes()
    assert found(cluster(CLOSED, open_port, {"ip": "127.0.0.1"}), 30.0, progress).way == "node-port"
    assert network.asked == ["127.0.0.1"] * 2
    assert "Connection refused" in progress.lines[0]


def test_nodes_are_tried_side_by_side_and_the_first_one_is_taken(
    open_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Network(monkeypatch)
    hosts = ["127.0.0.3", "127.0.0.2", *(f"192.0.2.{number}" for number in range(1, 51))]
    began = time.monotonic()
    with socket.socket() as other:
        other.bind(("127.0.0.2", open_port))
        other.listen()
        kube = with_nodes(cluster(CLOSED, open_port), *hosts)
        assert found(kube) == Address("127.0.0.2", open_port, "node-port")
    assert time.monotonic() - began < 5.0, "50 nodes of 0.2 s each"


def test_the_search_ends_with_its_bound_however_many_nodes_are_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(monkeypatch)
    hosts = [f"192.0.2.{number}" for number in range(1, 251)]
    assert found(with_nodes(cluster(CLOSED, CLOSED), *hosts), 0.1).way == "port-forward"
    assert len(network.asked) <= address.AT_ONCE


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
