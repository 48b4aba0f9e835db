"""Everything goes the same way when a fifth of the answers are errors, resets or cut off."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.kube.apply import Applied, apply, delete
from pytest_istio.kube.client import Kube
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.errors import ConflictError, UnreachableError
from pytest_istio.kube.manifests import load
from pytest_istio.kube.migrate import migrate
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, wait_ready
from pytest_istio.paths import fixtures_folder
from pytest_istio.timeouts import Timeouts
from tests.kube.pods import kubelet, ready, waiting, workload
from tests.kube.told import Told
from tests.kube.weather import WATCH_FAULTS, Weather, weather

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_istio.local.controlplane import ControlPlane

Object = dict[str, Any]


def config_map(namespace: str, name: str, **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.fixture
def proxy(plane: ControlPlane, tmp_path: Path) -> Iterator[Weather]:
    seed = random.randrange(1000)
    print(f"weather of seed {seed}")
    with weather(plane.kubeconfig, tmp_path / "kubeconfig", share=0.2, seed=seed) as proxy:
        yield proxy


@pytest.fixture
def rough(proxy: Weather, tmp_path: Path) -> Iterator[Kube]:
    """The API server behind bad weather."""
    kube = Kube.connect(tmp_path / "kubeconfig")
    yield kube
    kube.close()


def test_istio_is_applied_and_taken_away_in_any_weather(rough: Kube, proxy: Weather) -> None:
    objects = migrate(load(fixtures_folder() / "istio" / "1.0.5").objects, rough.served()).objects

    def applied() -> Applied:
        return apply(rough, objects, manager="test", labels={}, timeouts=Timeouts(), progress=Told())

    first = applied()
    try:
        assert len(first.created) == 134
        second = applied()
        assert (second.created, second.changed, len(second.unchanged)) == ((), (), 134)
    finally:
        delete(rough, first.created, timeouts=Timeouts(), progress=Told())
    assert sum(proxy.seen.values()) > 30


@pytest.mark.parametrize("fault", WATCH_FAULTS)
def test_a_watch_misses_nothing_and_invents_nothing(
    fault: str, rough: Kube, proxy: Weather, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = iter([fault] * 3)
    monkeypatch.setattr(proxy, "fault", lambda faults: next(spoiled, "") if faults is WATCH_FAULTS else "")

    def change() -> None:
        for number in range(20):
            name = f"a{number % 4}"
            rough.apply(config_map(namespace, name, n=str(number)), manager="test")
            if number % 5 == 4:
                rough.delete("v1", "ConfigMap", name, namespace)
        rough.apply(config_map(namespace, "end"), manager="test")

    changing = threading.Timer(0.1, change)
    changing.start()
    there: dict[str, str] = {}
    chosen = "metadata.name!=kube-root-ca.crt"
    for event in rough.watch("v1", "ConfigMap", namespace, fields=chosen, deadline=Deadline(60)):
        name = event.object["metadata"]["name"]
        assert (name in there) == (event.type != "ADDED")
        if event.type == "DELETED":
            del there[name]
        else:
            there[name] = event.object["metadata"]["resourceVersion"]
        if name == "end":
            break
    changing.join()
    now = rough.list("v1", "ConfigMap", namespace, fields=chosen)
    assert there == {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in now}


def test_waiting_comes_to_the_same_in_any_weather(rough: Kube, kube: Kube, namespace: str) -> None:
    objects = [workload("Deployment", namespace, f"d{number}") for number in range(5)]
    refs = [Ref.of(kube.create(obj)) for obj in objects]
    with kubelet(kube, namespace, ready):
        wait_ready(rough, refs, timeout=60, progress=Told())


def test_what_is_beyond_hope_is_found_out_in_any_weather(rough: Kube, kube: Kube, namespace: str) -> None:
    ref = Ref.of(kube.create(workload("Deployment", namespace, "d")))
    with (
        kubelet(kube, namespace, waiting("ErrImagePull", "not found")),
        pytest.raises(NotReadyError, match="ErrImagePull"),
    ):
        wait_ready(rough, [ref], timeout=60, progress=Told())


@pytest.mark.parametrize("fault", ["reset after", "failed"])
def test_what_is_written_once_comes_through_and_a_conflict_with_others_is_told(
    fault: str, rough: Kube, proxy: Weather, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rough.served()
    spoiled = iter([fault] * 2)
    monkeypatch.setattr(proxy, "fault", lambda faults: next(spoiled, ""))
    made = rough.create(config_map(namespace, "a", n="1"))
    assert made["data"] == {"n": "1"}
    spoiled = iter([fault] * 2)
    changed = rough.replace({**made, "data": {"n": "2"}})
    assert rough.get("v1", "ConfigMap", "a", namespace) == changed
    assert changed["data"] == {"n": "2"}
    spoiled = iter([fault])
    with pytest.raises(ConflictError, match="already exists"):
        rough.create(config_map(namespace, "a", n="3"))
    spoiled = iter([fault])
    with pytest.raises(ConflictError, match="modified"):
        rough.replace({**made, "data": {"n": "4"}})


def test_a_server_that_goes_away_ends_a_wait_in_bounded_time(
    rough: Kube, proxy: Weather, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.kube.connection.RETRY_SECONDS", 0.5)
    monkeypatch.setattr(proxy, "fault", lambda faults: "reset before")
    with pytest.raises(UnreachableError, match="no answer from the API server"):
        wait_ready(rough, [Ref("v1", "Pod", namespace, "a")], timeout=600, progress=Told())
