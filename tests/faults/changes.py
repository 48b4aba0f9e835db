"""Changing objects as the data says: values by path, texts, whole objects."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_istio.kube.objects import Object

__all__ = ["changed", "changed_all", "is_meant"]


def is_meant(obj: Object, name: str) -> bool:
    """Return whether an object is the one called ``Service istio-pilot`` or ``rule istio-system/stdio``."""
    metadata = obj["metadata"]
    names = (metadata["name"], f"{metadata.get('namespace', 'default')}/{metadata['name']}")
    return name in [f"{obj['kind']} {each}" for each in names]


def changed(obj: Object, change: dict[str, Any]) -> Object:
    """Return an object with the values of ``set`` (None removes) and the texts of ``replace`` changed."""
    new = copy.deepcopy(obj)
    for path, value in change.get("set", {}).items():
        _put(new, path, value)
    for path, (old, text) in change.get("replace", {}).items():
        *parents, last = path.strip("/").split("/")
        holder = _walk(new, parents)
        assert old in holder[last], f"{path} does not hold {old!r}"
        holder[last] = holder[last].replace(old, text)
    assert new != obj, f"the change of {change['object']} changes nothing"
    return new


def changed_all(objects: Iterable[Object], changes: list[dict[str, Any]]) -> list[Object]:
    """Return manifests with all changes made.

    Raises:
        LookupError: A change is about an object that is not there.
    """
    result = list(objects)
    for change in changes:
        if "create" in change:
            result.append(change["create"])
            continue
        found = [obj for obj in result if is_meant(obj, change["object"])]
        if len(found) != 1:
            raise LookupError(f"{len(found)} objects are {change['object']}")
        at = result.index(found[0])
        result[at : at + 1] = [] if change.get("delete") else [changed(found[0], change)]
    return result


def _walk(value: Any, keys: list[str]) -> Any:  # noqa: ANN401  # JSON values
    for key in keys:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def _put(obj: Object, path: str, value: Any) -> None:  # noqa: ANN401  # a JSON value
    *parents, last = path.strip("/").replace("~1", "~").split("/")
    holder, key = _walk(obj, parents), last.replace("~", "/")
    if isinstance(holder, list):
        if key == "-":
            holder.append(value)
        else:
            holder[int(key) : int(key) + 1] = [] if value is None else [value]
    elif value is None:
        del holder[key]
    else:
        holder[key] = value
