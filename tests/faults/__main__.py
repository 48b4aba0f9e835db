"""All faults against all checks: ``python -m tests.faults [--shard 1/4] [NAME…]``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tests.faults.faults import all_faults
from tests.faults.proof import unseen
from tests.faults.runner import FACTOR, all_checks, run_all

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.faults.runner import Run

LETTERS = {"passed": ".", "failed": "F", "blocked": "b", "skipped": "s"}


def main() -> int:
    """Run, print the matrix, and return 1 if a check is not as its faults say."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", help="faults by name; all without")
    parser.add_argument("--shard", default="1/1", help="the n-th of m parts of the faults, such as 1/4")
    parser.add_argument("--factor", type=float, default=FACTOR, help="of the bounds on waiting (%(default)s)")
    parser.add_argument("--neighbours", action="store_true", help="only the areas that a fault is about")
    parser.add_argument(
        "--text", action="store_true", help="show what pytest prints where something is wrong"
    )
    chosen = parser.parse_args()
    part, parts = (int(number) for number in chosen.shard.split("/"))
    faults = [all_faults()[name] for name in chosen.names or all_faults()][part - 1 :: parts]
    checks = all_checks()
    pairs = [(fault, fault.neighbours(checks) if chosen.neighbours else checks) for fault in faults]
    runs = []
    for each in run_all(pairs, factor=chosen.factor):
        _tell(each, text=chosen.text)
        runs.append(each)
    print(_matrix(runs, checks))
    wrong = [each.fault.name for each in runs if each.surprises()]
    if len(faults) == len(all_faults()):
        wrong += [f"never seen: {site}" for site in unseen(frozenset().union(*(each.sites for each in runs)))]
    print(f"{len(runs)} faults, {len(checks)} checks, {len(wrong)} not as declared", *wrong)
    return 1 if wrong else 0


def _tell(done: Run, *, text: bool) -> None:
    surprises = done.surprises()
    print(f"{done.fault.name}: {done.seconds:.0f} s, {'as declared' if not surprises else 'NOT as declared'}")
    for check, outcome in done.outcomes.items():
        if outcome == "failed":
            print(f"  {check}: {' '.join(done.messages[check].split())[:300]}")
    for surprise in surprises:
        print(f"  WRONG {surprise}")
    if surprises and text:
        print(done.text)
    sys.stdout.flush()


def _matrix(runs: list[Run], checks: Collection[str]) -> str:
    """Return a line for each check, a column for each fault; what is not as declared is marked by ``!``."""
    width = max(len(check) for check in checks)
    lines = [f"{number:>3} {each.fault.name}" for number, each in enumerate(runs, 1)]
    lines.append(" " * width + "".join(f"{number:>3}" for number in range(1, len(runs) + 1)))
    for check in sorted(checks):
        cells = [_cell(each, check) for each in runs]
        lines.append(f"{check:<{width}}" + "".join(f"{cell:>3}" for cell in cells))
    return "\n".join(lines)


def _cell(done: Run, check: str) -> str:
    seen = done.outcomes.get(check)
    if seen is None:
        return " "
    letter = LETTERS.get(seen, "?")
    return letter if seen == done.fault.expected(check) else f"!{letter}"


if __name__ == "__main__":
    sys.exit(main())
