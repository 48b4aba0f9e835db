"""Progress that remembers what it was told."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Told:
    """Remembers the texts, and answers the first of them with an action each."""

    def __init__(self, *actions: Callable[[], object]) -> None:
        self.texts: list[str] = []
        self._actions = list(actions)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield

    def note(self, what: str) -> None:
        self.texts.append(what)

    def waiting(self, what: str) -> None:
        self.texts.append(what)
        if self._actions:
            self._actions.pop(0)()
