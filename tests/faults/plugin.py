"""Brings a fault into a run of the suites: ``-p tests.faults.plugin``, told by a file what to do.

Only the checks that the file names run. Changes come through the API as somebody else's would: to the empty
cluster, or to the mesh when it, bookinfo and the gateway are up and nothing has been checked yet.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.conformance.check import check_of, name_of
from tests.faults.live import make

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "PYTEST_ISTIO_FAULT"
"""The environment variable that names the file."""
FIXTURE = "istio_fault"


def _told() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(os.environ[FILE]).read_text(encoding="utf-8"))
    return told


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    told = _told()
    names = {item: name_of(item, check) for item in items if (check := check_of(item))}
    if "names" in told:
        Path(told["names"]).write_text(json.dumps(list(names.values())), encoding="utf-8")
        return
    out = [item for item in items if item in names and names[item] not in told["checks"]]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    told = _told()
    if told.get("before") or told.get("live"):
        for item in session.items:
            # In front of what looks at the prerequisites.
            item.fixturenames.insert(0, FIXTURE)  # type: ignore[attr-defined]  # all are functions


@pytest.fixture(scope="session")
def istio_fault(request: pytest.FixtureRequest) -> Iterator[None]:
    told = _told()
    kube = request.getfixturevalue("istio_kube")
    undo = [make(kube, change) for change in told["before"]]
    if told["live"]:
        for name in ("mesh", "bookinfo", "gateway"):
            request.getfixturevalue(name)
        undo += [make(kube, change) for change in told["live"]]
    yield
    for end in undo:
        if end is not None:
            end()
