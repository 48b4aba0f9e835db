"""What a container is told of its pod, its configuration and its place: environment and file contents."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from pytest_istio.local.node.errors import CannotStartError
from pytest_istio.local.node.quantity import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_istio.local.api import Object
    from pytest_istio.local.node.configuration import Configuration

__all__ = ["declared", "expand", "field_value", "resource_value"]

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by its value and ``$$`` by ``$``; an unknown name stays as it is."""

    def value(match: re.Match[str]) -> str:
        return values.get(match[1], match[0]) if match[1] else "$"

    return _REFERENCE.sub(value, text)


def field_value(pod: Object, path: str) -> str:
    """Return a field of the pod for the downward API.

    Args:
        pod: The pod, with its addresses in its status.
        path: A path that the downward API allows, such as ``metadata.labels['app']``.

    Raises:
        CannotStartError: The path is not one of those.
    """
    if match := _SUBSCRIPT.fullmatch(path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        pairs = pod["metadata"].get(path.partition(".")[2]) or {}
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(pairs.items()))
    if path in {"status.podIPs", "status.hostIPs"}:
        return str(pod["status"][path[7:-1]])
    value: Any = pod
    for key in path.split("."):
        if key not in value:
            raise CannotStartError("CreateContainerConfigError", f"unsupported fieldPath: {path}")
        value = value[key]
    return str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def resource_value(pod: Object, reference: Object, container: str, node: Mapping[str, str]) -> str:
    """Return an amount of a container's resources for the downward API, rounded up to whole units.

    Args:
        pod: The pod.
        reference: The ``resourceFieldRef``.
        container: The container that asks, if the reference names none.
        node: What the node has to give: what a container without a limit may use.
    """
    name = reference.get("containerName", container)
    spec = pod["spec"]
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    resources = next(item.get("resources", {}) for item in containers if item["name"] == name)
    kind, _, resource = reference["resource"].partition(".")
    default = node.get(resource, "0") if kind == "limits" else "0"
    amount = parse_quantity(resources.get(kind, {}).get(resource, default))
    divisor = parse_quantity(reference.get("divisor") or "1") or 1
    return str(math.ceil(amount / divisor))


def declared(
    pod: Object, container: Object, configuration: Configuration, node: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment that a container's spec declares.

    Args:
        pod: The pod, with its addresses in its status.
        container: The container's spec.
        configuration: The cluster's Secrets and ConfigMaps.
        node: What the node has to give.

    Raises:
        CannotStartError: A Secret, a ConfigMap or a key is missing that is not optional.
    """
    values: dict[str, str] = {}
    namespace = pod["metadata"]["namespace"]
    for source in container.get("envFrom", []):
        kind, reference = _source(source, "ConfigMap", "configMapRef", "Secret", "secretRef")
        found = configuration.data(kind, namespace, reference["name"], optional=reference.get("optional"))
        prefix = source.get("prefix", "")
        values |= {prefix + key: value.decode() for key, value in found.items()}
    for entry in container.get("env", []):
        if "valueFrom" not in entry:
            values[entry["name"]] = expand(entry.get("value", ""), values)
            continue
        value = _value(pod, container, entry["valueFrom"], configuration, node)
        if value is not None:
            values[entry["name"]] = value
    return values


def _source(source: Object, first: str, first_key: str, second: str, second_key: str) -> tuple[str, Object]:
    return (first, source[first_key]) if first_key in source else (second, source[second_key])


def _value(
    pod: Object, container: Object, source: Object, configuration: Configuration, node: Mapping[str, str]
) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(pod, source["resourceFieldRef"], container["name"], node)
    kind, reference = _source(source, "ConfigMap", "configMapKeyRef", "Secret", "secretKeyRef")
    namespace, name, key = pod["metadata"]["namespace"], reference["name"], reference["key"]
    optional = reference.get("optional", False)
    found = configuration.data(kind, namespace, name, optional=optional)
    if key not in found and not optional:
        message = f"couldn't find key {key} in {kind} {namespace}/{name}"
        raise CannotStartError("CreateContainerConfigError", message)
    return found[key].decode() if key in found else None
