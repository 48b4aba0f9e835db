"""Taking away what a run has made on somebody else's cluster: what stands in the way, and what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pytest_istio.errors import ClusterError
from pytest_istio.istio import leftovers
from pytest_istio.istio.catalog import release
from pytest_istio.istio.mesh import RUN_LABEL
from pytest_istio.kube.client import Kube
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.polling import until
from pytest_istio.local.controlplane import running_control_plane
from pytest_istio.progress import Silent
from pytest_istio.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_istio.istio.catalog import Release
    from pytest_istio.kube.objects import Object
    from pytest_istio.local.controlplane import ControlPlane

RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC = f"{RBAC_GROUP}/v1"
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
LABELS = {RUN_LABEL: "run-1"}
FINISH = "pytest-istio cleanup --context mine"
LONG_AGO = "2000-01-01T00:00:00Z"
READS: Object = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch"]}


class Notes(Silent):
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str) -> None:
        self.lines.append(what)


@pytest.fixture(autouse=True)
def _tried_again_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_istio.kube.connection.RETRY_SECONDS", 1.0)


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
def teas(kube: Kube) -> Iterator[str]:
    """The group of a kind of somebody's in two versions, between which nobody converts any more."""
    definition = yaml.safe_load("""
        apiVersion: apiextensions.k8s.io/v1
        kind: CustomResourceDefinition
        metadata: {name: teas.shop.example}
        spec:
          group: shop.example
          names: {kind: Tea, plural: teas}
          scope: Namespaced
          versions:
          - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
          - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}
    """)
    kube.create(definition)
    until(lambda: ("shop.example/v2", "Tea") in kube.served(), bool, timeout=30)
    create_soon(kube, tea("v1", "green"))
    versions = [{**each, "storage": each["name"] == "v2"} for each in definition["spec"]["versions"]]
    service = {"name": "gone", "namespace": "default"}
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"service": service}}
    spec = {"versions": versions, "conversion": {"strategy": "Webhook", "webhook": webhook}}
    kube.patch(*CRD, "teas.shop.example", None, {"spec": spec})
    until(lambda: refused(lambda: kube.list("shop.example/v2", "Tea")), bool, timeout=30)
    # Now both versions have an object that the other one cannot show.
    create_soon(kube, tea("v2", "black"))
    until(lambda: refused(lambda: kube.list("shop.example/v1", "Tea")), bool, timeout=30)
    yield "shop.example"
    kube.patch(
        *CRD, "teas.shop.example", None, {"spec": {"conversion": {"strategy": "None", "webhook": None}}}
    )
    kube.delete(*CRD, "teas.shop.example")
    until(lambda: kube.find(*CRD, "teas.shop.example"), lambda found: found is None, timeout=30)


def test_a_kind_of_somebodys_that_nobody_can_list_is_noted_and_all_else_goes(kube: Kube, teas: str) -> None:
    kube.create(made("ConfigMap", "a", namespace="default"))
    notes = Notes()
    take_away(kube, progress=notes)
    assert leftovers.made_by(kube, "run-1").refs == ()
    (note,) = notes.lines
    assert note.startswith(f"Tea in {teas} cannot be listed: GET /apis/{teas}/")
    assert 'service "gone" not found' in note
    assert note.endswith("Nothing of the run is left there, since it makes no such objects.")


def test_a_kind_that_one_of_its_versions_shows_is_seen(kube: Kube, teas: str) -> None:
    kube.request("DELETE", f"/apis/{teas}/v2/namespaces/default/teas/black")
    notes = Notes()
    take_away(kube, progress=notes)
    assert notes.lines == []


def test_a_kind_of_kubernetes_that_the_user_may_not_list_is_named_when_all_else_is_gone(
    kube: Kube, plane: ControlPlane, tmp_path: Path
) -> None:
    kube.create(made("ConfigMap", "a", namespace="default"))
    rules = [
        {
            "apiGroups": ["", "apiregistration.k8s.io"],
            "resources": ["configmaps", "apiservices"],
            "verbs": ["*"],
        }
    ]
    limited = user(kube, plane, tmp_path, "limited", rules)
    with pytest.raises(ClusterError) as caught:
        take_away(limited)
    said = str(caught.value)
    assert "cannot be listed: GET /" in said
    assert "403 Forbidden" in said
    assert f"look:     finish it with: {FINISH}" in said
    assert kube.find("v1", "ConfigMap", "a", "default") is None


def test_webhooks_go_before_what_they_would_refuse(kube: Kube) -> None:
    kube.create(guard("ours", LABELS, [RBAC_GROUP], ["clusterroles"]))
    kube.create(guard(release("1.0.5").validation_webhook, {}, ["apps"], ["deployments"]))
    kube.create(made("ClusterRole", "a", RBAC, rules=[]))
    kube.create(deployment("a"))
    take_away(kube, installed=release("1.0.5"))
    assert leftovers.made_by(kube, "run-1").refs == ()
    assert kube.list(*leftovers.WEBHOOK) == []


