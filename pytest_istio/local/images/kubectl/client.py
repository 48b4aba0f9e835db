"""The API server as kubectl asks it: for kinds by any of their names, and for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_istio.local.images.cluster_api import ClusterApi

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_istio.local.images.cluster_api import Object

__all__ = ["TABLE", "Client", "Resource", "UnknownResourceError"]

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_DISCOVERY = "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"


class UnknownResourceError(Exception):
    """The server has no resource of a name."""


class Resource(NamedTuple):
    """A kind of objects that the server has.

    Attributes:
        group: The API group; empty for the core one.
        version: The preferred version.
        kind: Such as ``Secret``.
        plural: As in paths, such as ``secrets``.
        names: The other names that kubectl takes.
        namespaced: Whether its objects are in namespaces.
    """

    group: str
    version: str
    kind: str
    plural: str
    names: frozenset[str]
    namespaced: bool

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the path of a collection or an object; no namespace means all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{inside}/{self.plural}" + (f"/{name}" if name else "")

    def __str__(self) -> str:
        singular = self.kind.lower()
        return f"{singular}.{self.group}" if self.group else singular


class Client(ClusterApi):
    """Also asks for other representations than objects."""

    def __init__(self) -> None:
        """Find the API server as `ClusterApi` does."""
        super().__init__()
        self._representation = ""

    def _headers(self, accept: str) -> dict[str, str]:
        return super()._headers(self._representation or accept)

    def get(self, path: str, representation: str = "", query: Mapping[str, str] | None = None) -> Object:
        """Return what the server has at a path.

        Args:
            path: An API path.
            representation: Such as `TABLE`; empty for objects.
            query: Query parameters.

        Raises:
            ApiError: The server refused.
        """
        self._representation = representation
        try:
            return self.request("GET", path, query=query)
        finally:
            self._representation = ""

    def resource(self, word: str) -> Resource:
        """Return the resource of a name: plural, singular, short, or plural and group.

        Raises:
            UnknownResourceError: There is none.
        """
        wanted = word.lower()
        for resource in self._resources():
            if wanted in {resource.plural, f"{resource.plural}.{resource.group}", *resource.names}:
                return resource
        raise UnknownResourceError(f'the server doesn\'t have a resource type "{word}"')

    def resource_of(self, api_version: str, kind: str) -> Resource:
        """Return the resource of an object.

        Raises:
            UnknownResourceError: There is none.
        """
        group, _, version = api_version.rpartition("/")
        for resource in self._resources():
            if (resource.group, resource.version, resource.kind) == (group, version, kind):
                return resource
        raise UnknownResourceError(f'no matches for kind "{kind}" in version "{api_version}"')

    def _resources(self) -> Iterator[Resource]:
        """Yield what the server has, the core group first, each group's preferred version first."""
        for root in ("/api", "/apis"):
            for group in self.get(root, _DISCOVERY)["items"]:
                for version in group["versions"]:
                    for resource in version.get("resources") or []:
                        yield _resource(group["metadata"].get("name", ""), version["version"], resource)


def _resource(group: str, version: str, discovered: Object) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=discovered["responseKind"]["kind"],
        plural=discovered["resource"],
        names=frozenset([discovered.get("singularResource", ""), *discovered.get("shortNames", [])]),
        namespaced=discovered["scope"] == "Namespaced",
    )
