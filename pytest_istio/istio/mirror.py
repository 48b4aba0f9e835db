"""Taking images from a registry of one's own: names rewritten as the user maps them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_istio.kube.objects import Object

__all__ = ["mirrored", "mirrored_image"]

DEFAULT_REGISTRY = "docker.io"
"""Where container runtimes look for an image whose name has no registry."""
Registries = tuple[tuple[str, str], ...]


def mirrored_image(image: str, registries: Registries) -> str:
    """Return the name under which an image is to be pulled; the longest prefix that fits counts.

    Args:
        image: Such as ``docker.io/istio/pilot:1.0.5``, or ``istio/pilot:1.0.5``, which means the same.
        registries: Pairs of a prefix, of whole parts of a name, and what takes its place.
    """
    host, slash, _ = image.partition("/")
    has_host = bool(slash) and (re.search(r"[.:]", host) is not None or host == "localhost")
    full = image if has_host else f"{DEFAULT_REGISTRY}/{image}"
    for prefix, place in sorted(registries, key=lambda each: -len(each[0])):
        if full.startswith(f"{prefix}/"):
            return f"{place}{full[len(prefix) :]}"
    return image


def mirrored(objects: Iterable[Object], registries: Registries) -> tuple[Object, ...]:
    """Return the objects with the images of all containers taken from a mirror.

    In texts, such as the template of the injection, full names are rewritten where they stand alone.
    """
    return tuple(_mapped(each, registries) for each in objects) if registries else tuple(objects)


def _mapped(value: Any, registries: Registries) -> Any:  # noqa: ANN401  (a JSON value)
    if isinstance(value, dict):
        return {
            key: mirrored_image(each, registries)
            if key == "image" and isinstance(each, str)
            else _mapped(each, registries)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_mapped(each, registries) for each in value]
    return _in_text(value, registries) if isinstance(value, str) and "\n" in value else value


def _in_text(text: str, registries: Registries) -> str:
    prefixes = "|".join(re.escape(prefix) for prefix, _ in sorted(registries, key=lambda each: -len(each[0])))
    places = dict(registries)
    return re.sub(rf"(?<![\w./-])({prefixes})(?=/)", lambda found: places[found[1]], text)
