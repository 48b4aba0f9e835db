"""Clusters of somebody else's: what is refused, and that nothing of a run stays."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pytest_istio.clusters import existing, lease
from pytest_istio.clusters.existing import ExistingProvider
from pytest_istio.clusters.pulse import Pulse
from pytest_istio.errors import ClusterError
from pytest_istio.istio import leftovers
from pytest_istio.istio.catalog import release
from pytest_istio.istio.mesh import RUN_LABEL
from pytest_istio.kube.client import Kube
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.polling import until
from pytest_istio.local.controlplane import running_control_plane
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings
from pytest_istio.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo
    from pathlib import Path

    from pytest_istio.istio.catalog import Release
    from pytest_istio.kube.objects import Object
    from pytest_istio.local.controlplane import ControlPlane

NOBODY = "127.0.0.1:9"


@pytest.fixture(scope="module")
def plane(kube_binaries: Mapping[str, Path]) -> Iterator[ControlPlane]:
    """A cluster without nodes."""
    with running_control_plane(kube_binaries) as plane:
        yield plane


@pytest.fixture(scope="module")
def kube(plane: ControlPlane) -> Iterator[Kube]:
    kube = Kube.connect(plane.kubeconfig)
    yield kube
    kube.close()


@pytest.fixture
def context(plane: ControlPlane) -> str:
    name: str = yaml.safe_load(plane.kubeconfig.read_text())["current-context"]
    return name


def start(kubeconfig: Path, **settings: Any) -> None:  # noqa: ANN401 (fields of Settings)
    ExistingProvider().start(Settings(istio_version="1.0.5", kubeconfig=kubeconfig, **settings), Silent())


def test_a_context_has_to_be_named(plane: ControlPlane, context: str) -> None:
    with pytest.raises(ClusterError, match=f"--istio-context=NAME.*: {context}"):
        start(plane.kubeconfig)


def test_an_unknown_context_is_one_line_with_the_known_ones(plane: ControlPlane, context: str) -> None:
    with pytest.raises(ClusterError, match=f"no context 'nowhere'. It has: {context}") as caught:
        start(plane.kubeconfig, context="nowhere")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a", "{", "contexts: 3"])
def test_a_file_that_is_no_kubeconfig_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(ClusterError, match=f"kubeconfig {file} cannot be used") as caught:
        start(file, context="mine")
    assert "\n" not in str(caught.value)


def test_without_consent_nothing_is_asked_of_the_cluster(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config(f"https://{NOBODY}")))
    with pytest.raises(ClusterError, match="add --istio-allow-context=mine"):
        start(file, context="mine", allowed_contexts=("another",))


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config(f"http://{NOBODY}")))
    with pytest.raises(ClusterError, match="no answer from the API server") as caught:
        start(file, context="mine", allowed_contexts=("mine",))
    assert "\n" not in str(caught.value)


def test_credentials_that_are_not_taken_are_one_line(plane: ControlPlane, tmp_path: Path) -> None:
    given = yaml.safe_load(plane.kubeconfig.read_text())
    given["users"][0]["user"] = {"token": "expired"}
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(given))
    name = given["current-context"]
    with pytest.raises(ClusterError, match="log in again") as caught:
        start(file, context=name, allowed_contexts=(name,))
    assert "\n" not in str(caught.value)


def test_a_user_without_rights_is_told_what_he_lacks(
    plane: ControlPlane, kube: Kube, context: str, tmp_path: Path
) -> None:
    kube.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "viewer", "namespace": "default"}}
    )
    path = "/api/v1/namespaces/default/serviceaccounts/viewer/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = kube.json("POST", path, body=request)["status"]["token"]
    given = yaml.safe_load(plane.kubeconfig.read_text())
    given["users"][0]["user"] = {"token": token}
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(given))
    with pytest.raises(ClusterError, match=f"the user of context {context}") as caught:
        start(file, context=context, allowed_contexts=(context,))
    assert "403 Forbidden" in str(caught.value)
    assert "take a context whose user has the role cluster-admin" in str(caught.value)
    with pytest.raises(ClusterError, match="cluster-admin"):
        existing.cleanup(Settings(kubeconfig=file, context=context))


def test_what_stands_in_the_way_is_told_before_anything_is_changed(
    plane: ControlPlane, kube: Kube, context: str
) -> None:
    role = {"kind": "ClusterRole", "metadata": {"name": "istio-pilot-istio-system"}, "rules": []}
    kube.create({"apiVersion": "rbac.authorization.k8s.io/v1", **role})
    before = inventory(kube)
    timeouts = Timeouts(crd_established=0.5)
    with pytest.raises(ClusterError) as caught:
        start(plane.kubeconfig, context=context, allowed_contexts=(context,), timeouts=timeouts)
    kube.delete("rbac.authorization.k8s.io/v1", "ClusterRole", "istio-pilot-istio-system")
    assert "nothing was changed" in str(caught.value)
    assert "1 are there: ClusterRole istio-pilot-istio-system" in str(caught.value)
    assert "the cluster's nodes" in str(caught.value)
    assert inventory(kube) >= before - {("ClusterRole", None, "istio-pilot-istio-system")}
    assert lease.owner(kube) is None


def test_a_lease_is_one_runs_and_says_what_is_left(kube: Kube, plane: ControlPlane, context: str) -> None:
    mine = lease.Lease.take(kube, "run-1", "1.0.5")
    with pytest.raises(ClusterError, match=r"The cluster is in use: .*began run-1"):
        lease.Lease.take(kube, "run-2", "1.0.5")
    settings = Settings(kubeconfig=plane.kubeconfig, context=context)
    with pytest.raises(ClusterError, match="in use"):
        existing.cleanup(settings)
    mine.keep()
    found = lease.owner(kube)
    assert found
    assert (found.alive, found.kept, found.run) == (False, True, "run-1")
    command = f"pytest-istio cleanup --context {context} --kubeconfig {plane.kubeconfig}"
    with pytest.raises(ClusterError, match=f"Take it away with: {command}$"):
        start(plane.kubeconfig, context=context, allowed_contexts=(context,))
    assert existing.cleanup(settings) == ["run-1"]
    assert lease.owner(kube) is None
    assert existing.cleanup(settings) == []


def test_a_run_that_was_taken_for_dead_leaves_the_lease_of_the_next_one(kube: Kube) -> None:
    late = lease.Lease.take(kube, "run-5", "1.0.5")
    found = lease.owner(kube)
    assert found
    lease.remove_lease(kube, found.uid)
    next_one = lease.Lease.take(kube, "run-6", "1.0.5")
    try:
        with pytest.raises(KubeError, match=r"metadata\.uid"):
            late.keep()
        late.give_back()
        found = lease.owner(kube)
        assert found
        assert (found.run, found.kept) == ("run-6", False)
    finally:
        next_one.give_back()
    assert lease.owner(kube) is None


def test_an_istio_is_another_ones_where_nothing_of_the_run_is_left(kube: Kube) -> None:
    name = release("1.0.5").validation_webhook
    kube.create(webhook(name))
    kube.create(definition("gateways", "networking.istio.io"))
    take_away(kube, "run-7", release("1.0.5"))
    assert kube.find(*leftovers.WEBHOOK, name)
    kube.delete(*leftovers.WEBHOOK, name)
    kube.delete(*leftovers.CRD, "gateways.networking.istio.io")


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("who", ["the run", "who looks"])
def test_a_claim_does_not_go_by_a_hosts_clock(
    kube: Kube, monkeypatch: pytest.MonkeyPatch, who: str, hours: int
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no Self before 3.11
            return datetime.now(tz) + timedelta(hours=hours)

    def renewal() -> str:
        time: str = kube.get(*lease.KIND, lease.NAME, lease.NAMESPACE)["spec"]["renewTime"]
        return time

    monkeypatch.setattr(lease, "_RENEWAL", 0.1)
    with monkeypatch.context() as patched:
        if who == "the run":
            patched.setattr(lease, "datetime", Wrong)
        mine = lease.Lease.take(kube, "run-4", "1.0.5")
        first = renewal()
        assert until(renewal, lambda time: time != first, timeout=30) != first
    if who == "who looks":
        monkeypatch.setattr(lease, "datetime", Wrong)
    try:
        found = lease.owner(kube)
        assert found
        assert 0 < found.left <= 60
    finally:
        mine.give_back()


def has_what_kubernetes_makes(kube: Kube) -> bool:
    """Return whether each namespace has what a new control plane puts there by itself."""
    namespaces = {each["metadata"]["name"] for each in kube.list("v1", "Namespace")}
    return all(
        namespaces
        == {each["metadata"]["namespace"] for each in kube.list("v1", kind, fields=f"metadata.name={name}")}
        for kind, name in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt"))
    )


def test_what_a_run_and_its_istio_made_goes_and_nothing_else(kube: Kube) -> None:
    kube.create(secret("istio.older", "default"))
    kube.create(config_map("somebodys", "default", {"app": "shop"}))
    assert until(lambda: has_what_kubernetes_makes(kube), bool, timeout=60)
    before = inventory(kube)
    time.sleep(1.1)  # the API server's times are in whole seconds
    mine = lease.Lease.take(kube, "run-3", "1.0.5")
    label = {RUN_LABEL: "run-3"}
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "made", "labels": label}})
    kube.create(config_map("ours", "default", label))
    kube.create(secret("istio.default", "default"))
    kube.create(webhook(release("1.0.5").validation_webhook))
    take_away(kube, "run-3", release("1.0.5"), since=mine.since)
    mine.give_back()
    assert inventory(kube) == before


def test_an_api_server_that_answers_no_longer_is_found_out(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.clusters.pulse.PERIOD", 0.1)
    monkeypatch.setattr("pytest_istio.clusters.pulse.REQUEST_SECONDS", 1.0)
    monkeypatch.setattr("pytest_istio.kube.connection.RETRY_SECONDS", 1.0)
    pulse = Pulse(plane.kubeconfig, None)
    try:
        assert until(lambda: pulse.trouble, bool, timeout=2) is None
        os.kill(plane.pids["kube-apiserver"], signal.SIGSTOP)
        trouble = until(lambda: pulse.trouble, bool, timeout=60)
    finally:
        os.kill(plane.pids["kube-apiserver"], signal.SIGCONT)
        pulse.close()
    assert trouble
    assert trouble.startswith("The cluster is lost: GET /readyz: no answer from the API server at https:")


def test_what_comes_back_after_its_removal_is_told(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    kube.create(config_map("back-again", "default", {RUN_LABEL: "run-4"}))
    with monkeypatch.context() as patched:
        patched.setattr(leftovers, "delete", lambda *_, **__: None)
        with pytest.raises(ClusterError, match="1 objects: ConfigMap default/back-again"):
            take_away(kube, "run-4")
    take_away(kube, "run-4")
    assert leftovers.made_by(kube, "run-4").refs == ()


def take_away(
    kube: Kube, run: str, installed: Release | None = None, *, since: str = "2000-01-01T00:00:00Z"
) -> None:
    leftovers.remove(
        kube, run, installed, since=since,
        timeouts=Timeouts(namespace_gone=30), progress=Silent(), finish="pytest-istio cleanup",
    )  # fmt: skip


def inventory(kube: Kube) -> set[tuple[str, str | None, str]]:
    """Return what is on the cluster, but for what the control plane itself makes as time goes by."""
    kinds = ("ConfigMap", "Namespace", "Secret", "ServiceAccount")
    found = [each for kind in kinds for each in kube.list("v1", kind)]
    found += kube.list("rbac.authorization.k8s.io/v1", "ClusterRole")
    found += kube.list("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
    found += kube.list("coordination.k8s.io/v1", "Lease")
    names = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found}
    return {(kind, namespace, name) for kind, namespace, name in names if "kube-root-ca" not in name}


def config(server: str) -> Object:
    context = {"name": "mine", "context": {"cluster": "mine", "user": "me"}}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "mine", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": {"token": "x"}}],
        "contexts": [context],
        "current-context": "mine",
    }


def secret(name: str, namespace: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "type": "istio.io/key-and-cert", "metadata": metadata}


def config_map(name: str, namespace: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def webhook(name: str) -> Object:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [],
    }


def definition(plural: str, group: str) -> Object:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
    }
    names = {"kind": plural.capitalize(), "plural": plural}
    return {
        "apiVersion": leftovers.CRD[0],
        "kind": leftovers.CRD[1],
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]},
    }