def test_what_stays_keeps_nothing_else_and_is_named_with_the_reason(kube: Kube) -> None:
    kube.create(made("Namespace", "made"))
    container = {"name": "c", "image": "none"}
    pod = made("Pod", "stuck", namespace="made", spec={"nodeName": "dead", "containers": [container]})
    pod["metadata"]["finalizers"] = ["example.com/never"]
    create_soon(kube, pod)
    kube.create(guard("ours", LABELS, ["shop.example"], ["teas"]))
    kube.create(made("ClusterRole", "a", RBAC, rules=[]))
    with pytest.raises(ClusterError) as caught:
        take_away(kube, timeouts=Timeouts(namespace_gone=2, crd_established=1))
    said = str(caught.value)
    assert "2 objects: Namespace made, Pod made/stuck" in said
    assert "Pod made/stuck: still there: finalizers example.com/never" in said
    assert FINISH in said
    assert kube.list(*leftovers.WEBHOOK) == []
    assert kube.find(RBAC, "ClusterRole", "a") is None
    remove = [{"op": "remove", "path": "/metadata/finalizers"}]
    kube.patch("v1", "Pod", "stuck", "made", remove, how="json")
    kube.delete("v1", "Pod", "stuck", "made", grace=0)
    take_away(kube)
    assert leftovers.made_by(kube, "run-1").refs == ()


def test_a_refused_deletion_keeps_nothing_else(kube: Kube, plane: ControlPlane, tmp_path: Path) -> None:
    kube.create(made("ConfigMap", "a", namespace="default"))
    kube.create(made("ClusterRole", "a", RBAC, rules=[]))
    kube.create(made("Namespace", "made"))
    rules = [
        READS,
        {
            "apiGroups": [RBAC_GROUP, ""],
            "resources": ["clusterroles", "namespaces"],
            "verbs": ["delete"],
        },
    ]
    with pytest.raises(ClusterError) as caught:
        take_away(user(kube, plane, tmp_path, "keeper", rules))
    said = str(caught.value)
    assert "1 objects: ConfigMap default/a" in said
    assert "DELETE /api/v1/namespaces/default/configmaps/a: 403 Forbidden" in said
    take_away(kube)


def test_what_a_later_istio_makes_in_every_namespace_goes(kube: Kube) -> None:
    kube.create(made("ConfigMap", "a", namespace="default"))
    theirs = made("ConfigMap", "istio-ca-root-cert", namespace="kube-public")
    for place in ("default", "kube-system"):
        kube.create(unlabelled(made("ConfigMap", "istio-ca-root-cert", namespace=place)))
    since = kube.get("v1", "ConfigMap", "istio-ca-root-cert", "default")["metadata"]["creationTimestamp"]
    take_away(kube, installed=release("1.31.0"), since="9999-01-01T00:00:00Z")
    assert kube.find("v1", "ConfigMap", "istio-ca-root-cert", "default"), "older than the run"
    kube.create(theirs)
    take_away(kube, installed=release("1.31.0"), since=since)
    assert kube.list("v1", "ConfigMap", fields="metadata.name=istio-ca-root-cert") == []


def test_what_istio_has_made_is_finished_though_nothing_labelled_is_left(kube: Kube) -> None:
    name = release("1.0.5").validation_webhook
    kube.create(guard(name, {}, ["shop.example"], ["teas"]))
    take_away(kube, installed=release("1.0.5"))
    assert kube.find(*leftovers.WEBHOOK, name) is None


def take_away(
    kube: Kube,
    *,
    installed: Release | None = None,
    since: str = LONG_AGO,
    timeouts: Timeouts | None = None,
    progress: Silent | None = None,
) -> None:
    leftovers.remove(
        kube, "run-1", installed, since=since,
        timeouts=timeouts or Timeouts(namespace_gone=30), progress=progress or Silent(), finish=FINISH,
    )  # fmt: skip


def user(kube: Kube, plane: ControlPlane, folder: Path, name: str, rules: list[Object]) -> Kube:
    """Return a client of a user who may do only this."""
    kube.create(unlabelled(made("ServiceAccount", name, namespace="default")))
    kube.create(unlabelled(made("ClusterRole", name, RBAC, rules=rules)))
    role = {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    kube.create(unlabelled(made("ClusterRoleBinding", name, RBAC, roleRef=role, subjects=[subject])))
    path = f"/api/v1/namespaces/default/serviceaccounts/{name}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    given = yaml.safe_load(plane.kubeconfig.read_text())
    given["users"][0]["user"] = {"token": kube.json("POST", path, body=request)["status"]["token"]}
    file = folder / "config"
    file.write_text(yaml.safe_dump(given))
    return Kube.connect(file)


def refused(ask: Any) -> str | None:  # noqa: ANN401  # anything that can be called
    try:
        ask()
    except KubeError as error:
        return str(error)
    return None


def create_soon(kube: Kube, obj: Object) -> None:
    """Create an object, as soon as what it needs is there."""
    assert until(lambda: refused(lambda: kube.create(obj)), lambda now: not now, timeout=30) is None


def made(
    kind: str,
    name: str,
    api_version: str = "v1",
    *,
    namespace: str | None = None,
    **more: Any,  # noqa: ANN401  # any JSON value
) -> Object:
    """Return an object with the run's label."""
    place = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": {**LABELS}, **place},
        **more,
    }


def unlabelled(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "labels": {}}}


def tea(version: str, name: str) -> Object:
    return unlabelled(made("Tea", name, f"shop.example/{version}", namespace="default"))


def deployment(name: str) -> Object:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "none"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    return made("Deployment", name, "apps/v1", namespace="default", spec=spec)


def guard(name: str, labels: dict[str, str], groups: list[str], resources: list[str]) -> Object:
    """Return a webhook that nobody answers, so that it refuses deletions."""
    rule = {"apiGroups": groups, "apiVersions": ["*"], "operations": ["DELETE"], "resources": resources}
    webhook = {
        "name": "guard.pytest-istio.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": {"service": {"name": "gone", "namespace": "default"}},
        "rules": [rule],
    }
    return {
        "apiVersion": leftovers.WEBHOOK[0],
        "kind": leftovers.WEBHOOK[1],
        "metadata": {"name": name, "labels": labels},
        "webhooks": [webhook],
    }
