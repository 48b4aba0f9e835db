"""Rewriting objects from API versions that a server no longer has to those that it has.

The rules are data (``migrations.yaml``); what cannot be said by moving and filling fields is a small function
in `migrate_steps`. Each rewrite says what it did, so that a report can list it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from pytest_istio.errors import ManifestError
from pytest_istio.kube import migrate_steps
from pytest_istio.kube.discovery import defined_among
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pytest_istio.kube.objects import Object

__all__ = ["Migrated", "Rewrite", "migrate"]

CLUSTER_SCOPED = frozenset(
    {
        "APIService",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "PriorityClass",
        "StorageClass",
        "ValidatingWebhookConfiguration",
    }
)
"""Kinds of the rules' whose objects are in no namespace, whatever their manifests say."""


@dataclass(frozen=True)
class Rewrite:
    """What was done to one object.

    Attributes:
        ref: The object as it was given.
        to: Its new API version.
        changes: What changed besides the API version, in words.
    """

    ref: Ref
    to: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Unserved:
    """An object of a kind that a server has in no version, and why that is so."""

    ref: Ref
    why: str


@dataclass(frozen=True)
class Migrated:
    """Objects that a server takes.

    Attributes:
        objects: In the order in which they were given.
        rewrites: Those that had to be changed.
        unserved: Those that the server does not take; they are not among the others.
    """

    objects: tuple[Object, ...]
    rewrites: tuple[Rewrite, ...]
    unserved: tuple[Unserved, ...]


@dataclass(frozen=True)
class _Rule:
    to: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    remove: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()


def migrate(objects: Iterable[Object], served: Collection[tuple[str, str]]) -> Migrated:
    """Rewrite the objects whose API version is not served; leave the others and what was passed in alone.

    A ``spec`` that is null is dropped, as kubectl does.

    Args:
        objects: Objects as written down.
        served: Pairs of API version and kind that the server has; the kinds of the CRDs among `objects`
            are counted in.

    Raises:
        ManifestError: An object has not the shape of its kind, or two become the same.
    """
    given = list(objects)
    available = {*served, *defined_among(given)}
    migrated: dict[Ref, Object] = {}
    rewrites: list[Rewrite] = []
    unserved: list[Unserved] = []
    for original in given:
        obj = {key: value for key, value in original.items() if key != "spec" or value is not None}
        kind = obj["apiVersion"], obj["kind"]
        if kind not in available:
            rule = _rules().get(kind)
            if rule is None or (rule.to, obj["kind"]) not in available:
                unserved.append(_unserved(Ref.of(obj), rule))
                continue
            obj, rewrite = _rewritten(obj, rule)
            rewrites.append(rewrite)
        ref = Ref.of(obj)
        if ref in migrated:
            msg = f"{ref}: is there twice, under {original['apiVersion']} and another API version."
            raise ManifestError(msg)
        migrated[ref] = obj
    return Migrated(tuple(migrated.values()), tuple(rewrites), tuple(unserved))


def _unserved(ref: Ref, rule: _Rule | None) -> Unserved:
    missing = f"and neither is {rule.to}" if rule else "and nothing is known to take its place"
    return Unserved(
        ref,
        f"{ref}: {ref.api_version} is not served by this cluster, {missing}. "
        "Is a CustomResourceDefinition missing, or the Kubernetes version wrong for these manifests? "
        "See `kubectl api-resources`.",
    )


def _rewritten(original: Object, rule: _Rule) -> tuple[Object, Rewrite]:
    ref = Ref.of(original)
    obj = copy.deepcopy(original)
    obj["apiVersion"] = rule.to
    try:
        changes = tuple(_changes(obj, rule))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ManifestError(
            f"{ref}: cannot be rewritten from {ref.api_version} to {rule.to}, "
            f"since its shape is not that of a {ref.kind}: {type(error).__name__}: {error}."
        ) from error
    return obj, Rewrite(ref, rule.to, changes)


def _changes(obj: Object, rule: _Rule) -> Iterator[str]:
    """Change the object as the rule says, and tell each change."""
    if obj["kind"] in CLUSTER_SCOPED and obj["metadata"].pop("namespace", None) is not None:
        yield "metadata.namespace removed: belongs to the whole cluster"
    if obj.pop("status", None) is not None:
        yield "status removed: written by the server"
    for path, reason in rule.remove.items():
        parent, name = _parent(obj, path)
        if parent.pop(name, None) is not None:
            yield f"{path} removed: {reason}"
    for path, value in rule.defaults.items():
        parent, name = _parent(obj, path)
        if parent.get(name) is None:
            parent[name] = value
            yield f"{path} = {value}, the old default"
    for step in rule.steps:
        yield from getattr(migrate_steps, step)(obj)


def _parent(obj: Object, path: str) -> tuple[Object, str]:
    """Return the object that holds the field at the path, made where it is missing, and the field's name."""
    *above, name = path.split(".")
    for part in above:
        if obj.get(part) is None:
            obj[part] = {}
        obj = obj[part]
    return obj, name


@cache
def _rules() -> dict[tuple[str, str], _Rule]:
    text = resources.files(__package__).joinpath("migrations.yaml").read_text(encoding="utf-8")
    rules: dict[tuple[str, str], _Rule] = {}
    for item in yaml.load(text, Loader=yaml.CSafeLoader):
        kinds, versions = item.pop("kinds"), item.pop("from")
        rule = _Rule(**{**item, "steps": tuple(item.get("steps", ()))})
        rules.update({(version, kind): rule for version in versions for kind in kinds})
    return rules
