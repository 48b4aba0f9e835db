"""The whole embedded cluster: services, load balancers, names, and the API server's way to pods."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from pytest_istio.clusters import provider
from pytest_istio.kube.client import Kube
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import wait_for, wait_ready
from pytest_istio.local.instances import may_bind_low_ports
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_istio.clusters.base import Cluster, Provider
    from pytest_istio.kube.objects import Object

pytestmark = pytest.mark.cluster

SECONDS = 60
LABELS = {"app": "details"}
CONTAINER = {
    "name": "details",
    "image": "istio/examples-bookinfo-details-v1:1.8.0",
    "ports": [{"containerPort": 9080}],
}
DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "details", "namespace": "default"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}},
    },
}


def service(name: str, **spec: object) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 9080}]
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports, **spec}}


@dataclass
class Running:
    cluster: Cluster
    local: Provider
    kube: Kube

    def get(self, host: str, port: int) -> int:
        """Return the status of the page of details at an address of the cluster's objects."""
        wire, wire_port = self.local.wire(self.cluster, host, port)
        assert wire.startswith("127.")
        return httpx.get(f"http://{wire}:{wire_port}/details/0", trust_env=False).status_code

    def refuses(self, host: str, port: int) -> bool:
        wire, wire_port = self.local.wire(self.cluster, host, port)
        assert wire.startswith("127.")
        with socket.socket() as client:
            return client.connect_ex((wire, wire_port)) != 0

    def hosts(self, wanted: str) -> set[str]:
        """Return the addresses of a name."""
        text = (Path(self.cluster.details["folder"]) / "hosts").read_text()
        return {address for address, name in map(str.split, text.splitlines()) if name == wanted}

    def kubectl(self, *arguments: str) -> str:
        command = ["kubectl", f"--kubeconfig={self.cluster.kubeconfig}", *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def awaited(self, name: str, *, balancer: bool = False) -> Object:
        """Return a service, with the address of its load balancer if there must be one."""

        def lacks(obj: Object | None) -> str | None:
            ready = obj and (not balancer or obj["status"]["loadBalancer"].get("ingress"))
            return None if ready else "it has no address"

        return wait_for(
            self.kube, "v1", "Service", name, "default", lacks, timeout=SECONDS, progress=Silent()
        )


@pytest.fixture(scope="module")
def running(kube_binaries: Mapping[str, Path]) -> Iterator[Running]:
    (folder,) = {path.parent for path in kube_binaries.values()}
    local = provider("local")
    cluster = local.start(Settings(kube_binaries=folder), Silent())
    kube = Kube.connect(cluster.kubeconfig)
    try:
        for obj in (
            DEPLOYMENT,
            service("details", selector=LABELS, type="NodePort"),
            service("headless", selector=LABELS, clusterIP="None"),
            service("nobody", selector={"app": "nobody"}),
        ):
            kube.create(obj)
        wait_ready(kube, [Ref.of(DEPLOYMENT)], timeout=SECONDS, progress=Silent())
        cluster_running = Running(cluster, local, kube)
        # The network follows what the control plane's controllers make of the pods.
        deadline = Deadline(SECONDS)
        while len(cluster_running.hosts("headless.default")) < 2:
            assert not deadline.expired
            time.sleep(0.05)
        yield cluster_running
    finally:
        kube.close()
        local.stop(cluster, keep=False)


def test_a_service_is_reached_at_its_address_and_at_its_node_port(running: Running) -> None:
    found = running.awaited("details")
    assert running.get(found["spec"]["clusterIP"], 80) == 200
    node = running.kube.list("v1", "Node")[0]["status"]["addresses"][0]["address"]
    assert running.get(node, found["spec"]["ports"][0]["nodePort"]) == 200


def test_the_api_itself_is_reached_as_a_service(running: Running) -> None:
    address = running.awaited("kubernetes")["spec"]["clusterIP"]
    assert not running.refuses(address, 443)


def test_a_service_without_endpoints_refuses(running: Running) -> None:
    assert running.refuses(running.awaited("nobody")["spec"]["clusterIP"], 80)


def test_names_lead_to_services_and_to_pods_of_headless_ones(running: Running) -> None:
    assert running.hosts("details.default") == {running.awaited("details")["spec"]["clusterIP"]}
    pods = running.kube.list("v1", "Pod", "default", labels="app=details")
    assert running.hosts("headless.default") == {pod["status"]["podIP"] for pod in pods}


def test_the_api_server_reaches_pods_and_services(running: Running) -> None:
    pod = running.kube.list("v1", "Pod", "default", labels="app=details")[0]["metadata"]["name"]
    for target in ("services/details:http", f"pods/{pod}:9080"):
        page = running.kube.json("GET", f"/api/v1/namespaces/default/{target}/proxy/details/0")
        assert page["author"] == "William Shakespeare"


def test_load_balancers_have_addresses_of_their_own_on_their_real_ports(running: Running) -> None:
    if not may_bind_low_ports():
        pytest.skip("this user may not bind port 80")
    for name in ("first", "second"):
        running.kube.create(service(name, selector=LABELS, type="LoadBalancer"))
    addresses = {
        running.awaited(name, balancer=True)["status"]["loadBalancer"]["ingress"][0]["ip"]
        for name in ("first", "second")
    }
    assert {address.rpartition(".")[2] for address in addresses} == {"200", "201"}
    for address in addresses:
        assert httpx.get(f"http://{address}/details/0", trust_env=False).status_code == 200
    for name in ("first", "second"):
        running.kube.delete("v1", "Service", name, "default")


def test_a_port_that_is_taken_is_said_on_the_service(running: Running) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        ports = [{"name": "http", "port": port, "targetPort": 9080}]
        running.kube.create(service("clash", selector=LABELS, ports=ports))
        for event in running.kube.watch("v1", "Event", "default", deadline=Deadline(SECONDS)):
            if event.object["reason"] == "PortTaken":
                assert f"port {port}: it is taken" in event.object["message"]
                break
        else:
            pytest.fail("the service has no event")
    running.kube.delete("v1", "Service", "clash", "default")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on PATH")
def test_an_ordinary_kubectl_works(running: Running) -> None:
    assert "Ready" in running.kubectl("get", "nodes")
    assert "Image:          istio/examples-bookinfo-details-v1" in running.kubectl("describe", "pods")
    assert "details listens" in running.kubectl("logs", "-l", "app=details")
    assert running.kubectl("exec", "deploy/details", "--", "echo", "hello") == "hello\n"
    pods = json.loads(running.kubectl("get", "pods", "-o", "json"))["items"]
    assert len(pods) == 2
