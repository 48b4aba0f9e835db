"""Adapting a release to an API server that has left behind an API which the release's programs call.

Migrating the manifests does not help there: the programs themselves ask for what is gone. What each then
needs is data, the ``adaptations`` of the catalogue. Nothing is changed where the API is still served, or
where the manifests are already so.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from pytest_istio.errors import ManifestError
from pytest_istio.kube.manifests import parse
from pytest_istio.kube.migrate import migrate
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pytest_istio.istio.catalog import AdaptationSpec, Release
    from pytest_istio.kube.objects import Object

__all__ = ["Adaptation", "Adapted", "Registration", "adapt"]


@dataclass(frozen=True)
class Adaptation:
    """What is done to one object beyond migrating it.

    Attributes:
        ref: The object.
        change: What is done, in words.
        why: What would happen otherwise.
        kubernetes: The first Kubernetes minor version that needs it.
        source: Where the fact comes from.
    """

    ref: Ref
    change: str
    why: str
    kubernetes: str
    source: str


@dataclass(frozen=True)
class Registration:
    """Webhooks that are registered in their server's stead, once it runs.

    Attributes:
        webhooks: Their configuration without a certificate authority, or as much of it as finds them where
            the manifests hold it.
        secret: The Secret with the certificate of their server and of its authority.
    """

    webhooks: Object
    secret: str

    @property
    def service(self) -> str:
        """The Service through which the API server calls them."""
        return str(self.webhooks["webhooks"][0]["clientConfig"]["service"]["name"])


@dataclass(frozen=True)
class Adapted:
    """Objects with which a release runs on an API server.

    Attributes:
        objects: In the order in which they were given, those that were added at the end.
        adaptations: What is done, in the order of the catalogue.
        registrations: What of it can only be done while the control plane starts.
    """

    objects: tuple[Object, ...]
    adaptations: tuple[Adaptation, ...]
    registrations: tuple[Registration, ...]


def adapt(
    objects: Iterable[Object], release: Release, served: Collection[tuple[str, str]], namespace: str
) -> Adapted:
    """Return the objects with what the release needs on this API server; what was passed in is left alone.

    Args:
        objects: The migrated manifests.
        release: What is installed.
        served: Pairs of API version and kind that the server has.
        namespace: The namespace of the control plane.

    Raises:
        ManifestError: The webhooks that are to be registered cannot be read.
    """
    adapting = _Adapting(list(objects), release, served, namespace)
    adaptations = [
        Adaptation(ref, change, spec.why, spec.kubernetes, spec.source)
        for spec in release.adaptations
        if spec.unserved_kind not in served
        for ref, change in adapting.how(spec)
    ]
    return Adapted(tuple(adapting.objects), tuple(adaptations), tuple(adapting.registrations))


class _Adapting:
    """The objects while they are adapted; each step is a ``how`` of the catalogue and tells what it did."""

    def __init__(
        self, objects: list[Object], release: Release, served: Collection[tuple[str, str]], namespace: str
    ) -> None:
        self.objects = objects
        self.registrations: list[Registration] = []
        self._release = release
        self._served = served
        self._namespace = namespace

    def how(self, spec: AdaptationSpec) -> Iterator[tuple[Ref, str]]:
        """Adapt as the catalogue says."""
        steps = {
            "argument": self._argument,
            "create": self._create,
            "redirect rules": self._redirect_rules,
            "register": self._register,
            "setting": self._setting,
            "trust": self._trust,
        }
        step = steps[spec.how]
        # An object of another shape is for the API server to refuse.
        with suppress(LookupError, TypeError, AttributeError):
            yield from step(spec)

    def _argument(self, spec: AdaptationSpec) -> Iterator[tuple[Ref, str]]:
        """Give a container one more argument."""
        for obj in self._named(spec):
            new = copy.deepcopy(obj)
            for container in new["spec"]["template"]["spec"]["containers"]:
                given = [*(container.get("command") or []), *(container.get("args") or [])]
                if container["name"] == spec.value["container"] and spec.value["argument"] not in given:
                    container["args"] = [*(container.get("args") or []), spec.value["argument"]]
                    yield self._changed(obj, new), f"argument {spec.value['argument']}"

    def _create(self, spec: AdaptationSpec) -> Iterator[tuple[Ref, str]]:
        """Add an object."""
        if not self._named(spec):
            metadata = {"name": spec.name}
            self.objects.append({"kind": spec.kind, "metadata": metadata, **copy.deepcopy(spec.value)})
            yield Ref.of(self.objects[-1]), "added"

    def _setting(self, spec: AdaptationSpec) -> Iterator[tuple[Ref, str]]:
        """Make one setting in the YAML of a ConfigMap; what is no YAML is left for the checks to judge."""
        key, setting, value = (spec.value[part] for part in ("key", "setting", "value"))
        for obj in self._named(spec):
            try:
                settings = yaml.safe_load((obj.get("data") or {}).get(key, ""))
            except (yaml.YAMLError, ValueError):
                continue
            if isinstance(settings, dict) and settings.get(setting) != value:
                text = yaml.safe_dump({**settings, setting: value}, sort_keys=False, allow_unicode=True)
                new = {**obj, "data": {**obj["data"], key: text}}
                yield self._changed(obj, new), f'{setting}: "{value}" in its key {key}'

    def _redirect_rules(self, spec: AdaptationSpec) -> Iterator[tuple[Ref, str]]:
        """Have the rules that use an adapter use another one, and never match: Mixer makes what rules use."""
        for obj in [each for each in self.objects if each["kind"] == spec.kind]:
            if spec.value["adapter"] in _adapters(obj):
                new = {**obj, "spec": {**obj["spec"], **copy.deepcopy(spec.value["spec"])}}
                yield self._changed(obj, new), f"turned off, so that it uses {spec.value['adapter']} no more"

    def _trust(self, spec: AdaptationSpec) -> Iterator[tuple[Ref, str]]:
        """Have the certificate authority of webhooks filled in."""
        for obj in self._named(spec):
            if not all(each["clientConfig"].get("caBundle") for each in obj.get("webhooks") or []):
                # Nothing but this, so that what the manifests say stays the manifests'.
                hooks = [{key: each[key] for key in ("name", "clientConfig")} for each in obj["webhooks"]]
                metadata = {"name": obj["metadata"]["name"]}
                partly = {**obj, "metadata": metadata, "webhooks": hooks}
                yield from self._registered(partly, spec, "caBundle set by this run")

    def _register(self, spec: AdaptationSpec) -> Iterator[tuple[Ref, str]]:
        """Have webhooks registered that a ConfigMap holds."""
        if self._named(spec):
            return
        for config_map in self._of("ConfigMap", spec.value["config_map"]):
            origin = f"{Ref.of(config_map)}, key {spec.value['key']}"
            given, _ = parse((config_map.get("data") or {}).get(spec.value["key"], ""), origin=origin)
            try:
                (webhooks,) = migrate(given, self._served).objects
                change = f"registered by this run, from ConfigMap {config_map['metadata']['name']}"
                yield from self._registered(webhooks, spec, change)
            except (KeyError, TypeError, IndexError, ValueError) as error:
                raise ManifestError(f"{origin}: holds no {spec.kind}: {error!r}.") from error

    def _registered(self, webhooks: Object, spec: AdaptationSpec, change: str) -> Iterator[tuple[Ref, str]]:
        secret = (self._release.workload_secret or "{account}").replace("{account}", spec.value["account"])
        registration = Registration(webhooks, secret)
        # Asked for, as webhooks without a Service show only then.
        _ = registration.service
        self.registrations.append(registration)
        yield Ref.of(webhooks), change

    def _named(self, spec: AdaptationSpec) -> list[Object]:
        return self._of(spec.kind, spec.name)

    def _of(self, kind: str, name: str | None) -> list[Object]:
        return [
            each
            for each in self.objects
            if (each["kind"], each["metadata"]["name"]) == (kind, name)
            and each["metadata"].get("namespace") in (None, self._namespace)
        ]

    def _changed(self, old: Object, new: Object) -> Ref:
        self.objects[next(at for at, each in enumerate(self.objects) if each is old)] = new
        return Ref.of(new)


def _adapters(rule: Object) -> set[str]:
    """Return the adapters that a rule uses; none for one of another shape, which is for Galley to judge."""
    try:
        handlers = [str(action["handler"]).split(".") for action in rule["spec"]["actions"]]
    except (KeyError, TypeError):
        return set()
    # Such as `handler.kubernetesenv`, before the namespace if there is one.
    return {parts[1] for parts in handlers if len(parts) > 1}
