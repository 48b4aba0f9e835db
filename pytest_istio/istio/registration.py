"""Registering Istio's webhooks in its stead, where its programs speak an API that the server lacks."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pytest_istio.kube.changes import Changes, Collection
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from pytest_istio.istio.adapt import Registration
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

__all__ = ["Registering"]

MANAGER = "pytest-istio-webhooks"
"""The field manager of what is registered; not that of the manifests, which name no authority."""
ROOT = "root-cert.pem"
LOOK_SECONDS = 1.0


class Registering:
    """Registers webhooks in a thread of its own, each when its server runs, while the context lasts."""

    def __init__(self, mesh: Mesh, registrations: Sequence[Registration], *, timeout: float) -> None:
        """Start nothing yet.

        Args:
            mesh: The installation.
            registrations: The webhooks.
            timeout: Seconds in which their servers are to run.
        """
        self._mesh = mesh
        self._registrations = list(registrations)
        self._deadline = Deadline(timeout)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="registering")

    def __enter__(self) -> Self:
        self._done = self._pool.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._deadline.shorten(0.0)
        self._pool.shutdown()

    def troubles(self, *, within: float) -> tuple[Trouble, ...]:
        """Return what could not be registered, and why.

        Args:
            within: Seconds that are left for it.
        """
        self._deadline.shorten(within)
        return self._done.result()

    def _run(self) -> tuple[Trouble, ...]:
        waiting = dict.fromkeys(range(len(self._registrations)), "not looked at yet")
        seen: dict[tuple[str, str], Object] = {}
        collections = [Collection("v1", kind, self._mesh.namespace) for kind in ("Secret", "Endpoints")]
        try:
            with Changes(self._mesh.kube, collections if waiting else [], deadline=self._deadline) as changes:
                while waiting and not self._deadline.expired:
                    change = changes.next(self._deadline.bound(LOOK_SECONDS))
                    if change is None or change[1].type == "SYNCED":
                        continue
                    collection, event = change
                    key = collection.kind, event.object["metadata"]["name"]
                    seen[key] = {} if event.type == "DELETED" else event.object
                    for number in list(waiting):
                        waiting[number] = self._register(self._registrations[number], seen)
                        if not waiting[number]:
                            del waiting[number]
        except KubeError as error:
            waiting = dict.fromkeys(waiting, str(error))
        return tuple(
            Trouble(Ref.of(self._registrations[number].webhooks), "NotRegistered", why)
            for number, why in waiting.items()
        )

    def _register(self, registration: Registration, seen: dict[tuple[str, str], Object]) -> str:
        """Register webhooks, or return what is still missing."""
        authority = (seen.get(("Secret", registration.secret)) or {}).get("data", {}).get(ROOT)
        if not authority:
            return f"Secret {self._mesh.namespace}/{registration.secret} has no {ROOT}"
        endpoints = seen.get(("Endpoints", registration.service)) or {}
        # Registered before that, they would refuse what is applied meanwhile.
        if not any(subset.get("addresses") for subset in endpoints.get("subsets") or []):
            return f"no ready address is behind Service {self._mesh.namespace}/{registration.service}"
        webhooks = copy.deepcopy(registration.webhooks)
        for each in webhooks["webhooks"]:
            each["clientConfig"]["caBundle"] = authority
        metadata = webhooks["metadata"]
        metadata["labels"] = {**(metadata.get("labels") or {}), **self._mesh.labels}
        self._mesh.kube.apply(webhooks, manager=MANAGER)
        return ""
