"""Whether an object is shaped as its kind wants it, as far as this program looks into it."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import yaml

from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_istio.kube.objects import Object

__all__ = ["called", "misshapen"]

STEP = re.compile(r"\.?(\w+)|(\[\])|(\{\})")


def misshapen(obj: Object) -> str | None:
    """Return what is wrong with an object, such as ``spec must be an object, it is text``."""
    ref = Ref.of(obj)
    for path, expected in _shapes().get((ref.group, ref.kind), {}).items():
        for place, value in _values(obj, "", path.rstrip("?")):
            if not (value is None and path.endswith("?")) and called(value) != expected:
                return f"{place} must be {expected}, it is {called(value)}"
    return None


def called(value: object) -> str:
    """Return what a JSON value is, in words."""
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "missing",
    }
    return names.get(type(value)) or f"a {type(value).__name__}"


def _values(value: object, place: str, path: str) -> Iterator[tuple[str, object]]:
    """Give each value at a path, with its place; none below what is missing."""
    step = STEP.match(path)
    if step is None:
        yield place, value
        return
    name, rest = step[1], path[step.end() :]
    if isinstance(value, dict) and name:
        yield from _values(value.get(name), f"{place}.{name}".lstrip("."), rest)
    elif isinstance(value, list) and step[2]:
        for index, item in enumerate(value):
            yield from _values(item, f"{place}[{index}]", rest)
    elif isinstance(value, dict) and step[3]:
        for key, item in value.items():
            yield from _values(item, f"{place}.{key}", rest)


@cache
def _shapes() -> Mapping[tuple[str, str], Mapping[str, str]]:
    text = resources.files(__package__).joinpath("shapes.yaml").read_text(encoding="utf-8")
    return {
        (group, kind): shape["fields"]
        for shape in yaml.load(text, Loader=yaml.CSafeLoader)
        for group in shape["groups"]
        for kind in shape["kinds"]
    }
