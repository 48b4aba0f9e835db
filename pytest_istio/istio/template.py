"""A part of Go's text/template, enough for the injection templates that Istio's charts carry.

What is understood: actions between configurable delimiters with trim markers and comments; fields,
variables, parentheses, literals and pipelines; ``if``/``else if``/``else``, ``range``, ``with``;
Go's own functions for comparison, logic, ``index``, ``len``, ``print`` and ``printf``; and whatever functions
the caller adds. What is not (``define``, ``template``, ``block``, ``break``, ``continue``, methods) is an
error that names the line, never a silently different text.

A template comes out of a cluster's ConfigMap, so its work is bounded: steps, nesting and the length of every
text. Reference: https://pkg.go.dev/text/template
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.istio.template_syntax import (
    Assign,
    Call,
    Expression,
    Literal,
    Node,
    Output,
    Path,
    TemplateError,
    parse,
)
from pytest_istio.istio.template_values import BUILTINS, TemplateValueError, field, text_of, truth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_istio.istio.template_syntax import Branch

__all__ = ["TemplateError", "render"]

MAX_STEPS = 100_000
MAX_TEXT = 1 << 20


def render(
    text: str,
    data: object,
    functions: Mapping[str, Callable[..., object]],
    *,
    left: str = "{{",
    right: str = "}}",
) -> str:
    """Return the text that the template `text` makes of `data`.

    Args:
        text: The template.
        data: What ``.`` is at first: mappings, sequences, texts, numbers and truth values.
        functions: Functions beside Go's own, by name. They raise `ValueError` on bad arguments.
        left: The left delimiter.
        right: The right delimiter.

    Raises:
        TemplateError: The template is malformed, uses what is not understood, or exceeds the bounds.
    """
    return _Run(data, {**BUILTINS, **functions}).text(parse(text, left, right))


class _Run:
    """One evaluation: its variables, what it has written, and what it may still do."""

    def __init__(self, data: object, functions: Mapping[str, Callable[..., object]]) -> None:
        self.functions = functions
        self.scopes: list[dict[str, object]] = [{"$": data}]
        self.written: list[str] = []
        self.length = 0
        self.steps = 0
        self.line = 1

    def text(self, nodes: Sequence[Node]) -> str:
        try:
            self._run(nodes, self.scopes[0]["$"])
        except (TemplateValueError, ValueError) as error:
            raise TemplateError(f"template line {self.line}: {error}") from error
        return "".join(self.written)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TemplateValueError(f"the template takes more than {MAX_STEPS} steps")

    def _write(self, text: str) -> None:
        self.length += len(text)
        if self.length > MAX_TEXT:
            raise TemplateValueError(f"the template's text exceeds {MAX_TEXT} characters")
        self.written.append(text)

    def _run(self, nodes: Sequence[Node], dot: object) -> None:
        for node in nodes:
            self._step()
            if isinstance(node, str):
                self._write(node)
                continue
            self.line = node.line
            value = self._value(node.expression, dot)
            if isinstance(node, Output):
                self._write(text_of(value))
            elif isinstance(node, Assign):
                self._assign(node, value)
            else:
                self._branch(node, value, dot)

    def _assign(self, node: Assign, value: object) -> None:
        if node.declares:
            self.scopes[-1][node.name] = value
        else:
            self._scope_of(node.name)[node.name] = value

    def _scope_of(self, name: str) -> dict[str, object]:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope
        raise TemplateValueError(f"undefined variable {name!r}")

    def _branch(self, node: Branch, value: object, dot: object) -> None:
        single: list[tuple[object, object]] = [(None, value)] if truth(value) else []
        turns = _turns(value) if node.kind == "range" else single
        for key, element in turns:
            names = dict(zip(reversed(node.names), (element, key), strict=False))
            self.scopes.append(names)
            self._run(node.body, dot if node.kind == "if" else element)
            self.scopes.pop()
        if not turns:
            self.scopes.append(dict.fromkeys(node.names, value))
            self._run(node.otherwise, dot)
            self.scopes.pop()

    def _value(self, expression: Expression, dot: object) -> object:
        self._step()
        if isinstance(expression, Literal):
            return expression.value
        if isinstance(expression, Path):
            return self._path(expression, dot)
        if expression.name in ("and", "or"):
            return self._logic(expression, dot)
        function = self.functions.get(expression.name)
        if function is None:
            raise TemplateValueError(f"function {expression.name!r} is not defined")
        arguments = [self._value(argument, dot) for argument in expression.arguments]
        try:
            result = function(*arguments)
        except TypeError as error:
            raise TemplateValueError(f"{expression.name}: {error}") from error
        if isinstance(result, str) and len(result) > MAX_TEXT:
            raise TemplateValueError(f"{expression.name} makes a text of more than {MAX_TEXT} characters")
        return result

    def _path(self, path: Path, dot: object) -> object:
        value: Any
        if isinstance(path.base, str):
            value = dot if path.base == "." else self._scope_of(path.base)[path.base]
        else:
            value = self._value(path.base, dot)
        for name in path.names:
            value = field(value, name)
        return value

    def _logic(self, call: Call, dot: object) -> object:
        """Evaluate ``and`` or ``or``, stopping at the first argument that decides, as Go does since 1.18."""
        value: object = None
        for argument in call.arguments:
            value = self._value(argument, dot)
            if truth(value) == (call.name == "or"):
                break
        return value


def _turns(value: object) -> list[tuple[object, object]]:
    """Return what ``range`` goes through: Go visits a map in the order of its keys."""
    if value is None:
        return []
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    raise TemplateValueError(f"range can't iterate over {text_of(value)!r}")
