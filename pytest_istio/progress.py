"""Saying what a long step is doing, without knowing who listens."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Takes what a step wants a person to see while it runs."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time what happens inside as the phase `name`; shown live and in the summary of durations."""
        ...

    def waiting(self, what: str) -> None:
        """Say what is awaited at the moment and why; only the newest text is shown."""
        ...

    def note(self, what: str) -> None:
        """Say something that a person may want to read again later."""
        ...


class Silent:
    """Progress that nobody listens to."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:  # noqa: ARG002
        """Do nothing around the phase."""
        yield

    def waiting(self, what: str) -> None:
        """Do nothing."""

    def note(self, what: str) -> None:
        """Do nothing."""
