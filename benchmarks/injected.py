"""Injected pods as objects of an API server: as bookinfo's are, with the status of a running pod."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.cluster import SETTINGS
from pytest_istio.istio import sources
from pytest_istio.istio.inject import InjectionConfig, inject
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.manifests import load
from pytest_istio.kube.migrate import migrate

if TYPE_CHECKING:
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["create_namespace", "create_pods", "deployments", "injected_bookinfo"]

CONCURRENCY = 16
NOW = "2018-12-18T12:00:00Z"


def injected_bookinfo(kube: Kube) -> list[Object]:
    """Return bookinfo's objects with sidecars, as this API server takes them."""
    config = InjectionConfig.from_manifests(sources.manifests(SETTINGS).objects)
    given = load(sources.bookinfo("1.0.5") / "bookinfo.yaml").objects
    return list(inject(migrate(given, kube.served()).objects, config))


def deployments(kube: Kube) -> list[Object]:
    """Return bookinfo's Deployments with sidecars, as this API server takes them."""
    return [each for each in injected_bookinfo(kube) if each["kind"] == "Deployment"]


def create_namespace(kube: Kube, namespace: str) -> None:
    """Create a namespace and return when pods can be created in it."""
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    events = kube.watch("v1", "ServiceAccount", namespace, deadline=Deadline(60))
    next(event for event in events if event.object["metadata"]["name"] == "default")


def create_pods(kube: Kube, namespace: str, count: int, *, first: int = 0) -> None:
    """Create pods that say that they run, `first` being the number of the first one."""
    templates = [each["spec"]["template"] for each in deployments(kube)]

    def one(number: int) -> None:
        template = templates[number % len(templates)]
        name = f"{template['metadata']['labels']['app']}-{number}"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": name, "namespace": namespace},
            # No scheduler of that name: no controller ever touches the pod.
            "spec": {**template["spec"], "schedulerName": "nobody"},
        }
        made = kube.create(pod)
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        merge = "application/merge-patch+json"
        kube.request("PATCH", path, body={"status": _running(made)}, content_type=merge)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        list(pool.map(one, range(first, first + count)))


def _running(pod: Object) -> Object:
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "podIP": "10.160.0.10",
        "podIPs": [{"ip": "10.160.0.10"}],
        "startTime": NOW,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": NOW} for kind in kinds],
        "initContainerStatuses": [
            _status(each, {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": NOW}})
            for each in pod["spec"]["initContainers"]
        ],
        "containerStatuses": [
            _status(each, {"running": {"startedAt": NOW}}) for each in pod["spec"]["containers"]
        ],
    }


def _status(container: Object, state: Object) -> Object:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"{container['image']}@sha256:{'0' * 64}",
        "containerID": f"containerd://{'0' * 64}",
        "ready": True,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }
