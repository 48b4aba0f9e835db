"""Printing what was measured, and on what machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["show"]


def show(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown: numbers rounded to what a measurement is worth."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [headings, *texts]) for column in range(len(headings))]
    print(f"\n{title}\n{_machine()}\n")
    for row in [headings, ["-" * width for width in widths], *texts]:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(cells)} |")


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}" if cell < 0.1 else f"{cell:.2f}" if cell < 10 else f"{cell:.0f}"
    return str(cell)


def _machine() -> str:
    memory = Path("/proc/meminfo").read_text(encoding="ascii").split()[1]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, {int(memory) // 2**20} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
