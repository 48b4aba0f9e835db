"""Changes of a cluster through its API, each awaited until it has its effect, and taken back."""

from __future__ import annotations

import operator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import PytestIstioError
from pytest_istio.istio import observations
from pytest_istio.istio.explain import pods_of
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.polling import until
from pytest_istio.kube.readiness import problem
from pytest_istio.kube.restore import Remembered
from pytest_istio.kube.wait import wait_for, wait_gone
from pytest_istio.progress import Silent
from tests.faults.changes import changed
from tests.faults.injector import INJECTORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_istio.istio.observations import Subject
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["NotWholeError", "await_whole", "made", "make"]

ROUTES = ("DestinationRule", "Gateway", "VirtualService")
HOPS = "BKI-006"
"""The check that each hop of a request passes its proxy; no other check builds on it."""
SYNC = "INJ-008"
"""The check that proxies have taken in what they were sent."""
BOUND = 90.0
"""Seconds until a change has its effect, or the mesh is whole again; enough for a busy machine."""


class NotWholeError(AssertionError):
    """The mesh has not become again what it was before a fault."""


@contextmanager
def made(subject: Subject, changes: list[dict[str, Any]]) -> Iterator[None]:
    """Make changes of a mesh, and take them back afterwards, in the opposite order.

    Raises:
        AssertionError: A change has not the effect that it should have; it was taken back.
        NotWholeError: Taking back has not the effect that it should have.
    """
    kube = subject.mesh.kube
    with ExitStack() as undoing:
        undoing.callback(await_whole, subject)
        for change in changes:
            with _taken_in(subject, change):
                undoing.callback(_undoing, subject, change, make(kube, change))
            if change.get("until") == "silent":
                assert until(lambda: _is_silent(subject), bool, timeout=BOUND), "the gateway still answers"
            if check := change.get("seen_by"):
                seen = until(partial(_seen, check, subject), bool, timeout=BOUND)
                assert seen, f"{check} sees nothing of it"
        yield


def _undoing(subject: Subject, change: dict[str, Any], undo: Callable[[], None]) -> None:
    with _taken_in(subject, change):
        undo()
    if check := change.get("seen_by"):
        left = until(partial(_seen, check, subject), operator.not_, timeout=BOUND)
        if left:
            raise NotWholeError(f"{check} still sees it: " + "\n".join(left))


def _seen(check: str, subject: Subject) -> tuple[str, ...]:
    """Return what is wrong for a check; the proxies take in new endpoints some time after the API server."""
    if check == HOPS:
        return observations.hops_of_one_request(subject.mesh, subject.application(), subject.entrance())
    return observations.observe(check, subject)


@contextmanager
def _taken_in(subject: Subject, change: dict[str, Any]) -> Iterator[None]:
    """Return from a change of routes once the proxies have it, if it is not one that they are to refuse."""
    kind = change["create"]["kind"] if "create" in change else change["object"].partition(" ")[0]
    if kind not in ROUTES or change.get("seen_by") == SYNC:
        yield
        return
    before = observations.sync_status(subject.mesh)
    yield

    def taken_in() -> bool:
        now = observations.sync_status(subject.mesh)
        return now != before and not observations.observe(SYNC, subject)

    assert until(taken_in, bool, timeout=BOUND), f"the proxies have not taken in {change}"


def await_whole(subject: Subject) -> None:
    """Return once all that the checks can build on is as it should be.

    Raises:
        NotWholeError: It does not become so in time.
    """
    names = [*observations.OBSERVATIONS]
    left = until(
        lambda: [problem for name in names for problem in observations.observe(name, subject)],
        operator.not_,
        timeout=BOUND,
    )
    if left:
        raise NotWholeError("not whole again: " + "\n".join(left))


