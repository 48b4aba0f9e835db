"""YAML as kubectl takes it, from anybody.

The C loader is fast and runs no code, but a small text can grow without bound when its aliases are followed,
and deep nesting overflows the stack. So the events of a text are counted first, which needs no memory, and
only then are values made of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import yaml

from pytest_istio.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["documents"]

MAX_VALUES = 1_000_000
"""Scalars, lists and mappings of one text, aliases followed; Istio 1.0.5 has 10,000."""

CHARACTERS_OF_VALUE = 100
"""A scalar counts once more for each so many characters, since it is written out wherever an alias is."""

MAX_DEPTH = 100
"""Lists and mappings inside one another, aliases followed; the deepest of Istio's are below 20."""

MAX_DIRECTIVES = 1_000
"""Lines such as ``%YAML 1.1`` in one text; the parser's time grows with their square."""

PREFIX = "tag:yaml.org,2002:"

# A plain scalar that matches is not text; the first that matches counts. Dates and numbers of base 60 of
# YAML 1.1 are left out, since kubectl takes them for text, and so should ``12:30:45`` be.
PLAIN = {
    "bool": "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
    "int": "[-+]?(?:0b[01_]+|0[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "null": "~|null|Null|NULL|",
    "merge": "<<",
}


TAGS = frozenset({"bool", "float", "int", "map", "null", "seq", "str"})


class _Loader(yaml.CSafeLoader):
    """Makes JSON values of YAML, and remembers keys that were there twice."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012 - inherited
        None: [(PREFIX + name, re.compile(f"(?:{pattern})$")) for name, pattern in PLAIN.items()]
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[tuple[str, int]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # The tag !!map may stand before anything.
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "a mapping was expected", node.start_mark)
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{PREFIX}merge":
                if key.value in keys:
                    self.twice.append((key.value, key.start_mark.line + 1))
                keys.add(key.value)
        found = super().construct_mapping(node, deep)
        return {_as_text(key, node): value for key, value in found.items()}


def documents(text: str, origin: str, warnings: list[str]) -> Iterator[tuple[object, str]]:
    """Give each document of a text as JSON values, with the place where it starts.

    Args:
        text: Any number of YAML documents.
        origin: What to call the text in messages.
        warnings: Takes what is odd and accepted.

    Raises:
        ManifestError: The text is not YAML, or more of it than anybody writes by hand or program.
    """
    try:
        if text.count("\n%") > MAX_DIRECTIVES:
            msg = f"{origin}: more than {MAX_DIRECTIVES:,} directives; no manifest needs that."
            raise ManifestError(msg)
        meter = _Meter(origin)
        meter.measure(text)
        loader = _Loader(text)
        try:
            while loader.check_node():
                node = cast("yaml.Node", loader.get_node())
                where = f"{origin}:{node.start_mark.line + 1}"
                document = _constructed(loader, node, where)
                yield _copied(document) if meter.has_aliases else document, where
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _not_yaml(error, text, origin) from error
    warnings += [
        f"{origin}:{line}: key {key!r} is there twice; the last one counts." for key, line in loader.twice
    ]


def _constructed(loader: _Loader, node: yaml.Node, where: str) -> object:
    try:
        return loader.construct_document(node)
    except (ValueError, LookupError) as error:
        # Such as a number of more digits than Python reads, or the tag !!bool on something else.
        msg = f"{where}: a value does not fit its type: {error}."
        raise ManifestError(msg) from error


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    anchor: str | None
    start: int
    height: int = 0


class _Meter:
    """Counts what a text comes to when its aliases are followed: how many values, and how deeply nested."""

    def __init__(self, origin: str) -> None:
        self.has_aliases = False
        self._origin = origin
        self._values = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[int, int]] = {}

    def measure(self, text: str) -> None:
        """Go through a text.

        Raises:
            ManifestError: It comes to too much, or refers to what is not there.
        """
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            where = f"{self._origin}:{event.start_mark.line + 1 if event.start_mark else 1}"
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event.anchor or "", where)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._start(event, where)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end(where)
            elif isinstance(event, yaml.ScalarEvent):
                _check_tag(event.tag, where)
                values = 1 + len(event.value) // CHARACTERS_OF_VALUE
                if event.anchor:
                    self._anchors[event.anchor] = values, 0
                self._add(values, 0, where)

    def _alias(self, anchor: str, where: str) -> None:
        self.has_aliases = True
        if anchor not in self._anchors:
            msg = f"{where}: alias *{anchor} stands for nothing, or for what it is in."
            raise ManifestError(msg)
        self._add(*self._anchors[anchor], where)

    def _start(self, event: yaml.CollectionStartEvent, where: str) -> None:
        _check_tag(event.tag, where)
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        self._add(1, 0, where)
        self._open.append(_Open(event.anchor, self._values - 1))

    def _end(self, where: str) -> None:
        done = self._open.pop()
        if done.anchor:
            self._anchors[done.anchor] = self._values - done.start, done.height
        self._add(0, done.height, where)

    def _add(self, values: int, height: int, where: str) -> None:
        self._values += values
        if self._open:
            parent = self._open[-1]
            parent.height = max(parent.height, height + 1)
        if self._values > MAX_VALUES or len(self._open) + height > MAX_DEPTH:
            msg = (
                f"{where}: more than {MAX_VALUES:,} values or {MAX_DEPTH} levels of nesting, "
                "aliases followed; no manifest needs that."
            )
            raise ManifestError(msg)


def _check_tag(tag: str | None, where: str) -> None:
    if tag is not None and tag != "!" and tag.removeprefix(PREFIX) not in TAGS:
        msg = f"{where}: the tag {tag} makes something that JSON does not have."
        raise ManifestError(msg)


def _as_text(key: object, node: yaml.Node) -> str:
    """Return the key as JSON has it: text, whatever it looked like in YAML."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, int | float):
        return str(key)
    raise yaml.constructor.ConstructorError(None, None, "a key must be text", node.start_mark)


def _copied(value: object) -> object:
    """Return the value without parts that are the same object in several places."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _not_yaml(error: yaml.YAMLError, text: str, origin: str) -> ManifestError:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line, problem = error.problem_mark.line + 1, error.problem
    elif isinstance(error, yaml.reader.ReaderError):
        line, problem = text.count("\n", 0, error.position) + 1, error.reason
    else:
        line, problem = 1, " ".join(str(error).split())
    return ManifestError(f"{origin}:{line}: not YAML: {problem}.")
