"""Waiting on a real control plane, whose pods are played."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, Trouble, wait_for, wait_gone, wait_ready
from tests.kube.pods import kubelet, ready, waiting, workload
from tests.kube.told import Told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.kube.client import Kube

Object = dict[str, Any]


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the waits look often and give up soon."""
    monkeypatch.setattr("pytest_istio.kube.wait.LOOK_SECONDS", 0.2)
    monkeypatch.setattr("pytest_istio.kube.wait.GRACE_SECONDS", 1.0)
    monkeypatch.setattr("pytest_istio.kube.causes.UNSCHEDULABLE_SECONDS", 0.5)


def created(kube: Kube, *objects: Object) -> list[Ref]:
    return [Ref.of(kube.create(obj)) for obj in objects]


def trouble_of(kube: Kube, refs: list[Ref], timeout: float = 60.0) -> Trouble:
    """Return the trouble of the first of the objects, none of which becomes ready."""
    with pytest.raises(NotReadyError) as caught:
        wait_ready(kube, refs, timeout=timeout, progress=Told())
    assert f"{len(refs)} of {len(refs)} objects not ready after " in str(caught.value)
    troubles = {trouble.ref: trouble for trouble in caught.value.troubles}
    return troubles[refs[0]]


def test_workloads_of_all_kinds_become_ready(kube: Kube, namespace: str) -> None:
    def status(pod: Object) -> Object:
        return {"phase": "Succeeded"} if pod["metadata"]["labels"].get("job-name") else ready(pod)

    refs = created(
        kube,
        workload("Deployment", namespace, "d", replicas=2),
        workload("StatefulSet", namespace, "s"),
        workload("DaemonSet", namespace, "ds"),
        workload("Job", namespace, "j"),
    )
    with kubelet(kube, namespace, status):
        wait_ready(kube, refs, timeout=60, progress=Told())


def test_what_does_not_exist_is_missing_until_it_is_made(kube: Kube, namespace: str) -> None:
    later = workload("Deployment", namespace, "later")
    assert trouble_of(kube, [Ref.of(later)], timeout=0.5).reason == "Missing"
    threading.Timer(0.3, kube.create, [later]).start()
    told = Told()
    with kubelet(kube, namespace, ready):
        wait_ready(kube, [Ref.of(later)], timeout=60, progress=told)


def test_the_time_being_up_tells_what_is_awaited_and_why(kube: Kube, namespace: str) -> None:
    refs = created(kube, workload("Deployment", namespace, "slow"))
    told = Told()
    with (
        kubelet(kube, namespace, waiting("ContainerCreating", "secret not there")),
        pytest.raises(NotReadyError) as caught,
    ):
        wait_ready(kube, refs, timeout=1.5, progress=told)
    text = str(caught.value)
    assert text.startswith(
        f"1 of 1 objects not ready after 2 s:\n  Deployment {namespace}/slow: ContainerCreating: "
    )
    assert "container main of pod slow-" in text
    assert text.endswith(f"\nSee `kubectl -n {namespace} describe deployment slow`.")
    assert told.texts[-1].startswith(f"0 of 1 ready; Deployment {namespace}/slow: ContainerCreating: ")


