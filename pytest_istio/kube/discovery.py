"""Which kinds an API server has, and under which path."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_istio.errors import ManifestError
from pytest_istio.kube.api_server import decoded
from pytest_istio.kube.errors import KindNotServedError, KubeError
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_istio.kube.connection import Connection
    from pytest_istio.kube.objects import Object

__all__ = ["Discovery", "Resource", "defined_among", "defined_by"]

# One answer for all groups, since Kubernetes 1.26; older servers give the plain list instead.
AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"
    "application/json"
)


@dataclass(frozen=True)
class Resource:
    """A kind as the API server has it.

    Attributes:
        plural: The name in paths, such as ``deployments``.
        namespaced: Whether its objects live in namespaces.
        api_version: Such as ``apps/v1``.
        kind: Such as ``Deployment``.
    """

    plural: str
    namespaced: bool
    api_version: str
    kind: str

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of one object, or without `name` of the collection.

        Without `namespace` the collection is that of all namespaces. The namespace of what belongs to the
        whole cluster is ignored, as the API server ignores it in manifests.
        """
        prefix = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace and self.namespaced else ""
        one = f"/{quote(name, safe='')}" if name else ""
        return f"{prefix}{place}/{self.plural}{one}"


def defined_by(crd: Object) -> list[Resource]:
    """Return the kinds that a CustomResourceDefinition of either version defines and serves.

    Raises:
        ManifestError: It is none.
    """
    try:
        spec = crd["spec"]
        group, kind, plural = spec["group"], spec["names"]["kind"], spec["names"]["plural"]
        namespaced = spec.get("scope", "Namespaced") == "Namespaced"
        versions = spec.get("versions") or [{"name": spec["version"]}]
        served = [version["name"] for version in versions if version.get("served", True)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{Ref.of(crd)}: its shape is not that of a CustomResourceDefinition: "
            f"{type(error).__name__}: {error}."
        ) from error
    return [Resource(str(plural), namespaced, f"{group}/{version}", str(kind)) for version in served]


def defined_among(objects: Iterable[Object]) -> dict[tuple[str, str], Resource]:
    """Return the kinds that the CustomResourceDefinitions among the objects define, by API version and kind.

    Raises:
        ManifestError: One of them is none.
    """
    crds = (obj for obj in objects if obj["kind"] == "CustomResourceDefinition")
    return {(found.api_version, found.kind): found for crd in crds for found in defined_by(crd)}


class Discovery:
    """The kinds of one API server, asked for once and again when one is missing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = Lock()
        self._resources: dict[tuple[str, str], Resource] = {}
        self._learned: dict[tuple[str, str], Resource] = {}

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return how the kind is reached.

        Raises:
            KindNotServedError: The server has no such kind in that version.
        """
        found = self._known(api_version, kind)
        if found is None:
            self.refresh()
            found = self._known(api_version, kind)
        if found is None:
            others = sorted(version for version, other in self._resources if other == kind)
            known = f"it has it in {', '.join(others)}." if others else "is its CRD missing?"
            raise KindNotServedError(
                f"The API server has no kind {kind} in {api_version}; {known} See `kubectl api-resources`.",
                path=f"{api_version} {kind}",
            )
        return found

    def served(self) -> frozenset[tuple[str, str]]:
        """Return what the server has now, as pairs of API version and kind."""
        self.refresh()
        return frozenset(self._resources)

    def learn(self, crd: Object) -> None:
        """Take in the kinds of a CustomResourceDefinition, before the server's own list shows them."""
        for resource in defined_by(crd):
            self._learned[resource.api_version, resource.kind] = resource

    def refresh(self) -> None:
        """Ask the server again."""
        with self._lock:
            found = [*self._resources_below("/api"), *self._resources_below("/apis")]
            self._resources = {(resource.api_version, resource.kind): resource for resource in found}

    def _known(self, api_version: str, kind: str) -> Resource | None:
        key = api_version, kind
        return self._resources.get(key) or self._learned.get(key)

    def _resources_below(self, root: str) -> Iterator[Resource]:
        answer = self._get(root, {"Accept": AGGREGATED})
        if answer["kind"] == "APIGroupDiscoveryList":
            yield from _aggregated(answer)
            return
        if root == "/api":
            versions = answer["versions"]
        else:
            versions = [item["groupVersion"] for group in answer["groups"] for item in group["versions"]]
        for version in versions:
            yield from self._resources_of(root, version)

    def _resources_of(self, root: str, version: str) -> Iterator[Resource]:
        try:
            answer = self._get(f"{root}/{version}", {})
        except KubeError as error:
            # Just deleted, or served by a program of its own that is down; the others are there.
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE}:
                return
            raise
        for item in answer["resources"]:
            if "/" not in item["name"]:
                yield Resource(item["name"], item["namespaced"], version, item["kind"])

    def _get(self, path: str, headers: dict[str, str]) -> Object:
        text = self._connection.request("GET", path, headers=headers)
        return decoded(self._connection.server, f"GET {path}", text)


def _aggregated(answer: Object) -> Iterator[Resource]:
    for group in answer["items"]:
        name = group["metadata"].get("name", "")
        for version in group["versions"]:
            api_version = f"{name}/{version['version']}" if name else version["version"]
            for item in version.get("resources", []):
                kind = (item.get("responseKind") or {}).get("kind", "")
                yield Resource(item["resource"], item["scope"] == "Namespaced", api_version, kind)
