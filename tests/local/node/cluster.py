"""A cluster whose node has programs of the tests.

``python -m tests.local.node.cluster PROGRAMS`` runs a control plane, the network and the node. It prints one
JSON line when it is ready, and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_istio.local.api import Api
from pytest_istio.local.controlplane import running_control_plane
from pytest_istio.local.images import Program, TcpProbe
from pytest_istio.local.network import Network
from pytest_istio.local.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_istio.local.controlplane import ControlPlane

Object = dict[str, Any]
T = TypeVar("T")

HERE = "tests.local.node.programs"
PROGRAMS = {
    "web": Program("web", f"{HERE}.web", commands={"greet": f"{HERE}.greet"}),
    "gated": Program("gated web", f"{HERE}.web", started=TcpProbe()),
    "words": Program("words", f"{HERE}.words"),
}


@dataclass(frozen=True)
class Namespace:
    """A namespace of the cluster, and kubectl in it."""

    name: str
    kubeconfig: Path
    folder: Path

    def kubectl(
        self, *arguments: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={self.name}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done

    def apply(self, *objects: Object) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def pod(self, name: str, **container: Any) -> None:  # noqa: ANN401  # fields of the API
        """Create a pod; what is no field of its container is one of its spec."""
        fields = ("volumes", "initContainers", "restartPolicy", "terminationGracePeriodSeconds")
        spec = {key: container.pop(key) for key in fields if key in container}
        spec = {"terminationGracePeriodSeconds": 2, **spec, "containers": [{"name": "main", **container}]}
        metadata = {"name": name, "labels": {"app": name}}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json").stdout)
        return found

    def state(self, pod: str) -> Object:
        """Return the status of a pod's only container, an empty one as long as there is none."""
        statuses = self.get("pod", pod)["status"].get("containerStatuses") or [{"state": {}}]
        return dict(statuses[0])

    def waiting(self, pod: str) -> str | None:
        reason = self.state(pod)["state"].get("waiting", {}).get("reason")
        return str(reason) if reason else None

    def wait_ready(self, pod: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=15s")

    def ask(self, pod: str, path: str) -> str:
        """Return what a pod's web server says, through the API server."""
        path = f"/api/v1/namespaces/{self.name}/pods/{pod}:8080/proxy/{path}"
        return self.kubectl("get", "--raw", path, check=False).stdout

    def event(self, pod: str, reason: str) -> str:
        """Return the messages of a pod's events with a reason, waiting for the first one."""

        def messages() -> str:
            events = json.loads(self.kubectl("get", "events", "-o", "json").stdout)["items"]
            mine = [event for event in events if event["involvedObject"]["name"] == pod]
            return "\n".join(event["message"] for event in mine if event["reason"] == reason)

        return eventually(messages)


def eventually(condition: Callable[[], T], *, timeout: float = 15.0) -> T:
    """Return the first true value of a condition, asked for again and again."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s; last seen: {value!r}")
        time.sleep(0.1)
    return value


@contextmanager
def running_cluster(programs: Mapping[str, Path]) -> Iterator[tuple[Path, Path]]:
    """Run a cluster in a process of its own; yield its kubeconfig and the folder of its pods."""
    argv = [sys.executable, "-m", "tests.local.node.cluster"]
    argv.append(json.dumps({name: str(path) for name, path in programs.items()}))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            ready = json.loads(process.stdout.readline())
            yield Path(ready["kubeconfig"]), Path(ready["pods"])
        finally:
            assert process.stdin
            process.stdin.close()
            assert process.wait(10) == 0


async def _serve(plane: ControlPlane) -> None:
    plan, folder = plane.plan, plane.folder
    api = Api(plane.server, plane.authority.certificate, plane.token)
    network = Network(api, plan, folder)
    pods = folder / "pods"
    pods.mkdir()
    node = Node(
        api,
        plan,
        pods,
        hosts=network.hosts,
        serving=plane.kubelet_serving,
        authority=plane.authority.certificate,
        find_program=lambda image: PROGRAMS.get(image.partition(":")[0]),
    )
    networking = asyncio.ensure_future(network.run(plane.egress))
    await node.start()
    print(json.dumps({"kubeconfig": str(plane.kubeconfig), "pods": str(pods)}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await node.stop()
    networking.cancel()
    await asyncio.gather(networking, return_exceptions=True)
    await api.close()


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    programs = {name: Path(path) for name, path in json.loads(sys.argv[1]).items()}
    with running_control_plane(programs) as plane:
        asyncio.run(_serve(plane))


if __name__ == "__main__":
    main()
