"""Running the suites under faults, as a user would, and judging the judges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import yaml

from pytest_istio.kube.manifests import load
from pytest_istio.paths import fixtures_folder, suites_folder
from tests.faults.changes import changed_all
from tests.faults.faults import NOTHING
from tests.faults.plugin import FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping

    from tests.faults.faults import Fault

__all__ = ["VERSION", "Run", "all_checks", "run", "run_all", "run_series"]

VERSION = "1.0.5"
FACTOR = 0.3
"""Of the bounds on waiting: what a fault keeps from coming is not waited for as long as by a user."""
LONGEST = 600
"""Seconds for a fault after which a run is taken to hang."""
ROOT = Path(__file__).resolve().parents[2]

Entry = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run of the suites under a fault.

    Attributes:
        fault: What was broken.
        outcomes: What each check came to.
        messages: What each check had to say.
        sites: Where in the code a finding was put into words, as ``file:line``.
        seconds: How long it took.
        text: What pytest printed.
    """

    fault: Fault
    outcomes: Mapping[str, str]
    messages: Mapping[str, str]
    sites: frozenset[str]
    seconds: float
    text: str

    def surprises(self) -> list[str]:
        """Return what came out otherwise than the fault's declaration says, false passes first.

        A check that fails is to say what it expected: one that merely broke down has asserted nothing.
        """
        wrong = [(check, self.fault.expected(check), seen) for check, seen in self.outcomes.items()]
        order = sorted(each for each in wrong if each[1] != each[2])
        order.sort(key=lambda each: each[1:] != ("failed", "passed"))
        broken = [
            (check, "by a finding", seen)
            for check, seen in self.outcomes.items()
            if seen == "failed" and "expected:" not in self.messages[check]
        ]
        return [
            f"{check}: {seen}, should be {expected}: {' '.join(self.messages[check].split())[:400]}"
            for check, expected, seen in order + broken
        ]


@cache
def all_checks() -> tuple[str, ...]:
    """Return the names of all checks of the core profile, as pytest collects them."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        names = Path(folder) / "names.json"
        with _pytest(Path(folder), {"names": str(names)}, ["--collect-only", "-q"]) as process:
            process.wait()
        assert names.exists(), _printed(Path(folder))
        return tuple(json.loads(names.read_text(encoding="utf-8")))


def run(fault: Fault, checks: Collection[str], *, factor: float = FACTOR) -> Run:
    """Run checks under a fault on a cluster of its own: there before Istio is, or not to be taken back."""
    before = [(NOTHING, checks)] if fault.alone else []
    return list(_runs([*before, (fault, checks)], factor))[-1]


def run_series(faults: Iterable[tuple[Fault, Collection[str]]], *, factor: float = FACTOR) -> Generator[Run]:
    """Run checks under live faults, each brought about and taken back on one cluster.

    Before the first and after the last fault there is none, and every check must pass. To close what is
    returned ends the runs.
    """
    nothing = (NOTHING, all_checks())
    yield from _runs([nothing, *faults, nothing], factor)


def run_all(faults: Iterable[tuple[Fault, Collection[str]]], *, factor: float = FACTOR) -> Generator[Run]:
    """Run checks under faults: live ones as `run_series` does, and beside it the others one by one.

    Both wait most of the time. To close what is returned ends the runs, but for one of the others, which is
    awaited.
    """
    pairs = list(faults)
    shared = [(fault, checks) for fault, checks in pairs if fault.shares]
    with ThreadPoolExecutor(1, thread_name_prefix="faults") as pool:
        others = [
            pool.submit(run, fault, checks, factor=factor) for fault, checks in pairs if not fault.shares
        ]
        try:
            if shared:
                yield from run_series(shared, factor=factor)
            for each in others:
                yield each.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _runs(faults: list[tuple[Fault, Collection[str]]], factor: float) -> Generator[Run]:
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        results, writing = os.pipe()
        arguments = [f"--istio-timeout-factor={factor}", "-rfE", "--tb=short"]
        first = faults[0][0]
        if first.manifests:
            arguments.append(f"--istio-manifests={_changed_manifests(first, folder)}")
        series = [
            {"name": each.name, "live": each.live, "alone": each.alone, "checks": sorted(checks)}
            for each, checks in faults
        ]
        told = {"before": first.before, "series": series, "results": writing}
        with (
            os.fdopen(results, encoding="utf-8") as lines,
            _pytest(folder, told, arguments, writing) as process,
        ):
            os.close(writing)
            hanging = Timer(LONGEST * len(faults), process.kill)
            hanging.start()
            try:
                for fault, checks in faults:
                    line = lines.readline()
                    yield _judged(fault, checks, json.loads(line) if line else None, folder)
                process.wait()
            finally:
                hanging.cancel()


def _judged(fault: Fault, checks: Collection[str], entry: Entry | None, folder: Path) -> Run:
    found = {each["id"]: each for each in entry["checks"]} if entry else {}
    text = _printed(folder)
    why = (entry["trouble"] if entry else "") or text[-2000:]
    # What did not come to anything is a surprise as well.
    outcomes = {check: found[check]["outcome"] if check in found else "did not run" for check in checks}
    messages = {check: found[check]["message"] if check in found else why for check in checks}
    sites = frozenset(entry["sites"]) if entry else frozenset()
    return Run(fault, outcomes, messages, sites, entry["seconds"] if entry else 0.0, text)


def _changed_manifests(fault: Fault, folder: Path) -> Path:
    objects = load(fixtures_folder() / "istio" / VERSION).objects
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(changed_all(objects, fault.manifests)), encoding="utf-8")
    return path


@contextmanager
def _pytest(
    folder: Path, told: Entry, arguments: list[str], *passed: int
) -> Iterator[subprocess.Popen[bytes]]:
    file = folder / "fault.json"
    file.write_text(json.dumps(told), encoding="utf-8")
    # What the outer run was given is not for the inner one, but for the way to Kubernetes' programs.
    kept = {"PYTEST_ISTIO_KUBE_BINARIES"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_") or k in kept}
    command = [
        sys.executable, "-m", "pytest", str(suites_folder()), f"--rootdir={ROOT}",
        f"--istio-version={VERSION}", "--istio-cluster=local",
        "-p", "tests.faults.plugin", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments,
    ]  # fmt: skip
    with (
        (folder / "printed").open("wb") as printed,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, FILE: str(file)},
            stdout=printed,
            stderr=printed,
            pass_fds=passed,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def _printed(folder: Path) -> str:
    return (folder / "printed").read_text(encoding="utf-8", errors="replace")
