"""Kubernetes objects as plain JSON, and naming them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering
from typing import Any

__all__ = ["Body", "Object", "Ref"]

Object = dict[str, Any]
"""A Kubernetes object as the API server speaks it: JSON values only."""

Body = Object | list[Object] | bytes
"""What a request carries: a JSON value, or bytes that are sent as they are."""


@total_ordering
@dataclass(frozen=True)
class Ref:
    """Names one object of a cluster.

    Attributes:
        api_version: Such as ``v1`` or ``apps/v1``.
        kind: Such as ``Deployment``.
        namespace: None for what belongs to the whole cluster.
        name: The object's own name.
    """

    api_version: str
    kind: str
    namespace: str | None
    name: str

    @classmethod
    def of(cls, obj: Object) -> Ref:
        """Return the reference to `obj`, which must have apiVersion, kind and a name."""
        metadata = obj["metadata"]
        return cls(obj["apiVersion"], obj["kind"], metadata.get("namespace"), metadata["name"])

    @property
    def group(self) -> str:
        """The API group; ``""`` for the core group."""
        group, slash, _ = self.api_version.rpartition("/")
        return group if slash else ""

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name}"

    def __lt__(self, other: Ref) -> bool:
        # None, as the namespace of a cluster-scoped object, cannot be compared with text.
        return self._key < other._key

    @property
    def _key(self) -> tuple[str, str, str, str]:
        return self.api_version, self.kind, self.namespace or "", self.name
