from __future__ import annotations

from typing import Any

import pytest

from pytest_istio.kube.readiness import problem


def of(kind: str, status: dict[str, Any] | None = None, **spec: object) -> dict[str, Any]:
    obj = {"kind": kind, "metadata": {"name": "a", "generation": 2}, "spec": spec}
    return obj if status is None else {**obj, "status": status}


def seen(**status: object) -> dict[str, Any]:
    return {"observedGeneration": 2, **status}


def told(**conditions: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status} for kind, status in conditions.items()]}


EXCEEDED = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}
WAITING = {"name": "c", "state": {"waiting": {"reason": "ErrImagePull"}}}

JUDGED = [
    (of("Deployment"), "the controller has not seen its newest version yet"),
    (of("Deployment", {"observedGeneration": 1, "replicas": 1}), "the controller has not seen"),
    (of("Deployment", seen()), "0 of 1 pods made from its newest version"),
    (of("Deployment", seen(replicas=1, updatedReplicas=1)), "0 of 1 pods available"),
    (of("Deployment", seen(replicas=1, updatedReplicas=1, availableReplicas=1)), None),
    (
        of("Deployment", seen(replicas=3, updatedReplicas=2, availableReplicas=3), replicas=2),
        "1 pods of an older",
    ),
    (of("Deployment", seen(), replicas=0), None),
    (of("Deployment", seen(conditions=[EXCEEDED])), "ProgressDeadlineExceeded: late"),
    (of("StatefulSet", seen(readyReplicas=1), replicas=2), "1 of 2 pods ready"),
    (
        of("StatefulSet", seen(readyReplicas=2, updatedReplicas=1), replicas=2),
        "1 of 2 pods of its newest version",
    ),
    (of("StatefulSet", seen(readyReplicas=2), replicas=2, updateStrategy={"type": "OnDelete"}), None),
    (
        of(
            "StatefulSet",
            seen(readyReplicas=2, updatedReplicas=1),
            replicas=2,
            updateStrategy={"rollingUpdate": {"partition": 1}},
        ),
        None,
    ),
    (of("DaemonSet", seen()), None),
    (of("DaemonSet", seen(desiredNumberScheduled=2, updatedNumberScheduled=1)), "1 of 2 pods of its newest"),
    (of("DaemonSet", seen(desiredNumberScheduled=1, updatedNumberScheduled=1)), "0 of 1 pods available"),
    (of("ReplicaSet", seen(availableReplicas=1)), None),
    (of("ReplicaSet", seen()), "0 of 1 pods available"),
    (of("Job", {"failed": 2}), "0 of 1 pods succeeded, 2 failed"),
    (of("Job", told(Complete="True")), None),
    (of("Job", told(Failed="True")), "failed: "),
    (of("Pod"), "phase unknown"),
    (of("Pod", {"phase": "Succeeded"}), None),
    (of("Pod", {"phase": "Running", **told(Ready="True")}), None),
    (of("Pod", {"phase": "Pending", "containerStatuses": [WAITING]}), "container c waiting: ErrImagePull"),
    (
        of("Pod", {"containerStatuses": [{"name": "c", "ready": False, "state": {"running": {}}}]}),
        "container c running, not ready",
    ),
    (of("CustomResourceDefinition", {"conditions": None}), "not Established"),
    (of("CustomResourceDefinition", told(Established="True", NamesAccepted="True")), None),
    (of("CustomResourceDefinition", told(NamesAccepted="False")), "names not accepted"),
    (of("Namespace", {"phase": "Active"}), None),
    (of("Namespace", {"phase": "Terminating"}), "phase Terminating"),
    (of("APIService", told(Available="True")), None),
    (of("APIService"), "not Available: no reason given yet"),
    (of("PersistentVolumeClaim", {"phase": "Bound"}), None),
    (of("PersistentVolumeClaim", {"phase": "Pending"}), "phase Pending"),
    (of("ConfigMap"), None),
]


@pytest.mark.parametrize(
    ("obj", "expected"), JUDGED, ids=[f"{n}-{obj['kind']}" for n, (obj, _) in enumerate(JUDGED)]
)
def test_an_object_is_judged_by_its_status(obj: dict[str, Any], expected: str | None) -> None:
    found = problem(obj)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert expected in found
