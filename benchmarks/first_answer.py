"""From nothing to bookinfo's first 200 through the gateway, by phase, with warm binaries."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.run import watch
from benchmarks.table import show

ANSWERED = "the gateway has answered 200"
TEST = f"""
def test_first_answer(bookinfo, gateway, capsys):
    gateway.wait_answer("/productpage", timeout=60)
    with capsys.disabled():
        print("\\n{ANSWERED}", flush=True)
"""


def main(runs: int) -> None:
    all_runs = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "test_first_answer.py").write_text(TEST, encoding="utf-8")
            all_runs.append(watch(Path(folder)))
    answered = [next(at for at, line in each.lines if line == ANSWERED) for each in all_runs]
    phases = [each.phases() for each in all_runs]
    rows = [["until the first phase", *(each[0][1] for each in phases)]]
    rows += [
        [phases[0][row][0], *(each[row][2] - each[row][1] for each in phases)]
        for row in range(len(phases[0]))
    ]
    rows += [
        ["first 200 since the start", *answered],
        ["end of the run", *(each.seconds for each in all_runs)],
    ]
    show("Nothing to first 200, seconds", ["phase", *(f"run {number + 1}" for number in range(runs))], rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
