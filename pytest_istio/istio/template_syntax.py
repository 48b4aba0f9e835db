"""The grammar of the part of Go's text/template that is understood: text in, tree out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_istio.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Assign",
    "Branch",
    "Call",
    "Expression",
    "Literal",
    "Node",
    "Output",
    "Path",
    "TemplateError",
    "parse",
]

MAX_DEPTH = 50

TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
      | (?P<number>[-+]?\d+(?:\.\d+)?)
      | (?P<path>\$\w*(?:\.[A-Za-z_]\w*)* | (?:\.[A-Za-z_]\w*)+ | \.)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<mark>:=|[=|(),])
      | (?P<comment>/\*.*?\*/)
      | (?P<space>\s+)""",
    re.VERBOSE | re.DOTALL,
)
CONSTANTS: dict[str, object] = {"true": True, "false": False, "nil": None}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}


class TemplateError(ManifestError):
    """A template cannot be understood or evaluated; the message names the line."""


@dataclass(frozen=True)
class Token:
    """A piece of an action; `spaced` tells ``(a).b`` from ``(a) .b``."""

    kind: str
    text: str
    spaced: bool


@dataclass(frozen=True)
class Action:
    """What stood between two delimiters."""

    tokens: tuple[Token, ...]
    line: int


@dataclass(frozen=True)
class Literal:
    """A text, number or constant."""

    value: object


@dataclass(frozen=True)
class Path:
    """Fields of a base: ``.`` (base ``"."``), a variable (``"$name"``) or a parenthesised expression."""

    base: str | Expression
    names: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A function and what it is called with; a piped value is its last argument."""

    name: str
    arguments: tuple[Expression, ...]


Expression = Literal | Path | Call


@dataclass(frozen=True)
class Output:
    """An expression whose value is written."""

    expression: Expression
    line: int


@dataclass(frozen=True)
class Assign:
    """A variable that is declared (``:=``) or set (``=``)."""

    name: str
    expression: Expression
    declares: bool
    line: int


@dataclass(frozen=True)
class Branch:
    """An ``if``, ``with`` or ``range``; `names` are the variables that it declares."""

    kind: str
    names: tuple[str, ...]
    expression: Expression
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    line: int


Node = str | Output | Assign | Branch


def parse(text: str, left: str, right: str) -> tuple[Node, ...]:
    """Return the tree of a template.

    Raises:
        TemplateError: The template is malformed, or uses what is not understood.
    """
    return _Parser(list(_split(text, left, right))).parse()


def _split(text: str, left: str, right: str) -> Iterator[str | Action]:
    """Cut a template into texts and actions, with what trim markers remove already removed."""
    position, trim = 0, False
    while True:
        start = text.find(left, position)
        literal = text[position:] if start < 0 else text[position:start]
        literal = literal.lstrip() if trim else literal
        if start < 0:
            yield literal
            return
        line = text.count("\n", 0, start) + 1
        inside = start + len(left)
        if re.match(r"-\s", text[inside : inside + 2]):
            literal, inside = literal.rstrip(), inside + 1
        yield literal
        tokens, position, trim = _tokens(text, inside, right, line)
        if tokens:
            yield Action(tuple(tokens), line)


def _tokens(text: str, position: int, right: str, line: int) -> tuple[list[Token], int, bool]:
    """Return an action's tokens, the position after its right delimiter, and whether that one trims."""
    tokens: list[Token] = []
    closing = re.compile(rf"(\s-)?{re.escape(right)}")
    spaced = True
    while True:
        if end := closing.match(text, position):
            return tokens, end.end(), end.group(1) is not None
        match = TOKEN.match(text, position)
        if match is None:
            seen = text[position : position + 20].split("\n", maxsplit=1)[0]
            raise TemplateError(f"template line {line}: expected {right!r} or an expression, saw {seen!r}")
        kind = str(match.lastgroup)
        # A run of white space may hold the one character that belongs to a trim marker.
        position = match.end() - 1 if kind == "space" and match.end() - position > 1 else match.end()
        if kind not in ("space", "comment"):
            tokens.append(Token(kind, match.group(), spaced))
        spaced = kind in ("space", "comment")


