"""A cluster that a run has kept, taken by the next one, or left alone for a reason."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.clusters.kind import KindProvider
from pytest_istio.clusters.kind_folder import folders
from pytest_istio.clusters.kind_reuse import take_kept
from pytest_istio.kube.client import Kube
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings
from tests.kind.containers import containers
from tests.kind.runs import run

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.clusters.engine import Engine

pytestmark = pytest.mark.usefixtures("_cleaned")
SERVICE = ("v1", "Service", "istio-ingressgateway", "istio-system")


class Notes(Silent):
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str) -> None:
        self.lines.append(what)


@pytest.mark.usefixtures("stand_ins")
def test_the_second_run_goes_straight_to_the_checks_and_takes_the_gateways_best_address(
    node_image: str, tmp_path: Path
) -> None:
    first = run(tmp_path, node_image, "--istio-reuse")
    assert first.passed, first.output
    assert "no cluster is kept that could be reused; making one" in first.output
    (folder,) = folders()
    assert folder.kept
    kube = Kube.connect(folder.kubeconfig)

    address = kube.list("v1", "Node")[0]["status"]["addresses"][0]["address"]
    status = f"{kube.resource(*SERVICE[:2]).path('istio-system', SERVICE[2])}/status"
    kube.json("PATCH", status, body=load_balancer(address), content_type="application/merge-patch+json")
    balanced = run(tmp_path, node_image, "--istio-reuse")
    assert balanced.passed, balanced.output
    assert not balanced.phases.keys() & {"cluster", "images", "apply", "apply bookinfo", "control plane"}
    assert balanced.report["cluster"]["reused"]
    assert balanced.report["gateway"] == {"url": f"http://{address}:80", "way": "load-balancer"}
    assert balanced.report["istio"]["sha256"] == first.report["istio"]["sha256"]

    kube.patch(*SERVICE, {"spec": {"type": "ClusterIP"}})
    forwarded = run(tmp_path, node_image, "--istio-reuse", "--istio-keep=never")
    assert forwarded.report["gateway"]["way"] == "port-forward", forwarded.output
    answered = [check for check in forwarded.report["checks"] if check["id"] == "ING-002"]
    assert [check["outcome"] for check in answered] == ["passed"], forwarded.output
    kube.close()
    assert list(folders()) == [], "it was told to keep nothing"


def test_a_cluster_is_left_alone_unless_it_is_as_wanted_free_and_well(
    engine: Engine, node_image: str
) -> None:
    settings = Settings(istio_version="1.0.5", kind_image=node_image, reuse=True)
    provider = KindProvider()
    cluster = provider.start(settings, Silent())
    # As of a run that has set up a mesh, of which there is nothing.
    provider.stop(replace(cluster, setup={"mesh": {}}), keep=True)
    (folder,) = folders()
    wanted = folder.fingerprint

    def told(wanted: dict[str, Any]) -> str:
        notes = Notes()
        assert take_kept(wanted, settings, engine, notes) is None
        (line,) = notes.lines
        return line.removeprefix(f"cluster {cluster.name} is not reused: ")

    other = {**wanted, "manifests": "0" * 64, "namespace": "mesh"}
    assert told(other) == "it differs in manifests, namespace; `pytest-istio cleanup` ends it"
    assert folder.claim()
    assert told(wanted) == "another run uses it"
    folder.lock.release()
    assert len(containers(cluster.name)) == 1

    assert re.match(r".*Deployment istio-system/istio-.*; it is deleted, and a new one made$", told(wanted))
    assert containers(cluster.name) == set()
    assert told(wanted) == "no cluster is kept that could be reused; making one"


def load_balancer(address: str) -> dict[str, Any]:
    """Return what a load balancer tells of a Service; kube-proxy answers at each address that it is told."""
    return {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
