"""Whole runs on a cluster that is not theirs: however they end, it is left as it was found.

A cluster of `local` stands for somebody's, so that this needs no container engine.
"""

from __future__ import annotations

import getpass
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pytest_istio.clusters import lease
from pytest_istio.clusters.local import LocalProvider
from pytest_istio.kube.client import Kube
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.polling import until as polled
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings
from tests.kind.inventory import stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_istio.clusters.base import Cluster
    from pytest_istio.kube.objects import Object

REPOSITORY = Path(__file__).parents[2]
TEST = "def test_it(gateway, bookinfo): assert gateway.wait_answer('/productpage')"
LONG_TEST = f"{TEST}; print('up', flush=True); import time; time.sleep(300)"
SOMEBODYS = """
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: prices, namespace: shop}, data: {tea: "3"}}
- {apiVersion: v1, kind: Secret, metadata: {name: istio.default, namespace: shop}, type: Opaque}
- apiVersion: apiextensions.k8s.io/v1
  kind: CustomResourceDefinition
  metadata: {name: teas.shop.example}
  spec:
    group: shop.example
    names: {kind: Tea, plural: teas}
    scope: Namespaced
    versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
- apiVersion: admissionregistration.k8s.io/v1
  kind: ValidatingWebhookConfiguration
  metadata: {name: shop}
  webhooks:
  - name: tea.shop.example
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    clientConfig: {service: {name: shop, namespace: shop}}
    rules: [{apiGroups: [shop.example], apiVersions: [v1], operations: [CREATE], resources: [teas]}]
"""
"""What somebody has on his cluster; the Secret has the name that Citadel gives its own."""


@pytest.fixture(scope="module")
def theirs(kube_binaries: Mapping[str, Path]) -> Iterator[Cluster]:
    """A cluster in use, which is kept."""
    provider = LocalProvider()
    cluster = provider.start(Settings(kube_binaries=_folder()), Silent())
    kube = Kube.connect(cluster.kubeconfig)
    for each in yaml.safe_load(SOMEBODYS):
        kube.create(each)
    await_settled(kube)
    kube.close()
    yield cluster
    provider.stop(cluster, keep=False)


@pytest.fixture
def kube(theirs: Cluster) -> Iterator[Kube]:
    kube = Kube.connect(theirs.kubeconfig)
    yield kube
    kube.close()


@pytest.fixture
def arguments(theirs: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How a user starts a run there, in a folder with a test of his own."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    name = yaml.safe_load(theirs.kubeconfig.read_text())["current-context"]
    place = [f"--istio-kubeconfig={theirs.kubeconfig}", f"--istio-context={name}"]
    options = [*place, f"--istio-allow-context={name}", "--istio-version=1.0.5", "--istio-cluster=existing"]
    return [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *options]


def test_a_killed_run_keeps_others_out_until_its_claim_ends_and_the_next_one_clears_up(
    kube: Kube, arguments: list[str]
) -> None:
    before = inventory(kube)
    Path("test_it.py").write_text(LONG_TEST)
    with run(arguments, until="up") as killed:
        # Under the run's injector it would have a sidecar, or be refused.
        assert [each["name"] for each in admitted(kube, "shop")["spec"]["containers"]] == ["c"]
        second = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert second.returncode == pytest.ExitCode.USAGE_ERROR
        assert f"The cluster is in use: {getpass.getuser()}@" in second.stderr
        killed.kill()
    assert re.search(r"try again in \d+ s", refused_cleanup(arguments))
    let_the_claim_end(kube)
    Path("test_it.py").write_text(TEST)
    done = subprocess.run(
        [*arguments, "--istio-report=report.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "REHEARSAL" in done.stdout, "pods of such a cluster are no containers"
    assert "istio: adapted: MutatingWebhookConfiguration istio-sidecar-injector: kept to" in done.stdout
    gateway = yaml.safe_load(Path("report.yaml").read_text())["gateway"]
    assert gateway["way"] in ("load-balancer", "node-port")
    assert gateway["url"] in done.stdout
    assert_left(kube, before)


def test_what_a_run_killed_in_the_middle_of_applying_leaves_is_taken_away_by_cleanup(
    kube: Kube, arguments: list[str]
) -> None:
    before = inventory(kube)
    Path("test_it.py").write_text(TEST)
    with run(arguments, until="istio: preflight took") as killed:
        watch = kube.watch("apiextensions.k8s.io/v1", "CustomResourceDefinition", deadline=Deadline(60))
        next(each for each in watch if "istio.io" in each.object["metadata"]["name"])
        killed.kill()
    assert inventory(kube) != before
    let_the_claim_end(kube)
    assert cleanup(arguments).stdout.startswith("ended: run-")
    assert_left(kube, before)


def test_an_interrupted_run_takes_away_what_it_has_made(kube: Kube, arguments: list[str]) -> None:
    before = inventory(kube)
    Path("test_it.py").write_text(TEST)
    with run(arguments, until="istio: apply took") as interrupted:
        interrupted.send_signal(signal.SIGINT)
        said, _ = interrupted.communicate(timeout=300)
        assert interrupted.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "istio: removal took" in said
    assert_left(kube, before)


@contextmanager
def run(arguments: list[str], *, until: str) -> Iterator[subprocess.Popen[str]]:
    """Start a run and go on when it prints a text."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                if until in line:
                    break
            else:
                pytest.fail("".join(said))
            yield process
        finally:
            process.kill()


def cleanup(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    given = dict(each.lstrip("-").split("=", 1) for each in arguments if "=" in each)
    place = ["--kubeconfig", given["istio-kubeconfig"], "--context", given["istio-context"]]
    command = [sys.executable, "-m", "pytest_istio.cli", "cleanup", *place]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused_cleanup(arguments: list[str]) -> str:
    done = cleanup(arguments)
    assert done.returncode == 1
    return done.stderr


def admitted(kube: Kube, namespace: str) -> Object:
    """Return a pod as it is admitted to a namespace, and delete it."""
    container = {"name": "c", "image": "none"}
    pod = kube.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "tea", "namespace": namespace},
            "spec": {"schedulerName": "nobody", "containers": [container]},
        }
    )
    kube.delete("v1", "Pod", "tea", namespace, grace=0)
    return pod


def let_the_claim_end(kube: Kube) -> None:
    """Have it be a minute later."""
    renewed: Object = {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}
    kube.patch(*lease.KIND, lease.NAME, lease.NAMESPACE, renewed)


def await_settled(kube: Kube) -> None:
    """Wait until Kubernetes has added to what was created all that it adds: for two seconds no more comes."""
    seen = [inventory(kube)]

    def look() -> bool:
        seen.append(inventory(kube))
        return seen[-1] == seen[-2]

    assert polled(look, bool, timeout=60, pause=2)


def assert_left(kube: Kube, before: dict[str, str]) -> None:
    """Assert that the cluster is as it was; the server forgets the groups of definitions a little later."""
    found = polled(lambda: inventory(kube), lambda found: found == before, timeout=30, pause=0.5)
    assert found == before


def inventory(kube: Kube) -> dict[str, str]:
    """Return everything on the cluster by UID, but for events."""
    return {each["metadata"]["uid"]: str(Ref.of(each)) for each in stored(kube, but={"Event"})}


def _folder() -> Path | None:
    folder = os.environ.get("PYTEST_ISTIO_KUBE_BINARIES")
    return Path(folder) if folder else None
