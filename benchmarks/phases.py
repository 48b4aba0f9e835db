"""Time, processor time and memory of the profiles smoke and core, by phase and by program."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.run import watch
from benchmarks.table import show
from pytest_istio.paths import fixtures_folder

if TYPE_CHECKING:
    from benchmarks.run import Watched


def main(profiles: list[str]) -> None:
    for profile in profiles:
        watched = watch(fixtures_folder().parent, f"--istio-profile={profile}")
        show(
            f"Profile {profile}, phases: {_closing(watched)}",
            ["phase", "from", "to", "seconds", "CPU seconds", "most memory, MB"],
            _rows(watched),
        )
        fullest = max(watched.snapshots, key=lambda each: sum(each.memory.values()))
        memory: Counter[str] = Counter()
        for pid, name in fullest.names.items():
            memory[name] += fullest.memory[pid]  # type: ignore[assignment]  # a Counter of floats
        count = Counter(fullest.names.values())
        show(
            f"Profile {profile}, programs at the fullest moment, {fullest.at:.0f} s after the start",
            ["program", "processes", "memory, MB"],
            [[name, count[name], size] for name, size in memory.most_common()],
        )


def _closing(watched: Watched) -> str:
    return next(line.strip("= ") for _, line in reversed(watched.lines) if " passed" in line and "=" in line)


def _rows(watched: Watched) -> list[list[object]]:
    phases = watched.phases()
    spans = [("pytest's start and collection", 0.0, phases[0][1]), *phases]
    spans.append(("the whole run", 0.0, watched.seconds))
    return [
        [name, begin, end, end - begin, watched.cpu(begin, end), watched.memory(begin, end)]
        for name, begin, end in spans
    ]


if __name__ == "__main__":
    main(sys.argv[1:] or ["smoke", "core"])