HOPELESS = {
    "image refused": (
        waiting("ErrImagePull", "manifest for example.com/main:1 not found"),
        "ErrImagePull",
        "image example.com/main:1: manifest for example.com/main:1 not found",
    ),
    "image name": (waiting("InvalidImageName", "couldn't parse"), "InvalidImageName", "couldn't parse"),
    "crash loop": (
        waiting("CrashLoopBackOff", restarts=4),
        "CrashLoopBackOff",
        "restarted 4 times, last with exit code 3",
    ),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_pods_that_do_not_recover_end_the_waiting(name: str, kube: Kube, namespace: str) -> None:
    status, reason, detail = HOPELESS[name]
    refs = created(kube, workload("Deployment", namespace, "d"))
    with kubelet(kube, namespace, status):
        trouble = trouble_of(kube, refs)
    assert trouble.reason == reason
    assert detail in trouble.detail


def test_the_last_lines_of_the_log_are_told(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logs(namespace: str, pod: str, container: str, *, tail: int) -> str:
        return f"first\nlast of {container} in {tail}\n"

    monkeypatch.setattr(kube, "logs", logs)
    refs = created(kube, workload("Deployment", namespace, "d"))
    with kubelet(kube, namespace, waiting("CrashLoopBackOff", restarts=4)):
        trouble = trouble_of(kube, refs)
    assert trouble.logs == "first\nlast of main in 10"
    assert str(trouble).endswith("\n    | first\n    | last of main in 10")


PASSING = {
    "registry": waiting("ErrImagePull", "dial tcp: i/o timeout"),
    "back-off": waiting("ImagePullBackOff", 'Back-off pulling image "example.com/main:1"'),
    "a few crashes": waiting("CrashLoopBackOff", restarts=2),
    "configuration": waiting("CreateContainerConfigError", 'configmap "a" not found'),
}


@pytest.mark.parametrize("name", PASSING)
def test_pods_that_may_recover_are_waited_for(name: str, kube: Kube, namespace: str) -> None:
    refs = created(kube, workload("Deployment", namespace, "d"))
    with kubelet(kube, namespace, PASSING[name]), pytest.raises(NotReadyError, match=" not ready after 2 s"):
        wait_ready(kube, refs, timeout=1.5, progress=Told())


def test_the_others_are_waited_for_when_one_is_beyond_hope(kube: Kube, namespace: str) -> None:
    refused = waiting("ErrImagePull", "access denied")

    def status(pod: Object) -> Object:
        return refused(pod) if pod["metadata"]["labels"]["app"] == "bad" else ready(pod)

    refs = created(kube, *(workload("Deployment", namespace, name) for name in ("bad", "good", "fine")))
    with kubelet(kube, namespace, status), pytest.raises(NotReadyError) as caught:
        wait_ready(kube, refs, timeout=60, progress=Told())
    assert [trouble.ref.name for trouble in caught.value.troubles] == ["bad"]
    assert "1 of 3 objects not ready" in str(caught.value)


def test_pods_of_an_older_version_are_not_the_cause(kube: Kube, namespace: str) -> None:
    refused = waiting("ErrImagePull", "not found")

    def status(pod: Object) -> Object:
        return refused(pod) if "new" not in pod["metadata"].get("annotations", {}) else ready(pod)

    (ref,) = created(kube, workload("Deployment", namespace, "d"))
    with kubelet(kube, namespace, status):
        trouble_of(kube, [ref])
        change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
        kube.patch("apps/v1", "Deployment", "d", namespace, change)
        wait_ready(kube, [ref], timeout=60, progress=Told())


@pytest.fixture
def cordoned(kube: Kube) -> Iterator[None]:
    """A node that is ready and takes no pods."""
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "cordoned"},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    kube.create(node)
    yield
    kube.delete("v1", "Node", "cordoned")


@pytest.mark.usefixtures("cordoned")
def test_a_pod_that_fits_nowhere_ends_the_waiting(kube: Kube, namespace: str) -> None:
    trouble = trouble_of(kube, created(kube, workload("Deployment", namespace, "d", scheduled=True)))
    assert trouble.reason == "Unschedulable"
    assert "0/1 nodes are available" in trouble.detail


def test_without_a_ready_node_a_pod_is_waited_for(kube: Kube, namespace: str) -> None:
    refs = created(kube, workload("Deployment", namespace, "d", scheduled=True))
    with pytest.raises(NotReadyError, match="not ready after 2 s"):
        wait_ready(kube, refs, timeout=1.5, progress=Told())


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_pods_that_admission_denies_end_the_waiting(kind: str, kube: Kube, namespace: str) -> None:
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    kube.patch("v1", "Namespace", namespace, None, labels)
    trouble = trouble_of(kube, created(kube, workload(kind, namespace, "d")))
    assert trouble.reason == "FailedCreate"
    assert "violates PodSecurity" in trouble.detail


def test_a_job_that_failed_ends_the_waiting(kube: Kube, namespace: str) -> None:
    refs = created(kube, workload("Job", namespace, "j", backoffLimit=0))
    with kubelet(kube, namespace, lambda _: {"phase": "Failed"}):
        assert trouble_of(kube, refs).reason == "BackoffLimitExceeded"


def test_an_object_is_returned_once_it_is_as_wanted(kube: Kube, namespace: str) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}}

    def has_data(found: Object | None) -> str | None:
        return "no such object" if found is None else None if found.get("data") else "no data"

    changed = {"data": {"x": "1"}}
    told = Told(lambda: kube.create(obj), lambda: kube.patch("v1", "ConfigMap", "a", namespace, changed))
    found = wait_for(kube, "v1", "ConfigMap", "a", namespace, has_data, timeout=30, progress=told)
    assert found["data"] == {"x": "1"}
    assert told.texts[0] == f"ConfigMap {namespace}/a: no such object"
    assert told.texts[-1] == f"ConfigMap {namespace}/a: no data"
    with pytest.raises(NotReadyError, match=f"ConfigMap {namespace}/b: Missing: no such object"):
        wait_for(kube, "v1", "ConfigMap", "b", namespace, has_data, timeout=0.3, progress=told)


def test_gone_is_what_does_not_exist_any_more(kube: Kube, namespace: str) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}}
    refs = created(kube, obj)
    told = Told(lambda: kube.delete("v1", "ConfigMap", "a", namespace))
    wait_gone(kube, refs, timeout=30, progress=told)
    assert told.texts == ["1 ConfigMap to be gone: a"]
