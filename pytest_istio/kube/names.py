"""What the API server takes as the names of an object, of its kind and of its namespace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_istio.kube.objects import Object

__all__ = ["misnamed"]

API_VERSION = re.compile(r"([a-z0-9][-a-z0-9.]*/)?[a-z0-9][-a-z0-9]*")
KIND = re.compile(r"[A-Za-z][-A-Za-z0-9]*")
# RFC 1123, what the API server demands of a namespace's name.
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# What every kind's name keeps to, since it is a part of a path; most kinds allow less, roles all of this but
# braces, which only a template that was not rendered has.
NAME = re.compile(r"(?!\.\.?$)[^\s\x00-\x1f\x7f/%{}\ud800-\udfff]+")


def misnamed(obj: Object) -> str | None:
    """Return what is wrong with an object's apiVersion, kind, namespace or name; None if nothing is.

    Args:
        obj: An object whose four are text, the namespace perhaps missing.
    """
    metadata = obj["metadata"]
    named = (
        ("apiVersion", obj["apiVersion"], API_VERSION),
        ("kind", obj["kind"], KIND),
        ("metadata.namespace", metadata.get("namespace") or "default", NAMESPACE),
        ("metadata.name", metadata["name"], NAME),
    )
    for field, text, pattern in named:
        if not pattern.fullmatch(text):
            hint = "; is this a template that was not rendered?" if "{{" in text else ""
            return f"{field} {text!r} is none that Kubernetes takes{hint}"
    return None
