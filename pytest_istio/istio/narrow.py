"""Keeping an Istio's webhooks to the namespaces of a run, on a cluster where others have namespaces, too.

A label that asks for sidecars survives the Istio that it was meant for. Under the run's injector the pods of
such a namespace would be refused until it answers, and keep sidecars whose control plane goes with the run.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_istio.istio.adapt import Adaptation
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.selectors import demands, selects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_istio.kube.objects import Object

__all__ = ["narrow", "selected"]

KIND = "MutatingWebhookConfiguration"
NAMED = 3
WHY = (
    "pods of others would be refused until the injector answers, and get sidecars whose control plane goes "
    "with the run"
)
SOURCE = 'Kubernetes, "Dynamic Admission Control": namespaceSelector, failurePolicy'


def selected(objects: Iterable[Object], namespaces: Iterable[Object]) -> tuple[str, ...]:
    """Return the names of those namespaces for whose pods the objects' mutating webhooks would be called.

    Webhooks that are called only for pods with a label of their own are left out: such a label is a wish.

    Args:
        objects: What is to be installed.
        namespaces: Those that are there.
    """
    hooks = [hook for each in objects if each["kind"] == KIND for hook in _taking_namespaces(each)]
    labels = {each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in namespaces}
    return tuple(
        name
        for name, found in labels.items()
        if any(selects(hook.get("namespaceSelector"), found) for hook in hooks)
    )


def narrow(
    objects: Sequence[Object], others: Sequence[str], labels: Mapping[str, str]
) -> tuple[tuple[Object, ...], tuple[Adaptation, ...]]:
    """Return the objects, with their webhooks kept to namespaces of certain labels, and what was done.

    Args:
        objects: What is to be installed; what was passed in is left alone.
        others: What `selected` returned; where it is empty nothing is done.
        labels: Those of the namespaces that a run makes.
    """
    if not others:
        return tuple(objects), ()
    wanted = ", ".join(f"{key}={value}" for key, value in labels.items())
    named = f"{', '.join(others[:NAMED])}{', …' if others[NAMED:] else ''}"
    change = f"kept to namespaces labelled {wanted}; it would select {named}"
    kept: list[Object] = []
    adaptations = []
    for each in objects:
        hooks = _taking_namespaces(each) if each["kind"] == KIND else []
        if hooks:
            new = [_kept_to(hook, labels) if hook in hooks else hook for hook in each["webhooks"]]
            kept.append({**each, "webhooks": new})
            adaptations.append(Adaptation(Ref.of(each), change, WHY, kubernetes="", source=SOURCE))
        else:
            kept.append(each)
    return tuple(kept), tuple(adaptations)


def _taking_namespaces(configuration: Object) -> list[Object]:
    """Return the webhooks that are called for pods which ask for nothing themselves."""
    # An object of another shape is for the API server to refuse.
    with suppress(LookupError, TypeError, AttributeError):
        hooks = [each for each in configuration["webhooks"] if not demands(each.get("objectSelector"))]
        for each in hooks:
            selects(each.get("namespaceSelector"), {})
        return hooks
    return []


def _kept_to(hook: Object, labels: Mapping[str, str]) -> Object:
    selector = hook.get("namespaceSelector") or {}
    return {
        **hook,
        "namespaceSelector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **labels}},
    }
