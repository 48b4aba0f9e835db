"""What Go's text/template does with values: truth, printing, comparing, fields, and its own functions."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BUILTINS", "Struct", "TemplateValueError", "field", "json_text", "text_of", "truth"]


class TemplateValueError(Exception):
    """A value does not fit what the template does with it; the template adds the line."""


class Struct(dict[str, object]):
    """A mapping with a fixed set of fields, as a Go struct: asking it for another one is an error."""


def truth(value: object) -> bool:
    """Return whether Go takes the value for true: neither zero nor empty nor nil."""
    return isinstance(value, Struct) or bool(value)


def text_of(value: object) -> str:
    """Return a value as Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        inner = " ".join(f"{key}:{text_of(element)}" for key, element in sorted(value.items()))
        return f"map[{inner}]"
    if isinstance(value, list):
        return f"[{' '.join(text_of(element) for element in value)}]"
    return str(value)


def field(value: object, name: str) -> object:
    """Return a field of a struct, or the value under a key of a map."""
    if isinstance(value, Struct) and name not in value:
        raise TemplateValueError(f"there is no field {name!r} among {', '.join(sorted(value))}")
    if isinstance(value, dict):
        return value.get(name)
    if name == "String":
        # An enumeration of the mesh configuration is a text here; in Go it is a number with this method.
        return text_of(value)
    raise TemplateValueError(f"{text_of(value)!r} has no field {name!r}")


def json_text(value: object) -> str:
    """Return a value as Go's encoder writes it: compact, keys sorted, safe inside HTML."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _index(collection: object, *keys: object) -> object:
    for key in keys:
        if collection is None or isinstance(collection, dict):
            # The maps of a pod's metadata hold texts, and the zero value of a text is the empty one.
            collection = (collection or {}).get(str(key), "")
        elif isinstance(collection, list) and isinstance(key, int):
            if not 0 <= key < len(collection):
                raise TemplateValueError(f"index {key} is out of range of {len(collection)} elements")
            collection = collection[key]
        else:
            raise TemplateValueError(f"can't index {text_of(collection)!r} with {text_of(key)!r}")
    return collection


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (dict, list)):
        return len(value)
    raise TemplateValueError(f"{text_of(value)!r} has no length")


def _printf(form: str, *arguments: object) -> str:
    remaining = list(arguments)

    def verb(match: re.Match[str]) -> str:
        letter = match.group(1)
        if letter == "%":
            return "%"
        if letter not in tuple("svdqt"):
            raise TemplateValueError(f"printf: {match.group(0)!r} is not understood here")
        if not remaining:
            raise TemplateValueError(f"printf: no argument for {match.group(0)!r} of {form!r}")
        text = text_of(remaining.pop(0))
        return json.dumps(text, ensure_ascii=False) if letter == "q" else text

    return re.sub(r"%(.?)", verb, form)


def _alike(first: object, second: object) -> tuple[object, object]:
    """Return both values if Go compares values of such types."""
    kinds = [_kind(value) for value in (first, second)]
    if kinds[0] != kinds[1] and None not in (first, second):
        raise TemplateValueError(
            f"incompatible types for comparison: {text_of(first)!r} ({kinds[0]}) and "
            f"{text_of(second)!r} ({kinds[1]})"
        )
    return first, second


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise TemplateValueError("eq needs two arguments")
    return any(left == right for left, right in (_alike(first, other) for other in others))


def _less(first: object, second: object) -> bool:
    _alike(first, second)
    if isinstance(first, (int, float)) and isinstance(second, (int, float)) and not isinstance(first, bool):
        return first < second
    if isinstance(first, str) and isinstance(second, str):
        return first < second
    raise TemplateValueError(f"{text_of(first)!r} and {text_of(second)!r} have no order")


BUILTINS: Mapping[str, Callable[..., object]] = {
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": _less,
    "le": lambda first, second: not _less(second, first),
    "gt": lambda first, second: _less(second, first),
    "ge": lambda first, second: not _less(first, second),
    "not": lambda value: not truth(value),
    "index": _index,
    "len": _length,
    "print": lambda *values: "".join(text_of(value) for value in values),
    "printf": _printf,
}
"""Go's own functions, but for ``and`` and ``or``, which do not evaluate all of their arguments."""
