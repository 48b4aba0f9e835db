"""Command lines of Istio's programs: the options that a stand-in honours, and a word about the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_istio.local.images.environment import log

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["flag", "parse", "without_program"]


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a program honours; the others are logged, since they have no effect here."""
    known, ignored = parser.parse_known_args(arguments)
    if ignored:
        log("options without effect in this stand-in", options=ignored)
    return known


def without_program(arguments: Sequence[str], name: str) -> list[str]:
    """Return the arguments without the program's path, first where a container has a `command`."""
    given = list(arguments)
    return given[1:] if given and given[0].rpartition("/")[2] == name else given


def flag(text: str) -> bool:
    """Return the value of an option such as ``--self-signed-ca=true``."""
    return text.lower() in {"1", "t", "true"}
