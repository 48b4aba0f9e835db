"""What a run has made on a cluster; that it is taken away is tested where runs are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_istio.istio.catalog import release
from pytest_istio.istio.leftovers import made_by, remove
from pytest_istio.istio.mesh import RUN_LABEL
from pytest_istio.kube.apply import apply
from pytest_istio.kube.objects import Ref
from pytest_istio.progress import Silent
from pytest_istio.timeouts import Timeouts

if TYPE_CHECKING:
    import pytest

    from pytest_istio.kube.client import Kube

METRICS = ("metrics.k8s.io/v1beta1", "PodMetrics")


def test_other_servers_are_not_asked(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {RUN_LABEL: "run-1"}
    group, version = METRICS[0].split("/")
    spec = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"name": "metrics", "namespace": "default"},
    }
    name = f"{version}.{group}"
    kube.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "default", "labels": labels},
        }
    )
    kube.create(
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": name},
            "spec": spec,
        }
    )
    served, listed = kube.served(), kube.list

    def listing(api_version: str, kind: str, *, labels: str | None = None) -> list[dict[str, Any]]:
        # As the metrics server answers for a pod: without a UID.
        if (api_version, kind) == METRICS:
            return [{"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}]
        return listed(api_version, kind, labels=labels)

    monkeypatch.setattr(kube, "served", lambda: served | {METRICS})
    monkeypatch.setattr(kube, "list", listing)
    try:
        assert made_by(kube, "run-1").refs == (Ref("v1", "ConfigMap", "default", "a"),)
    finally:
        kube.delete("v1", "ConfigMap", "a", "default")
        kube.delete("apiregistration.k8s.io/v1", "APIService", name)


def test_gateway_classes_of_istiod_go_with_it(kube: Kube) -> None:
    group, names = "gateway.networking.k8s.io", {"plural": "gatewayclasses", "kind": "GatewayClass"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"gatewayclasses.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group,
            "names": names,
            "scope": "Cluster",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    classes = [
        {"apiVersion": f"{group}/v1", "kind": "GatewayClass", "metadata": {"name": name}}
        for name in ("istio", "istio-remote", "another")
    ]
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}
    with_bounds = partial(apply, kube, manager="test", timeouts=Timeouts(), progress=Silent())
    with_bounds([crd, *classes], labels={})
    with_bounds([made], labels={RUN_LABEL: "run-1"})
    kept = kube.list(f"{group}/v1", "GatewayClass")[0]["metadata"]["creationTimestamp"]
    remove(kube, "run-1", release("1.31.0"), since=kept, timeouts=Timeouts(), progress=Silent(), finish="…")
    assert [each["metadata"]["name"] for each in kube.list(f"{group}/v1", "GatewayClass")] == ["another"]
    kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd["metadata"]["name"])
