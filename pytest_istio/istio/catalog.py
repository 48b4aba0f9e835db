"""What is known of each release of Istio, as data: one YAML file a minor version in ``catalog/``.

The files hold exactly the fields of the classes below, under the same names; ``{version}`` inside a text
stands for the release, such as ``1.0.5``. Supporting another minor version is adding a file.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pytest_istio.errors import UnknownVersionError

__all__ = [
    "AdaptationSpec",
    "BookinfoSpec",
    "Component",
    "Endpoint",
    "GatewaySpec",
    "InjectorSpec",
    "PortSpec",
    "Release",
    "ServiceSpec",
    "SidecarSpec",
    "minors",
    "release",
]

FOLDER = Path(__file__).resolve().parent / "catalog"
T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """Something that a pod of the control plane answers over HTTP.

    Attributes:
        port: The port.
        path: An absolute path.
        way: How it is asked: through the ``service``, through the ``pod`` where the Service leaves the port
            out, or by ``exec`` of discovery's own client where only that is trusted.
    """

    port: int
    path: str
    way: str = "service"


@dataclass(frozen=True)
class Component:
    """A Deployment of the control plane or of a gateway.

    Attributes:
        name: The Deployment's name.
        containers: How many containers each of its pods declares.
        images: Their images, in order.
        ready: What says whether it is ready; None where the release has nothing of the kind.
        version: What says which release it is.
        sync: What says which proxies have taken which configuration.
        needs: Components without which it cannot become available.
        definitions: Definitions of the manifests without which it cannot.
        optional: Whether an installation without it is complete, too.
    """

    name: str
    containers: int
    images: tuple[str, ...]
    ready: Endpoint | None = None
    version: Endpoint | None = None
    sync: Endpoint | None = None
    needs: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class PortSpec:
    """A port of a Service; `name` and `node_port` are None where the release sets none."""

    port: int
    name: str | None = None
    node_port: int | None = None


@dataclass(frozen=True)
class ServiceSpec:
    """A Service of the control plane and its ports, in order."""

    name: str
    ports: tuple[PortSpec, ...]


@dataclass(frozen=True)
class GatewaySpec:
    """The ingress gateway: its Service and Deployment, and the names of its ports for HTTP and HTTPS."""

    service: str
    deployment: str
    http: str
    https: str


@dataclass(frozen=True)
class SidecarSpec:
    """What injection adds to a pod."""

    container: str
    init_container: str
    image: str
    init_image: str
    status_annotation: str


@dataclass(frozen=True)
class InjectorSpec:
    """The webhook that injects sidecars: its MutatingWebhookConfiguration, Service and Deployment."""

    webhook: str
    service: str
    deployment: str


@dataclass(frozen=True)
class BookinfoSpec:
    """The sample application as this release ships it; `images` by Deployment."""

    services: tuple[str, ...]
    deployments: tuple[str, ...]
    images: dict[str, str]


@dataclass(frozen=True)
class AdaptationSpec:
    """What the release needs where an API that its programs call is not served; see `istio.adapt`.

    Attributes:
        how: What is done: ``argument``, ``create``, ``redirect rules``, ``register``, ``setting``, ``trust``.
        kubernetes: The first Kubernetes minor version without the API.
        unserved: The API: its version and kind, such as ``extensions/v1beta1 Ingress``.
        kind: The kind of object that is adapted.
        name: Its name; None for all of the kind.
        value: With what, by `how`.
        why: What would happen otherwise.
        source: Where the release says so.
    """

    how: str
    kubernetes: str
    unserved: str
    kind: str
    name: str | None
    value: dict[str, Any]
    why: str
    source: str

    @property
    def unserved_kind(self) -> tuple[str, str]:
        """The API as a pair of version and kind."""
        version, kind = self.unserved.split()
        return version, kind


@dataclass(frozen=True)
class Release:
    """What is expected of one release of Istio.

    Attributes:
        version: Such as ``1.0.5``.
        kubernetes: The oldest and newest Kubernetes minor version that take the release as it was shipped.
        adapted: The newest Kubernetes minor version that worked with migrated and adapted manifests; None if
            none did.
        adaptations: What newer Kubernetes versions need besides migrated manifests.
        components: The Deployments.
        successors: Which component does the work of one that earlier releases had.
        jobs: The Jobs.
        crds: The custom resource definitions of the manifests.
        runtime_crds: Those that the control plane itself creates, where it can.
        control_plane_services: The Services.
        gateway: The ingress gateway.
        sidecar: What injection adds.
        injector: Who injects.
        validation_webhook: The ValidatingWebhookConfiguration.
        authority_secret: The Secret in which the control plane keeps its certificate authority, if it does.
        workload_secret: The Secret that it makes for every service account, if it does: ``istio.{account}``.
        namespace_config_maps: The ConfigMaps that it makes in every namespace.
        gateway_classes: The GatewayClasses that it makes where the cluster has the Gateway API.
        bookinfo: The sample application.
    """

    version: str
    kubernetes: tuple[str, str]
    adapted: str | None
    adaptations: tuple[AdaptationSpec, ...]
    components: tuple[Component, ...]
    successors: dict[str, str]
    jobs: tuple[str, ...]
    crds: tuple[str, ...]
    runtime_crds: tuple[str, ...]
    control_plane_services: tuple[ServiceSpec, ...]
    gateway: GatewaySpec
    sidecar: SidecarSpec
    injector: InjectorSpec
    validation_webhook: str
    authority_secret: str | None
    workload_secret: str | None
    namespace_config_maps: tuple[str, ...]
    gateway_classes: tuple[str, ...]
    bookinfo: BookinfoSpec

    @property
    def discovery_service(self) -> str:
        """The Service, and the Deployment, that configures the proxies."""
        return next(component.name for component in self.components if component.sync is not None)

    def component(self, name: str) -> Component:
        """Return the component of that name; KeyError if there is none."""
        return {component.name: component for component in self.components}[name]


def minors() -> tuple[str, ...]:
    """Return the minor versions that the catalogue knows, oldest first."""
    return tuple(sorted((path.stem for path in FOLDER.glob("*.yaml")), key=_numbers))


@cache
def release(version: str) -> Release:
    """Return what is expected of a release of Istio; any patch of a known minor version is one.

    Raises:
        UnknownVersionError: The text is no version, or its minor version is not in the catalogue.
    """
    known = minors()
    match = re.fullmatch(r"(\d{1,4}\.\d{1,4})\.\d{1,4}(?:[-.][\w.-]+)?", version)
    if match is None:
        raise UnknownVersionError(
            f"Istio version {version!r}: expected three numbers such as {known[-1]}.5. "
            f"Known minor versions: {', '.join(known)}."
        )
    minor = match.group(1)
    if minor not in known:
        nearest = min(known, key=lambda each: abs(_rank(each) - _rank(minor)))
        raise UnknownVersionError(
            f"Istio version {version}: the catalogue has no minor version {minor}; the nearest is {nearest}. "
            f"Known minor versions: {', '.join(known)}."
        )
    text = (FOLDER / f"{minor}.yaml").read_text(encoding="utf-8").replace("{version}", version)
    data = yaml.load(text, Loader=yaml.CSafeLoader)  # the safe loader, in C
    return _made(Release, {**data, "version": version}, minor)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _rank(minor: str) -> int:
    """Return a number by which minor versions are near or far; another major version is far."""
    major, number = _numbers(minor)
    return 1000 * major + number


def _made(kind: type[T], data: dict[str, Any], where: str) -> T:
    """Make a dataclass of a mapping with exactly its fields."""
    hints = typing.get_type_hints(kind)
    if surplus := data.keys() - hints.keys():
        raise ValueError(f"catalogue {where}: {kind.__name__} has no field {sorted(surplus)}")
    values = {name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401  # a type and a JSON value
    """Turn a JSON value into what a field's type wants."""
    if isinstance(hint, types.UnionType):
        return None if value is None else _value(typing.get_args(hint)[0], value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _made(hint, value, where)
    if typing.get_origin(hint) is tuple:
        element = typing.get_args(hint)[0]
        return tuple(_value(element, each, f"{where}[{index}]") for index, each in enumerate(value))
    expected = typing.get_origin(hint) or hint
    if not isinstance(value, expected):
        raise TypeError(f"catalogue {where}: expected {hint}, saw {value!r}")
    return value
