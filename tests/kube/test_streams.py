"""Logs, exec and port-forward, through the API server to the embedded cluster's kubelet."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pytest_istio.kube.client import Kube
from pytest_istio.kube.errors import KubeError, NotFoundError, UnreachableError
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, wait_ready
from tests.kube.told import Told
from tests.kube.weather import EXEC_FAULTS, weather
from tests.local.node.cluster import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Object = dict[str, Any]

PROBE = {"httpGet": {"port": 8080, "path": "/"}}


@pytest.fixture(scope="module")
def kubeconfig(kube_binaries: Mapping[str, Path]) -> Iterator[Path]:
    """The kubeconfig of a cluster with a node."""
    with running_cluster(kube_binaries) as (kubeconfig, _):
        yield kubeconfig


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path) -> Iterator[Kube]:
    kube = Kube.connect(kubeconfig)
    yield kube
    kube.close()


def pod(name: str, **container: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", **container}], "terminationGracePeriodSeconds": 1},
    }


@pytest.fixture(scope="module")
def web(cluster: Kube) -> str:
    obj = pod("web", image="web:1", args=["8080"], readinessProbe=PROBE)
    cluster.create(obj)
    wait_ready(cluster, [Ref.of(obj)], timeout=30, progress=Told())
    return "web"


def test_a_program_in_a_pod_is_run(cluster: Kube, web: str) -> None:
    script = 'echo "to $1"; echo "über" >&2; exit 7'
    done = cluster.exec("default", web, ["sh", "-c", script, "sh", "a b"], container="main")
    assert (done.stdout, done.stderr, done.exit_code) == ("to a b\n", "über\n", 7)
    assert cluster.exec("default", web, ["true"]).exit_code == 0
    much = cluster.exec("default", web, ["sh", "-c", "seq 1 50000"]).stdout
    assert much.split() == [str(n) for n in range(1, 50001)]


def test_what_cannot_be_run_is_said(cluster: Kube, web: str) -> None:
    done = cluster.exec("default", web, ["no-such-program"])
    assert done.exit_code == 127
    assert "no-such-program" in done.stderr
    with pytest.raises(
        NotFoundError, match=r'^GET .*/pods/nobody/exec: 404 NotFound: pods "nobody" not found'
    ):
        cluster.exec("default", "nobody", ["true"])
    with pytest.raises(UnreachableError, match="did not end in time"):
        cluster.exec("default", web, ["sleep", "20"], timeout=0.5)


def test_programs_are_run_side_by_side(cluster: Kube, web: str) -> None:
    found: list[str] = []

    def run(number: int) -> None:
        found.append(cluster.exec("default", web, ["sh", "-c", f"sleep 0.2; echo {number}"]).stdout.strip())

    threads = [threading.Thread(target=run, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0", "1", "2", "3"]


def test_a_port_of_a_pod_is_reached_on_this_machine(cluster: Kube, web: str) -> None:
    with cluster.port_forward("default", web, 8080) as (host, port):
        assert host == "127.0.0.1"
        for _ in range(3):
            assert httpx.get(f"http://{host}:{port}/", trust_env=False).status_code == 200
        with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False) as kept:
            assert [kept.get("/").status_code for _ in range(5)] == [200] * 5
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{host}:{port}/", trust_env=False)


@pytest.mark.parametrize("fault", EXEC_FAULTS)
def test_what_only_asks_comes_through_in_any_weather(
    fault: str, kubeconfig: Path, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with weather(kubeconfig, tmp_path / "kubeconfig", share=0, seed=0) as proxy:
        rough = Kube.connect(tmp_path / "kubeconfig")
        rough.served()
        spoiled = iter([fault] * 2)
        monkeypatch.setattr(proxy, "fault", lambda _: next(spoiled, ""))
        assert rough.exec("default", web, ["echo", "here"], repeatable=True).stdout == "here\n"
        if fault != "cut":
            spoiled = iter([fault] * 2)
            with rough.port_forward("default", web, 8080) as (host, port):
                assert httpx.get(f"http://{host}:{port}/", trust_env=False).status_code == 200
        if fault in {"reset after", "cut"}:
            spoiled = iter([fault])
            with pytest.raises(UnreachableError):
                rough.exec("default", web, ["echo", "here"])
        rough.close()


def test_logs_are_read_in_whole_and_in_part(cluster: Kube, web: str) -> None:
    assert cluster.logs("default", web).startswith("listening on 8080\n")
    for _ in range(3):
        cluster.request("GET", f"/api/v1/namespaces/default/pods/{web}:8080/proxy/")
    assert len(cluster.logs("default", web, "main", tail=2).splitlines()) == 2
    with pytest.raises(KubeError, match="previous terminated container"):
        cluster.logs("default", web, previous=True)


def test_a_container_that_crashes_tells_its_last_words(
    cluster: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.kube.causes.RESTARTS", 1)
    monkeypatch.setattr("pytest_istio.kube.wait.LOOK_SECONDS", 0.2)
    env = [{"name": "EXIT", "value": "3"}]
    obj = pod("crashing", image="words:1", args=["this", "is the end"], env=env, readinessProbe=PROBE)
    cluster.create(obj)
    with pytest.raises(NotReadyError) as caught:
        wait_ready(cluster, [Ref.of(obj)], timeout=60, progress=Told())
    (trouble,) = caught.value.troubles
    assert trouble.reason == "CrashLoopBackOff"
    assert "container main of pod crashing restarted 1 times, last with exit code 3" in trouble.detail
    assert trouble.logs == "this\nis the end"


def test_an_image_that_is_refused_ends_the_waiting(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_istio.kube.wait.LOOK_SECONDS", 0.2)
    obj = pod("unknown", image="example.com/unknown:1")
    cluster.create(obj)
    with pytest.raises(NotReadyError, match=r"container main of pod unknown, image example\.com/unknown:1: "):
        wait_ready(cluster, [Ref.of(obj)], timeout=60, progress=Told())
