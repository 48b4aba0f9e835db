"""Probes: when a container counts as ready, and when it is restarted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.local.node.cluster import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.node.cluster import Namespace

WEB: dict[str, Any] = {
    "image": "web",
    "args": ["8080"],
    "ports": [{"containerPort": 8080, "name": "http"}],
    "volumes": [{"name": "flags", "emptyDir": {}}],
    "volumeMounts": [{"name": "flags", "mountPath": "/flags"}],
}


def _flag(namespace: Namespace, pod: str) -> Path:
    """Return the file in a pod's volume that its web server answers for."""
    number = str(namespace.get("pod", pod)["status"]["podIP"]).rpartition(".")[2]
    return namespace.folder / number / "v" / "flags" / "ready"


def test_readiness_is_tried_at_once_and_comes_and_goes(namespace: Namespace) -> None:
    probe = {
        "httpGet": {"path": "/flags/ready", "port": "http"},
        "initialDelaySeconds": 30,
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    namespace.pod("moody", **WEB, readinessProbe=probe)
    eventually(lambda: "running" in namespace.state("moody")["state"])
    time.sleep(0.5)
    assert namespace.state("moody")["ready"] is False
    _flag(namespace, "moody").touch()
    start = time.monotonic()
    namespace.wait_ready("moody")
    assert time.monotonic() - start < 3
    _flag(namespace, "moody").unlink()
    eventually(lambda: namespace.state("moody")["ready"] is False)


def test_a_failing_readiness_probe_says_why(namespace: Namespace) -> None:
    probe = {"tcpSocket": {"port": 9999}, "periodSeconds": 1}
    namespace.pod("unready", **WEB, readinessProbe=probe)
    message = namespace.event("unready", "Unhealthy")
    assert message.startswith("Readiness probe failed: dial tcp 127.")
    assert message.endswith("Connection refused")
    condition = namespace.get("pod", "unready")["status"]["conditions"]
    [ready] = [item for item in condition if item["type"] == "Ready"]
    assert ready["status"] == "False"
    assert ready["message"] == "containers with unready status: [main]"


def test_a_failing_liveness_probe_restarts_the_container(namespace: Namespace) -> None:
    probe = {"exec": {"command": ["/usr/bin/greet"]}, "periodSeconds": 1, "failureThreshold": 1}
    namespace.pod("sick", **WEB, livenessProbe=probe)
    eventually(lambda: namespace.state("sick").get("restartCount"))
    assert namespace.event("sick", "Unhealthy") == "Liveness probe failed: hello"
    killing = namespace.event("sick", "Killing")
    assert killing == "Container main failed liveness probe, will be restarted"


def test_a_startup_probe_comes_before_readiness(namespace: Namespace) -> None:
    probe = {
        "httpGet": {"path": "/flags/ready", "port": 8080},
        "periodSeconds": 1,
        "failureThreshold": 30,
    }
    namespace.pod("starting", **WEB, startupProbe=probe)
    eventually(lambda: "running" in namespace.state("starting")["state"])
    time.sleep(0.3)
    assert (namespace.state("starting")["started"], namespace.state("starting")["ready"]) == (False, False)
    _flag(namespace, "starting").touch()
    namespace.wait_ready("starting")
    assert namespace.state("starting")["started"] is True
