"""Containers: states, restarts, order and end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.local.node.cluster import eventually

if TYPE_CHECKING:
    from tests.local.node.cluster import Namespace

WORDS = {"name": "words", "image": "words"}


def test_a_container_that_crashes_is_restarted_at_once_and_then_held_back(namespace: Namespace) -> None:
    namespace.pod("crash", image="words", args=["boom"], env=[{"name": "EXIT", "value": "3"}])
    eventually(lambda: namespace.waiting("crash") == "CrashLoopBackOff")
    state = namespace.state("crash")
    assert state["restartCount"] == 1
    assert state["lastState"]["terminated"]["exitCode"] == 3
    assert state["lastState"]["terminated"]["reason"] == "Error"
    assert state["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main")
    assert namespace.get("pod", "crash")["status"]["phase"] == "Running"
    assert namespace.event("crash", "BackOff").startswith("Back-off restarting")
    assert namespace.kubectl("logs", "crash").stdout == "boom\n"
    assert namespace.kubectl("logs", "crash", "--previous").stdout == "boom\n"


def test_an_image_without_a_program_is_not_pulled(namespace: Namespace) -> None:
    namespace.pod("unknown", image="nginx:1.27")
    assert eventually(lambda: namespace.waiting("unknown")) in {"ContainerCreating", "ErrImagePull"}
    eventually(lambda: namespace.waiting("unknown") == "ImagePullBackOff")
    message = namespace.state("unknown")["state"]["waiting"]["message"]
    assert "nginx:1.27" in message
    assert "no program for this image" in message
    assert "nginx:1.27" in namespace.event("unknown", "Failed")
    namespace.kubectl("delete", "pod", "unknown")


def test_a_job_completes_and_is_retried_until_then(namespace: Namespace) -> None:
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [{**WORDS, "args": ["done"]}]}}}
    namespace.apply(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": spec},
    )
    namespace.kubectl("wait", "--for=condition=Complete", "job/job", "--timeout=15s")
    assert namespace.kubectl("logs", "job/job").stdout == "done\n"
    row = namespace.kubectl("get", "pods", "--no-headers").stdout.split()
    assert row[1:3] == ["0/1", "Completed"]


def test_a_failing_pod_that_is_never_restarted_has_failed(namespace: Namespace) -> None:
    namespace.pod("failing", image="words", restartPolicy="Never", env=[{"name": "EXIT", "value": "1"}])
    eventually(lambda: namespace.get("pod", "failing")["status"]["phase"] == "Failed")
    assert namespace.state("failing")["state"]["terminated"]["exitCode"] == 1
    assert namespace.kubectl("get", "pods", "--no-headers").stdout.split()[2] == "Error"


def test_init_containers_run_one_after_the_other_before_the_others(namespace: Namespace) -> None:
    slow = [{"name": "SLEEP", "value": "0.5"}]
    shared = [{"name": "shared", "mountPath": "/shared"}]
    first = {"name": "first", "image": "words", "args": ["one"], "env": slow}
    namespace.pod(
        "ordered",
        image="web",
        args=["8080"],
        volumeMounts=shared,
        volumes=[{"name": "shared", "emptyDir": {}}],
        initContainers=[first, {**first, "name": "second"}],
    )
    eventually(lambda: "Init:" in namespace.kubectl("get", "pods", "--no-headers").stdout)
    namespace.wait_ready("ordered")
    statuses = namespace.get("pod", "ordered")["status"]["initContainerStatuses"]
    ends = [status["state"]["terminated"] for status in statuses]
    assert [end["reason"] for end in ends] == ["Completed", "Completed"]
    assert ends[0]["finishedAt"] <= ends[1]["startedAt"]


def test_a_failing_init_container_keeps_the_others_from_starting(namespace: Namespace) -> None:
    failing = {**WORDS, "env": [{"name": "EXIT", "value": "1"}]}
    namespace.pod("blocked", image="web", args=["8080"], initContainers=[failing])
    eventually(lambda: "Init:CrashLoopBackOff" in namespace.kubectl("get", "pods", "--no-headers").stdout)
    assert namespace.waiting("blocked") == "PodInitializing"


def test_a_sidecar_is_an_init_container_that_goes_on(namespace: Namespace) -> None:
    sidecar = {"name": "sidecar", "image": "web", "args": ["8081"], "restartPolicy": "Always"}
    namespace.pod("native", image="words", restartPolicy="Never", initContainers=[sidecar], args=["main"])
    eventually(lambda: namespace.get("pod", "native")["status"]["phase"] == "Succeeded")
    [status] = namespace.get("pod", "native")["status"]["initContainerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 143


def test_a_gated_program_is_ready_when_it_listens(namespace: Namespace) -> None:
    namespace.pod("gated", image="gated", args=["8080"], ports=[{"containerPort": 8080}])
    namespace.wait_ready("gated")
    assert namespace.ask("gated", "") == "ok\n"


def test_a_gated_program_that_does_not_listen_runs_and_is_not_ready(namespace: Namespace) -> None:
    namespace.pod("deaf", image="gated", args=["8080"], ports=[{"containerPort": 9999}])
    eventually(lambda: "running" in namespace.state("deaf")["state"])
    time.sleep(0.5)
    assert namespace.state("deaf")["ready"] is False
    assert namespace.kubectl("logs", "deaf").stdout == "listening on 8080\n"


def test_a_pod_that_is_deleted_ends_with_its_program_not_after_the_grace(namespace: Namespace) -> None:
    env = [{"name": "SLEEP", "value": "100"}]
    namespace.pod("ending", image="words", env=env, terminationGracePeriodSeconds=30)
    namespace.wait_ready("ending")
    start = time.monotonic()
    namespace.kubectl("delete", "pod", "ending")
    assert time.monotonic() - start < 10


def test_a_pod_is_deleted_while_it_cannot_start(namespace: Namespace) -> None:
    volumes = [{"name": "missing", "secret": {"secretName": "missing"}}]
    namespace.pod("waiting", image="words", volumes=volumes)
    assert "missing" in namespace.event("waiting", "FailedMount")
    namespace.kubectl("delete", "pod", "waiting", "--timeout=5s")


def test_a_program_that_does_not_end_is_killed_after_the_grace(namespace: Namespace) -> None:
    env = [{"name": "SLEEP", "value": "100"}, {"name": "STUBBORN", "value": "1"}]
    namespace.pod("stubborn", image="words", env=env, args=["up"], terminationGracePeriodSeconds=1)
    eventually(lambda: namespace.kubectl("logs", "stubborn", check=False).stdout)
    start = time.monotonic()
    namespace.kubectl("delete", "pod", "stubborn")
    assert 1.0 < time.monotonic() - start < 10


def test_a_deployment_is_rolled_over(namespace: Namespace) -> None:
    labels = {"app": "rolled"}
    container = {"name": "main", "image": "gated", "args": ["8080"], "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    namespace.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rolled"}, "spec": spec}
    )
    namespace.kubectl("rollout", "status", "deployment/rolled", "--timeout=15s")
    namespace.kubectl("rollout", "restart", "deployment/rolled")
    namespace.kubectl("rollout", "status", "deployment/rolled", "--timeout=15s")
    eventually(lambda: len(namespace.kubectl("get", "pods", "--no-headers").stdout.splitlines()) == 2)
