"""Clusters by kind, for real: made, used side by side, kept, and taken away however the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters import kind
from pytest_istio.clusters.kind import KindProvider
from pytest_istio.clusters.kind_folder import folders
from pytest_istio.errors import ClusterError
from pytest_istio.kube.client import Kube
from pytest_istio.kube.polling import until
from pytest_istio.kube.readiness import condition
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings
from tests.kind.containers import ask_engine, containers

if TYPE_CHECKING:
    from pytest_istio.clusters.base import Cluster
    from pytest_istio.clusters.engine import Engine

START = """
import sys
from pytest_istio.clusters.kind import KindProvider
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings
KindProvider().start(Settings(istio_version="1.0.5", kind_image=sys.argv[1], kind_name=sys.argv[2]), Silent())
"""

MAKING = "/sys/fs/cgroup/freezer/making"
# As runc does to a container that it makes, for a moment.
FREEZE = f"mkdir {MAKING}; echo $$ >{MAKING}/cgroup.procs; echo FROZEN >{MAKING}/freezer.state"


def test_a_cluster_from_creation_to_cleanup(
    node_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "the-users-own"))
    provider = KindProvider()
    settings = Settings(istio_version="1.0.5", kind_image=node_image, kind_nodes=2)
    cluster = provider.start(settings, Silent())
    try:
        _judge(cluster)
        assert not (tmp_path / "the-users-own").exists()
        assert not (tmp_path / ".pytest-kind").exists()
        assert kind.cleanup() == [], "a run uses it"
        provider.stop(cluster, keep=True)
        again = Settings(istio_version="1.0.5", kind_image=node_image, kind_name=cluster.name)
        with pytest.raises(ClusterError, match=f"there is a kind cluster {cluster.name} already"):
            KindProvider().start(again, Silent())
        assert len(containers(cluster.name)) == 2
    finally:
        assert kind.cleanup() == [cluster.name]
    assert not containers(cluster.name)
    assert not cluster.kubeconfig.exists()


def test_a_cluster_whose_node_is_stopped_is_lost(engine: Engine, node_image: str) -> None:
    provider = KindProvider()
    cluster = provider.start(Settings(istio_version="1.0.5", kind_image=node_image), Silent())
    try:
        assert provider.trouble is None
        ask_engine("kill", f"{cluster.name}-control-plane")
        trouble = until(lambda: provider.trouble, bool, timeout=180)
        assert trouble
        assert trouble.startswith("The cluster is lost: GET /readyz: no answer from the API server")
        assert f"{engine.program} ps -a --filter label=io.x-k8s.kind.cluster={cluster.name}" in trouble
    finally:
        provider.stop(cluster, keep=False)
    assert not containers(cluster.name)


def _judge(cluster: Cluster) -> None:
    kube = Kube.connect(cluster.kubeconfig, cluster.context)
    nodes = kube.list("v1", "Node")
    kube.close()
    ready = [condition(node, "Ready") or {} for node in nodes]
    assert [one.get("status") for one in ready] == ["True", "True"]
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0
    assert cluster.created
    assert not cluster.rehearsal
    host, port = KindProvider().wire(cluster, "172.18.0.2", 31380)
    assert (host, port) == ("127.0.0.1", cluster.details["ports"]["31380"])
    assert KindProvider().wire(cluster, "192.0.2.1", 80) == ("192.0.2.1", 80)


def test_a_node_that_is_at_making_a_container_is_deleted(engine: Engine, node_image: str) -> None:
    if engine.cgroup != 1:
        pytest.skip("with cgroups of version 2 what is frozen can be killed")
    provider = KindProvider()
    cluster = provider.start(Settings(istio_version="1.0.5", kind_image=node_image), Silent())
    try:
        node = f"{cluster.name}-control-plane"
        subprocess.run([engine.program, "exec", "--detach", node, "sh", "-c", FREEZE], check=True)
        show = [engine.program, "exec", node, "cat", f"{MAKING}/freezer.state"]
        frozen = until(
            lambda: subprocess.run(show, capture_output=True, text=True, check=False).stdout,
            lambda state: state == "FROZEN\n",
            timeout=30,
        )
        assert frozen == "FROZEN\n"
    finally:
        provider.stop(cluster, keep=False)
    assert not containers(cluster.name)
    assert list(folders()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_while_kind_creates_leaves_nothing(node_image: str, number: signal.Signals) -> None:
    name = f"pytest-istio-test-{os.getpid()}-{number}"
    run = subprocess.Popen([sys.executable, "-c", START, node_image, name], stderr=subprocess.DEVNULL)
    for _ in range(600):
        if containers(name):
            break
        time.sleep(0.1)  # a container is nothing that can be waited for
    else:
        pytest.fail("kind made no container")
    run.send_signal(number)
    run.wait(120)
    if number == signal.SIGKILL:
        assert [folder.name for folder in folders() if not folder.in_use] == [name]
        assert kind.cleanup() == [name]
    assert containers(name) == set()
    assert list(folders()) == []
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)


def test_a_creation_that_fails_leaves_its_logs_and_nothing_else(
    node_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "ATTEMPTS", 1)
    config = tmp_path / "kind.yaml"
    config.write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: nobody}]")
    before = containers()
    with pytest.raises(ClusterError) as caught:
        KindProvider().start(
            Settings(istio_version="1.0.5", kind_image=node_image, kind_config=config), Silent()
        )
    assert "Nothing of it is left" in str(caught.value)
    logs = Path(str(caught.value).rpartition(" ")[2])
    assert "invalid" in (logs / "kind.log").read_text() or "nobody" in (logs / "kind.log").read_text()
    assert list(folders()) == []
    assert containers() <= before
