"""What the discovery service follows, and how it says that it cannot."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from pytest_istio.local.images.cluster_api import ApiError, Event
from pytest_istio.local.images.pilot import crds, mesh
from pytest_istio.local.images.pilot.store import Kind, Store
from tests.images import mesh_objects as given

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

Json = dict[str, Any]
PODS = Kind("Pod", "/api/v1/pods", mesh.pod)
KEY = ("default", "details-v1")


class Api:
    """Plays back what a watch of pods tells, one step at a time."""

    def __init__(self, *steps: Event | Exception) -> None:
        self._steps = list(steps)
        self._go = threading.Semaphore(0)
        self._done = threading.Semaphore(0)

    def step(self, count: int = 1) -> None:
        """Play some steps and wait until they have had their effect."""
        for _ in range(count):
            self._go.release()
            assert self._done.acquire(timeout=10)

    def watch(self, path: str, *, on_error: Callable[[Exception], None], **_: object) -> Iterator[Event]:
        assert path == "/api/v1/pods"
        for step in self._steps:
            self._go.acquire()
            if isinstance(step, Exception):
                on_error(step)
            else:
                yield step
            self._done.release()
        self._go.acquire()


def started(api: Api) -> tuple[Store, list[str]]:
    changes: list[str] = []
    store = Store(api, [PODS], lambda: changes.append("changed"))  # type: ignore[arg-type]  # as far as it is used
    store.start()
    return store, changes


def pod(**changes: Any) -> Json:  # noqa: ANN401  # JSON values
    return {**given.pod("details-v1", 1, app="details"), **changes}


def test_objects_come_change_and_go() -> None:
    other = pod(status={"podIP": "10.190.0.99"})
    api = Api(
        Event("LISTED", []), Event("ADDED", [pod()]), Event("MODIFIED", [other]), Event("DELETED", [other])
    )
    store, changes = started(api)
    assert store.unseen() == {"Pod": "not listed yet"}
    api.step()
    assert store.unseen() == {}
    api.step()
    assert store.objects()["Pod"][KEY].ip == "10.190.0.1"
    api.step()
    assert store.objects()["Pod"][KEY].ip == "10.190.0.99"
    api.step()
    assert store.objects()["Pod"] == {}
    assert len(changes) == 4


def test_change_that_does_not_matter_wakes_nobody() -> None:
    beat = pod(status={**pod()["status"], "conditions": [{"type": "Ready"}]})
    api = Api(Event("LISTED", [pod()]), Event("MODIFIED", [beat]), Event("LISTED", [beat]))
    _, changes = started(api)
    api.step(3)
    assert changes == ["changed"]


def test_vanished_while_nobody_looked() -> None:
    api = Api(Event("LISTED", [pod()]), ApiError(410, "Expired", "too old"), Event("LISTED", []))
    store, _ = started(api)
    api.step(3)
    assert store.objects()["Pod"] == {}


def test_why_a_kind_is_not_seen_is_told_and_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    error = ApiError(403, "Forbidden", "pods is forbidden")
    api = Api(error, error, Event("LISTED", []), error)
    store, _ = started(api)
    api.step(2)
    assert store.unseen() == {"Pod": "403 Forbidden: pods is forbidden"}
    api.step(2)
    assert store.unseen() == {}
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["error"] for line in logged] == ["403 Forbidden: pods is forbidden"] * 2


class Served:
    """An API server that serves some groups."""

    def __init__(self, **groups: tuple[str, ...]) -> None:
        self._groups = groups

    def request(self, method: str, path: str) -> Json:
        assert method == "GET"
        group = path.split("/")[2].partition(".")[0]
        if group not in self._groups:
            raise ApiError(404, "NotFound", "404 page not found")
        return {"resources": [{"name": name} for name in self._groups[group]]}


def test_definition_that_is_missing_keeps_the_service_from_being_ready() -> None:
    config = ("httpapispecs", "httpapispecbindings", "quotaspecs", "quotaspecbindings")
    everything = {"config": config, "rbac": ("rbacconfigs", "serviceroles", "servicerolebindings")}
    whole = Served(networking=("envoyfilters",), **everything)
    assert crds.unserved(whole, ingresses=False) == {}  # type: ignore[arg-type]  # as far as it is used
    assert list(crds.unserved(whole, ingresses=True)) == ["ingresses.extensions"]  # type: ignore[arg-type]
    broken = Served(networking=("gateways",), config=config)
    missing = crds.unserved(broken, ingresses=False)  # type: ignore[arg-type]
    assert sorted(missing) == [
        "envoyfilters.networking.istio.io",
        "rbacconfigs.rbac.istio.io",
        "servicerolebindings.rbac.istio.io",
        "serviceroles.rbac.istio.io",
    ]
