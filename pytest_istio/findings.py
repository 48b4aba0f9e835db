"""The texts of failures: each names object, expectation, observation, likely cause and the next command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["finding", "one_line", "report"]


def finding(subject: str, *, expected: object, seen: object, cause: str = "", look: str = "") -> str:
    """Return one problem as text.

    Args:
        subject: The object that is judged, such as ``Deployment istio-system/istio-pilot``.
        expected: What should be the case.
        seen: What is the case.
        cause: What most likely brought it about; left out when empty.
        look: The next command to type; left out when empty.
    """
    lines = [subject, f"  expected: {expected}", f"  seen:     {seen}"]
    if cause:
        lines.append(f"  likely:   {cause}")
    if look:
        lines.append(f"  look:     {look}")
    return "\n".join(lines)


def report(problems: Iterable[str]) -> str:
    """Return the message of an assertion about `problems`, one below the other."""
    return "\n" + "\n".join(problems)


def one_line(message: str) -> str:
    """Return a message of several lines as one."""
    first, *others = [
        " ".join(line.split()).removeprefix("- ") for line in message.splitlines() if line.strip()
    ]
    for line in others:
        first += f" {line}" if first.endswith((".", ":")) else f"; {line}"
    # What others have written is not to move the terminal's cursor, or worse.
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in first)
