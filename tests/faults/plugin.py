"""Brings faults into a run of the suites: ``-p tests.faults.plugin``, told by a file what to do.

Only the checks that the file names run. Changes come through the API as somebody else's would: to the empty
cluster, or to the mesh when it, bookinfo and the gateway are up. Live faults share a mesh: each is taken back
before the next one. What the checks come to goes to a pipe, a line each fault.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio import findings
from pytest_istio.conformance.check import check_of, name_of
from pytest_istio.errors import PytestIstioError
from pytest_istio.istio.observations import Subject
from pytest_istio.report.results import Results
from pytest_istio.stash import RUN
from tests.faults.live import NotWholeError, made, make

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FILE"]

FILE = "PYTEST_ISTIO_FAULT"
"""The environment variable that names the file."""
FIXTURE = "istio_fault"
TOLD = pytest.StashKey[dict[str, Any]]()
SUBJECT = pytest.StashKey[Subject]()
SITES: set[str] = set()
"""Where in the code a finding was put into words: ``file:line``."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TOLD] = json.loads(Path(os.environ[FILE]).read_text(encoding="utf-8"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    told = config.stash[TOLD]
    names = {item: name_of(item, check) for item in items if (check := check_of(item))}
    if "names" in told:
        Path(told["names"]).write_text(json.dumps(list(names.values())), encoding="utf-8")
        return
    wanted = {check for each in told["series"] for check in each["checks"]}
    out = [item for item in items if item in names and names[item] not in wanted]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    if "series" in session.config.stash[TOLD]:
        _note_sites()
        for item in session.items:
            # In front of what looks at the prerequisites.
            item.fixturenames.insert(0, FIXTURE)  # type: ignore[attr-defined]  # all are functions


@pytest.fixture(scope="session")
def istio_fault(request: pytest.FixtureRequest) -> Iterator[None]:
    told = request.config.stash[TOLD]
    kube = request.getfixturevalue("istio_kube")
    undo = [make(kube, change) for change in told["before"]]
    if any(each["live"] for each in told["series"]):
        mesh, bookinfo, gateway = (request.getfixturevalue(name) for name in ("mesh", "bookinfo", "gateway"))
        request.config.stash[SUBJECT] = Subject(mesh, bookinfo.namespace, gateway)
    yield
    for end in undo:
        end()


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the faults one after the other, each with its checks, in place of pytest's own loop."""
    told = session.config.stash[TOLD]
    if "series" not in told:
        return None
    with os.fdopen(told["results"], "w", encoding="utf-8") as file:
        for fault in told["series"]:
            SITES.clear()
            began = time.monotonic()
            done: dict[str, Any] = {"name": fault["name"], "checks": [], "trouble": ""}
            usable = True
            try:
                done["checks"] = _run(session, fault)
            except (AssertionError, PytestIstioError) as error:
                done["trouble"] = str(error)
                usable = not isinstance(error, NotWholeError | PytestIstioError)
            seconds = time.monotonic() - began
            file.write(json.dumps({**done, "sites": sorted(SITES), "seconds": seconds}) + "\n")
            file.flush()
            if not usable:
                # The mesh is not what the next fault wants.
                break
    # Ends the fixtures of the session, as the end of pytest's own loop would.
    session._setupstate.teardown_exact(None)
    return True


def _run(session: pytest.Session, fault: dict[str, Any]) -> list[dict[str, str]]:
    config = session.config
    items = [
        item
        for item in session.items
        if (check := check_of(item)) and name_of(item, check) in fault["checks"]
    ]
    results = Results()
    config.pluginmanager.register(results)
    # What was observed before may not be so any more.
    shutil.rmtree(config.stash[RUN].folder.observed, ignore_errors=True)
    try:
        if not fault["live"]:
            _run_items(items)
        elif fault["alone"]:
            for change in fault["live"]:
                make(config.stash[SUBJECT].mesh.kube, change)
            _run_items(items)
        else:
            with made(config.stash[SUBJECT], fault["live"]):
                shutil.rmtree(config.stash[RUN].folder.observed, ignore_errors=True)
                _run_items(items)
    finally:
        config.pluginmanager.unregister(results)
    checks = results.checks(config.stash[RUN].selection)
    return [{"id": check.id, "outcome": check.outcome, "message": check.message} for check in checks]


def _run_items(items: list[pytest.Item]) -> None:
    for number, item in enumerate(items, 1):
        # As pytest makes an item ready for its first run.
        item._initrequest()  # type: ignore[attr-defined]  # all are functions
        # Some other item always follows, so that the mesh stays; after the last one of another file, so that
        # this file's part of the set-up does not stay as well.
        others = [each for each in item.session.items if each is not item]
        elsewhere = [each for each in others if each.path != item.path]
        following = [*items[number:], *elsewhere, *others][0]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _note_sites() -> None:
    """Have each finding of the checks and of what they build on note where in the code it comes from."""
    original = findings.finding

    def noting(subject: str, **values: Any) -> str:  # noqa: ANN401  # as findings are worded
        code = sys._getframe(1)
        SITES.add(f"{code.f_code.co_filename}:{code.f_lineno}")
        return original(subject, **values)

    for module in list(sys.modules.values()):
        if getattr(module, "finding", None) is original:
            module.finding = noting  # type: ignore[attr-defined]
