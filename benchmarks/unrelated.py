"""What the installed plugin costs a run of pytest that has nothing to do with Istio."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import measured
from benchmarks.table import show

PAIRS = 8
OTHERS = ("hypothesispytest", "randomly", "xdist")
"""Plugins of a developer's environment, whose cost would hide that of this one."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder) / "test_unrelated.py"
        test.write_text("def test_it(): pass\n", encoding="utf-8")
        plain = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
        plain += [part for name in OTHERS for part in ("-p", f"no:{name}")]
        without, having = [], []
        for argv in (plain, [*plain, "-p", "no:istio"]):
            measured(argv)
        # In turn, so that a change of the machine's load falls on both.
        for _ in range(PAIRS):
            having.append(1000 * measured(plain).cpu)
            without.append(1000 * measured([*plain, "-p", "no:istio"]).cpu)
    rows = [
        [name, min(times), statistics.median(times)]
        for name, times in (("without the plugin", without), ("with it", having))
    ]
    costs = [with_it - alone for with_it, alone in zip(having, without, strict=True)]
    rows.append(["difference", min(having) - min(without), statistics.median(costs)])
    show(f"{PAIRS} runs of one unrelated test, CPU milliseconds", ["", "least", "median"], rows)


if __name__ == "__main__":
    main()
