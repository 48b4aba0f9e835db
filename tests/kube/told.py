"""Progress that remembers what it was told."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Told:
    def __init__(self) -> None:
        self.texts: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield

    def waiting(self, what: str) -> None:
        self.texts.append(what)
