"""What a kubelet would say of pods, said by the tests: nothing runs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_istio.kube.client import Kube

Object = dict[str, Any]


def workload(kind: str, namespace: str, name: str, *, scheduled: bool = False, **spec: object) -> Object:
    """Return a workload whose pods have one container called ``main``.

    Without `scheduled` the pods ask for a scheduler that is not there, so that the tests alone say how
    they are.
    """
    pod: Object = {"containers": [{"name": "main", "image": "example.com/main:1"}]}
    if not scheduled:
        pod["schedulerName"] = "tests"
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    if kind == "Job":
        pod["restartPolicy"] = "Never"
        own: Object = {"template": template}
    else:
        own = {"template": template, "selector": {"matchLabels": {"app": name}}}
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**own, **spec},
    }


def ready(pod: Object) -> Object:
    return {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def waiting(reason: str, message: str = "", restarts: int = 0) -> Callable[[Object], Object]:
    """Return what makes a pod's container wait for a reason."""

    def status(pod: Object) -> Object:
        container = {
            "name": "main",
            "image": "example.com/main:1",
            "imageID": "",
            "ready": False,
            "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": message}},
            "lastState": {"terminated": {"exitCode": 3}} if restarts else {},
        }
        return {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [container],
        }

    return status


@contextmanager
def kubelet(kube: Kube, namespace: str, status: Callable[[Object], Object | None]) -> Iterator[None]:
    """Give each pod of a namespace the status that the function says, while the context lasts."""
    watch = kube.follow("v1", "Pod", namespace, deadline=Deadline(120))

    def run() -> None:
        for event in watch:
            said = status(event.object) if event.type == "ADDED" else None
            if said is None:
                continue
            path = f"/api/v1/namespaces/{namespace}/pods/{event.object['metadata']['name']}/status"
            try:
                kube.request(
                    "PATCH", path, body={"status": said}, content_type="application/merge-patch+json"
                )
            except (NotFoundError, ConflictError):
                continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    watch.close()
    thread.join()
