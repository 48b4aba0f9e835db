"""Applying to a real API server, and taking away again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.kube.apply import Applied, apply, delete
from pytest_istio.kube.errors import (
    ForbiddenError,
    KindNotServedError,
    KubeError,
    NotFoundError,
    UnreachableError,
)
from pytest_istio.kube.manifests import load
from pytest_istio.kube.migrate import migrate
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError
from pytest_istio.timeouts import Timeouts
from tests.istio.reference import reference
from tests.kube.told import Told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_istio.kube.client import Kube

Object = dict[str, Any]


def applied(kube: Kube, *objects: Object) -> Applied:
    return apply(
        kube, objects, manager="test", labels={"owner": "test"}, timeouts=Timeouts(), progress=Told()
    )


def deleted(kube: Kube, refs: Iterable[Ref], timeouts: Timeouts | None = None) -> None:
    delete(kube, refs, timeouts=timeouts or Timeouts(), progress=Told())


def config_map(namespace: str | None, name: str, **data: str) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_the_official_render_is_accepted_in_one_go_and_a_second_time_changes_nothing(kube: Kube) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}
    given = [namespace, *load(reference("default.yaml")).objects]
    objects = migrate(given, kube.served()).objects
    first = applied(kube, *objects)
    assert (len(first.created), first.changed, first.unchanged) == (134, (), ())
    try:
        webhook = kube.get(
            "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "istio-sidecar-injector"
        )
        # The injector fills in its certificate authority when it runs.
        body = {"webhooks": [{"name": webhook["webhooks"][0]["name"], "clientConfig": {"caBundle": "Zm9v"}}]}
        webhook_ref = Ref.of(webhook)
        kube.patch(webhook_ref.api_version, webhook_ref.kind, webhook_ref.name, None, body, how="strategic")
        assert applied(kube, *objects) == Applied((), (), first.created)
        webhook = kube.get(webhook_ref.api_version, webhook_ref.kind, webhook_ref.name)
        assert webhook["webhooks"][0]["clientConfig"]["caBundle"] == "Zm9v"
        assert kube.get("v1", "Namespace", "istio-system")["metadata"]["labels"]["owner"] == "test"
    finally:
        deleted(kube, first.created)
    assert kube.find("v1", "Namespace", "istio-system") is None


def test_it_is_told_what_was_created_changed_and_left_alone(kube: Kube, namespace: str) -> None:
    a, b = config_map(namespace, "a", x="1"), config_map(namespace, "b")
    assert applied(kube, a) == Applied((Ref.of(a),), (), ())
    again = applied(kube, b, config_map(namespace, "a", x="2"))
    assert again == Applied((Ref.of(b),), (Ref.of(a),), ())
    assert applied(kube, a | {"data": {"x": "2"}}, b).unchanged == (Ref.of(a), Ref.of(b))


def test_empty_labels_are_no_change_each_time(kube: Kube, namespace: str) -> None:
    obj = config_map(namespace, "a")
    obj["metadata"] |= {"labels": {}, "annotations": None}

    def once() -> Applied:
        return apply(kube, [obj], manager="test", labels={}, timeouts=Timeouts(), progress=Told())

    assert once().created
    assert once().unchanged


def test_an_object_without_namespace_goes_to_default(kube: Kube) -> None:
    found = applied(kube, config_map(None, "homeless"))
    assert found.created == (Ref("v1", "ConfigMap", "default", "homeless"),)
    deleted(kube, found.created)


def test_an_object_that_is_being_deleted_is_made_anew(kube: Kube, namespace: str) -> None:
    obj = config_map(namespace, "a")
    obj["metadata"]["finalizers"] = ["example.com/later"]
    first = kube.create(obj)
    kube.delete("v1", "ConfigMap", "a", namespace)
    told = Told()
    remove = [{"op": "remove", "path": "/metadata/finalizers"}]

    class Impatient(Told):
        def waiting(self, what: str) -> None:
            super().waiting(what)
            if "to be gone" in what and len(told.texts) == 0:
                told.waiting(what)
                kube.patch("v1", "ConfigMap", "a", namespace, remove, how="json")

    apply(
        kube,
        [config_map(namespace, "a", new="yes")],
        manager="test",
        labels={},
        timeouts=Timeouts(),
        progress=Impatient(),
    )
    second = kube.get("v1", "ConfigMap", "a", namespace)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert second["data"] == {"new": "yes"}
    assert "finalizers example.com/later" in told.texts[0] or "1 ConfigMap to be gone: a" in told.texts[0]


def test_what_is_refused_is_named_and_not_tried_for_ever(kube: Kube, namespace: str) -> None:
    with pytest.raises(KubeError, match=r"^PATCH .*/configmaps/Not%20A%20Name: 422 Invalid: "):
        applied(kube, config_map(namespace, "Not A Name"))
    with pytest.raises(NotFoundError, match='namespaces "nowhere" not found'):
        applied(kube, config_map("nowhere", "a"))
    with pytest.raises(KindNotServedError, match=r"no kind Thing in example\.com/v1"):
        applied(kube, {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}})


def test_a_node_port_that_is_still_held_is_waited_for(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def service(name: str) -> Object:
        spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 32001}]}
        metadata = {"name": name, "namespace": namespace}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    refused = Event()
    plain = kube.apply

    def telling(obj: Object, *, manager: str) -> Object:
        try:
            return plain(obj, manager=manager)
        except KubeError:
            refused.set()
            raise

    kube.apply(service("first"), manager="test")
    monkeypatch.setattr(kube, "apply", telling)
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(applied, kube, service("second"))
        assert refused.wait(60)
        kube.delete("v1", "Service", "first", namespace)
        assert applying.result().created == (Ref("v1", "Service", namespace, "second"),)


def test_nothing_arrives_any_more_once_it_was_broken_off(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = kube.apply
    under_way, never = Event(), Event()
    sent = []

    def slow(obj: Object, *, manager: str) -> Object:
        name = obj["metadata"]["name"]
        if name == "broken":
            assert under_way.wait(60)
            raise KeyboardInterrupt
        sent.append(name)
        under_way.set()
        never.wait(0.5)
        return plain(obj, manager=manager)

    monkeypatch.setattr(kube, "apply", slow)
    given = [config_map(namespace, name) for name in ("broken", *(f"other-{n}" for n in range(200)))]
    with pytest.raises(KeyboardInterrupt):
        applied(kube, *given)
    found = kube.list("v1", "ConfigMap", namespace, labels="owner=test")
    assert {each["metadata"]["name"] for each in found} == set(sent)
    assert 0 < len(sent) < 200


def test_deleting_what_is_not_there_is_fine(kube: Kube, namespace: str) -> None:
    deleted(
        kube,
        [
            Ref("v1", "ConfigMap", namespace, "none"),
            Ref("v1", "ConfigMap", "nowhere", "none"),
            Ref("example.com/v1", "Thing", namespace, "none"),
        ],
    )


def test_what_cannot_be_deleted_is_named_with_what_keeps_it(kube: Kube, namespace: str) -> None:
    obj = config_map(namespace, "kept")
    obj["metadata"]["finalizers"] = ["example.com/never"]
    kube.create(obj)
    with pytest.raises(NotReadyError) as caught:
        deleted(kube, [Ref.of(obj), Ref("v1", "ConfigMap", namespace, "other")], Timeouts(namespace_gone=0.5))
    (trouble,) = caught.value.troubles
    assert str(trouble) == f"ConfigMap {namespace}/kept: StillThere: finalizers example.com/never"
    remove = [{"op": "remove", "path": "/metadata/finalizers"}]
    kube.patch("v1", "ConfigMap", "kept", namespace, remove, how="json")


def test_a_refused_deletion_keeps_no_other_from_being_carried_out(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [config_map(namespace, "guarded"), config_map(namespace, "other")]
    for each in given:
        kube.create(each)
    plain = kube.delete

    def guarded(api_version: str, kind: str, name: str, *where: str | None) -> None:
        if name == "guarded":
            raise ForbiddenError("DELETE guarded: 403", status=403)
        plain(api_version, kind, name, *where)

    refs = [*map(Ref.of, given), Ref("v1", "Namespace", None, namespace)]
    monkeypatch.setattr(kube, "delete", guarded)
    with pytest.raises(KubeError, match="DELETE guarded: 403") as caught:
        deleted(kube, refs)
    assert caught.value.status == 403
    assert kube.find("v1", "Namespace", namespace) is None


def test_where_nobody_answers_nothing_more_is_deleted(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def silent(_api_version: str, kind: str, *_: object) -> None:
        asked.append(kind)
        raise UnreachableError("no answer")

    monkeypatch.setattr(kube, "delete", silent)
    with pytest.raises(UnreachableError):
        deleted(kube, [Ref("v1", "ConfigMap", namespace, "a"), Ref("v1", "Namespace", None, namespace)])
    assert asked == ["ConfigMap"]
