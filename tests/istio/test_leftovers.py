"""What a run has made on a cluster; that it is taken away is tested where runs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.istio.leftovers import made_by
from pytest_istio.istio.mesh import RUN_LABEL
from pytest_istio.kube.objects import Ref

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
