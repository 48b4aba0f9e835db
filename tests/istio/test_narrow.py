"""Webhooks are kept to a run's namespaces where others have some that they would select."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.istio import install, sources
from pytest_istio.istio.narrow import narrow, selected
from pytest_istio.settings import Settings
from tests.istio.fake import NOWHERE, Object, obj

if TYPE_CHECKING:
    from pytest_istio.kube.client import Kube

LABELS = {"pytest-istio.dev/run": "run-1"}
ENABLED = {"istio-injection": "enabled"}
IN: Object = {"key": "istio-injection", "operator": "In", "values": ["enabled"]}
EXISTS: Object = {"key": "istio.io/rev", "operator": "Exists"}
UNLABELLED: Object = {"key": "istio-injection", "operator": "DoesNotExist"}
NOT_DISABLED: Object = {"key": "istio-injection", "operator": "NotIn", "values": ["disabled"]}
OPTS_IN: Object = {"matchLabels": {"sidecar.istio.io/inject": "true"}}
NOT_OUT: Object = {
    "matchExpressions": [{"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}]
}
NAMESPACES = [
    obj("Namespace", "plain", namespace=None),
    obj("Namespace", "shop", namespace=None, metadata={"labels": ENABLED}),
    obj("Namespace", "revised", namespace=None, metadata={"labels": {"istio.io/rev": "default"}}),
    obj("Namespace", "off", namespace=None, metadata={"labels": {"istio-injection": "disabled"}}),
]


def configuration(*hooks: Any, kind: str = "MutatingWebhookConfiguration") -> Object:  # noqa: ANN401  # any JSON value
    found = obj(kind, "injector", "admissionregistration.k8s.io/v1", None)
    return {**found, "webhooks": list(hooks)}


def hook(*expressions: Object, pods: Object | None = None, **selector: Any) -> Object:  # noqa: ANN401  # any JSON value
    selector = {**selector, **({"matchExpressions": list(expressions)} if expressions else {})}
    return {"name": "a", "namespaceSelector": selector, **({"objectSelector": pods} if pods else {})}


@pytest.mark.parametrize(
    ("given", "names"),
    [(hook(matchLabels=ENABLED), ["shop"]),
     (hook(IN, pods=NOT_OUT), ["shop"]),
     (hook(EXISTS), ["revised"]),
     (hook(IN, EXISTS), []),
     (hook(NOT_DISABLED), ["plain", "shop", "revised"]),
     (hook(UNLABELLED, pods=OPTS_IN), []),
     ({"name": "all"}, ["plain", "shop", "revised", "off"]),
     (hook({"key": "a"}), []),
     ("no webhook", [])],
)  # fmt: skip
def test_those_are_selected_whose_pods_ask_for_nothing_themselves(given: Any, names: list[str]) -> None:  # noqa: ANN401
    assert [*selected([configuration(given)], NAMESPACES)] == names
    assert selected([configuration(given, kind="ValidatingWebhookConfiguration")], NAMESPACES) == ()


def test_the_runs_label_is_demanded_in_addition() -> None:
    other = obj("ConfigMap", "a")
    given = configuration(hook(IN), hook(matchLabels=ENABLED), hook(UNLABELLED, pods=OPTS_IN))
    before = copy.deepcopy(given)
    (kept, same), (told,) = narrow([given, other], ["shop"], LABELS)
    assert given == before
    assert same is other
    assert kept["webhooks"] == [
        hook(IN, matchLabels=LABELS),
        hook(matchLabels={**ENABLED, **LABELS}),
        hook(UNLABELLED, pods=OPTS_IN),
    ]
    assert selected([kept], NAMESPACES) == ()
    assert f"{told.ref}: {told.change}" == (
        "MutatingWebhookConfiguration injector: kept to namespaces labelled pytest-istio.dev/run=run-1; "
        "it would select shop"
    )


def test_nothing_is_changed_where_nobody_else_is_selected() -> None:
    given = configuration(hook(IN))
    assert narrow([given], [], LABELS) == ((given,), ())


def test_processes_that_attach_see_what_was_applied(kube: Kube) -> None:
    settings = Settings(istio_version="1.0.5")
    state = {
        "run": "run-1",
        "preflight": asdict(replace(NOWHERE, others=("shop",))),
        "troubles": [],
        "restarts": {},
    }
    mesh = install.attach(kube, settings, sources.manifests(settings), state)
    (injector,) = [each for each in mesh.objects if each["kind"] == "MutatingWebhookConfiguration"]
    wanted = {**ENABLED, "pytest-istio.dev/run": "run-1"}
    assert [each["namespaceSelector"]["matchLabels"] for each in injector["webhooks"]] == [wanted]
    assert "it would select shop" in mesh.adaptations[-1].change