class _Parser:
    """Turns texts and actions into a tree, one action at a time."""

    def __init__(self, pieces: Sequence[str | Action]) -> None:
        self.pieces = pieces
        self.position = 0
        self.depth = 0

    def parse(self) -> tuple[Node, ...]:
        nodes, stop = self._list()
        if stop is not None:
            raise TemplateError(f"template line {stop.line}: {stop.tokens[0].text!r} without a beginning")
        return nodes

    def _list(self) -> tuple[tuple[Node, ...], Action | None]:
        """Parse up to the ``else`` or ``end`` that belongs to somebody further out, and return that too."""
        nodes: list[Node] = []
        while self.position < len(self.pieces):
            piece = self.pieces[self.position]
            self.position += 1
            if isinstance(piece, str):
                nodes.append(piece)
            elif piece.tokens[0].text in ("else", "end"):
                return tuple(nodes), piece
            else:
                nodes.append(self._node(piece, piece.tokens))
        return tuple(nodes), None

    def _node(self, action: Action, tokens: tuple[Token, ...]) -> Node:
        keyword = tokens[0].text
        if keyword in ("if", "with", "range"):
            return self._branch(action, tokens)
        if keyword in ("define", "template", "block", "break", "continue"):
            raise TemplateError(f"template line {action.line}: {keyword!r} is not understood here")
        names, mark, expression = _declaration(tokens, action.line)
        if not names:
            return Output(expression, action.line)
        if len(names) > 1:
            raise TemplateError(f"template line {action.line}: only range may declare two variables")
        return Assign(names[0], expression, mark == ":=", action.line)

    def _branch(self, action: Action, tokens: tuple[Token, ...]) -> Branch:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TemplateError(f"template line {action.line}: nested deeper than {MAX_DEPTH}")
        names, _, expression = _declaration(tokens[1:], action.line)
        body, stop = self._list()
        otherwise: tuple[Node, ...] = ()
        if stop is not None and stop.tokens[0].text == "else":
            if len(stop.tokens) > 1:
                if stop.tokens[1].text not in ("if", "with"):
                    raise TemplateError(
                        f"template line {stop.line}: unexpected {stop.tokens[1].text!r} after else"
                    )
                # The chained branch takes the one "end" that closes the whole chain.
                otherwise, stop = (self._node(stop, stop.tokens[1:]),), Action((), stop.line)
            else:
                otherwise, stop = self._list()
        if stop is None or (stop.tokens and stop.tokens[0].text != "end"):
            raise TemplateError(f"template line {action.line}: {tokens[0].text!r} has no end")
        self.depth -= 1
        return Branch(tokens[0].text, names, expression, body, otherwise, action.line)


def _declaration(tokens: tuple[Token, ...], line: int) -> tuple[tuple[str, ...], str, Expression]:
    """Parse ``$a, $b := pipeline``, ``$a = pipeline`` or ``pipeline``."""
    marks = [
        index for index, token in enumerate(tokens) if token.text in (":=", "=") and token.kind == "mark"
    ]
    if not marks:
        return (), "", _Pipeline(tokens, line).parse()
    head = tokens[: marks[0]]
    names = tuple(token.text for token in head if token.text != ",")
    if not names or not all(re.fullmatch(r"\$\w+", name) for name in names):
        raise TemplateError(f"template line {line}: expected a variable before {tokens[marks[0]].text!r}")
    return names, tokens[marks[0]].text, _Pipeline(tokens[marks[0] + 1 :], line).parse()


class _Pipeline:
    """Parses the tokens of one pipeline."""

    def __init__(self, tokens: Sequence[Token], line: int) -> None:
        self.tokens = tokens
        self.line = line
        self.position = 0
        self.depth = 0

    def parse(self) -> Expression:
        expression = self._pipeline()
        if self.position < len(self.tokens):
            raise self._error(f"unexpected {self.tokens[self.position].text!r}")
        return expression

    def _error(self, what: str) -> TemplateError:
        return TemplateError(f"template line {self.line}: {what}")

    def _next(self) -> Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def _pipeline(self) -> Expression:
        expression = self._command(None)
        while (token := self._next()) and token.text == "|" and token.kind == "mark":
            self.position += 1
            expression = self._command(expression)
        return expression

    def _command(self, piped: Expression | None) -> Expression:
        """Parse one command; the value piped into it becomes its last argument."""
        first = self._next()
        if first is None:
            raise self._error("an expression is missing")
        if first.kind == "word" and first.text not in CONSTANTS:
            self.position += 1
            arguments = list(self._operands())
            return Call(first.text, (*arguments, piped) if piped is not None else tuple(arguments))
        operands = list(self._operands())
        if piped is not None or len(operands) != 1:
            raise self._error(f"{first.text!r} is not a function")
        return operands[0]

    def _operands(self) -> Iterator[Expression]:
        while (token := self._next()) and token.text not in ("|", ")"):
            self.position += 1
            yield self._operand(token)

    def _operand(self, token: Token) -> Expression:
        if token.kind == "string":
            return Literal(_unquoted(token.text))
        if token.kind == "number":
            return Literal(float(token.text) if "." in token.text else int(token.text))
        if token.kind == "word":
            return Literal(CONSTANTS[token.text]) if token.text in CONSTANTS else Call(token.text, ())
        if token.kind == "path":
            base, *names = token.text.split(".")
            return Path(base or ".", tuple(name for name in names if name))
        if token.text == "(":
            return self._parenthesis()
        raise self._error(f"unexpected {token.text!r}")

    def _parenthesis(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"parentheses nested deeper than {MAX_DEPTH}")
        inner = self._pipeline()
        closing = self._next()
        if closing is None or closing.text != ")":
            raise self._error("a ')' is missing")
        self.position += 1
        self.depth -= 1
        after = self._next()
        if after and after.kind == "path" and after.text.startswith(".") and not after.spaced:
            self.position += 1
            return Path(inner, tuple(after.text.split(".")[1:]))
        return inner


def _unquoted(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    return re.sub(r"\\(.)", lambda match: ESCAPES.get(match.group(1), match.group(0)), text[1:-1])
