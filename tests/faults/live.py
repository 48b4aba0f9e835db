"""Changes of a cluster through its API, each awaited until it has its effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.istio.explain import pods_of
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.readiness import problem
from pytest_istio.kube.wait import wait_for, wait_gone
from pytest_istio.progress import Silent
from tests.faults.changes import changed
from tests.faults.injector import EagerInjector

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["make"]

BOUND = 90.0
"""Seconds until a change has its effect; enough for a busy machine."""


def make(kube: Kube, change: dict[str, Any]) -> Callable[[], None] | None:
    """Make a change, and return what ends it where something has to."""
    if "create" in change:
        kube.create(change["create"])
        return None
    ref = _ref(kube, change["object"], change.get("in"))
    if change.get("delete"):
        kube.delete(ref.api_version, ref.kind, ref.name, ref.namespace)
        wait_gone(kube, [ref], timeout=BOUND, progress=Silent())
    elif "post" in change:
        _post(kube, ref, change["post"])
    elif change.get("injector") == "eager":
        return EagerInjector(kube, ref).stop
    else:
        _change(kube, ref, change)
    return None


def _ref(kube: Kube, name: str, api_version: str | None) -> Ref:
    kind, _, place = name.partition(" ")
    namespace, _, plain = place.rpartition("/")
    found = [each for each in sorted(kube.served()) if each[1] == kind]
    versions = [each[0] for each in found if api_version in (None, each[0])]
    return Ref(versions[0], kind, namespace or None, plain)


def _change(kube: Kube, ref: Ref, change: dict[str, Any]) -> None:
    before = kube.get(ref.api_version, ref.kind, ref.name, ref.namespace)
    kube.replace(changed(before, change))
    if ref.kind == "Deployment":
        _await(kube, ref, _settled if change.get("until", "ready") == "ready" else _unready)


def _settled(found: Object | None) -> str | None:
    if found is None:
        return "not there"
    if found["spec"].get("replicas") == 0:
        return "still has pods" if found.get("status", {}).get("replicas") else None
    return problem(found)


def _unready(found: Object | None) -> str | None:
    return "is ready" if found is not None and problem(found) is None else None


def _post(kube: Kube, ref: Ref, post: dict[str, Any]) -> None:
    """Ask a Deployment's pod for something, and wait until the container that it ends runs again."""
    deployment = kube.get(ref.api_version, ref.kind, ref.name, ref.namespace)
    pod = pods_of(kube, deployment)[0]["metadata"]
    before = _restarts(kube.get("v1", "Pod", pod["name"], pod["namespace"]))
    path = f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}:{post['port']}/proxy{post['path']}"
    kube.request("POST", path)

    def again(found: Object | None) -> str | None:
        if found is None or _restarts(found) <= before:
            return "has not restarted"
        return problem(found)

    wait_for(kube, "v1", "Pod", pod["name"], pod["namespace"], again, timeout=BOUND, progress=Silent())
    _await(kube, ref, _settled)


def _restarts(pod: Object) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses") or [])


def _await(kube: Kube, ref: Ref, condition: Callable[[Object | None], str | None]) -> None:
    place = ref.api_version, ref.kind, ref.name, ref.namespace
    wait_for(kube, *place, condition, timeout=BOUND, progress=Silent())