def make(kube: Kube, change: dict[str, Any]) -> Callable[[], None]:
    """Make a change, and return what takes it back."""
    if "create" in change:
        ref = Ref.of(change["create"])
        kube.create(change["create"])
        try:
            if ref.kind == "Deployment":
                _await(kube, ref, _settled)
        except BaseException:
            _unmake(kube, ref)
            raise
        return lambda: _unmake(kube, ref)
    ref = _ref(kube, change["object"], change.get("in"))
    if change.get("injector"):
        return INJECTORS[change["injector"]](kube, ref).stop
    if "post" in change:
        return _post(kube, ref, change["post"])
    before = Remembered(kube)
    before.remember(ref)
    if change.get("delete"):
        _unmake(kube, ref)
    else:
        _change(kube, ref, change)
    return lambda: _restore(kube, ref, before)


def _ref(kube: Kube, name: str, api_version: str | None) -> Ref:
    kind, _, place = name.partition(" ")
    namespace, _, plain = place.rpartition("/")
    found = [each for each in sorted(kube.served()) if each[1] == kind]
    versions = [each[0] for each in found if api_version in (None, each[0])]
    return Ref(versions[0], kind, namespace or None, plain)


def _unmake(kube: Kube, ref: Ref) -> None:
    kube.delete(ref.api_version, ref.kind, ref.name, ref.namespace)
    wait_gone(kube, [ref], timeout=BOUND, progress=Silent())


def _change(kube: Kube, ref: Ref, change: dict[str, Any]) -> None:
    now = kube.get(ref.api_version, ref.kind, ref.name, ref.namespace)
    wanted = changed(now, change)
    if ref.kind == "Service" and _leads(wanted) != _leads(now):
        place = "v1", "Endpoints", ref.name, ref.namespace
        old = kube.get(*place)["metadata"]["resourceVersion"]
        kube.replace(wanted)
        wait_for(kube, *place, partial(_newer, old), timeout=BOUND, progress=Silent())
        return
    kube.replace(wanted)
    if ref.kind == "Deployment":
        _await(kube, ref, _settled if change.get("until", "ready") == "ready" else _unready)


def _restore(kube: Kube, ref: Ref, before: Remembered) -> None:
    before.restore()
    if ref.kind == "Deployment":
        _await(kube, ref, _settled)


def _leads(service: Object) -> list[Any]:
    """Return what decides about a Service's endpoints."""
    return [service["spec"].get("selector"), [port.get("targetPort") for port in service["spec"]["ports"]]]


def _newer(old: str, endpoints: Object | None) -> str | None:
    return "not changed" if endpoints and endpoints["metadata"]["resourceVersion"] == old else None


def _settled(found: Object | None) -> str | None:
    if found is None:
        return "not there"
    if found["spec"].get("replicas") == 0:
        return "still has pods" if found.get("status", {}).get("replicas") else None
    return problem(found)


def _unready(found: Object | None) -> str | None:
    return "is ready" if found is not None and problem(found) is None else None


def _is_silent(subject: Subject) -> bool:
    try:
        with subject.entrance().reconnected() as gateway:
            gateway.get("/")
    except PytestIstioError:
        return True
    return False


def _post(kube: Kube, ref: Ref, post: dict[str, Any]) -> Callable[[], None]:
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

    def replace() -> None:
        _unmake(kube, Ref("v1", "Pod", pod["namespace"], pod["name"]))
        _await(kube, ref, _settled)

    wait_for(kube, "v1", "Pod", pod["name"], pod["namespace"], again, timeout=BOUND, progress=Silent())
    _await(kube, ref, _settled)
    return replace


def _restarts(pod: Object) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses") or [])


def _await(kube: Kube, ref: Ref, condition: Callable[[Object | None], str | None]) -> None:
    place = ref.api_version, ref.kind, ref.name, ref.namespace
    found = wait_for(kube, *place, condition, timeout=BOUND, progress=Silent())
    if condition is _settled:
        # A pod that is about to go may still answer, over connections that others keep.
        labels = ",".join(f"{key}={value}" for key, value in found["spec"]["selector"]["matchLabels"].items())
        pods = kube.list("v1", "Pod", ref.namespace, labels=labels)
        going = [Ref.of(pod) for pod in pods if "deletionTimestamp" in pod["metadata"]]
        wait_gone(kube, going, timeout=BOUND, progress=Silent())
