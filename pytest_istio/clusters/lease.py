"""The record in an existing cluster that a run uses it: a Lease, renewed as long as the run lives.

All times in it are the API server's: the clocks of those who use the cluster may differ.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError, PytestIstioError
from pytest_istio.istio.mesh import RUN_LABEL
from pytest_istio.kube.errors import ConflictError, KubeError

if TYPE_CHECKING:
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["Lease", "Owner", "in_use", "owner", "remove_lease"]

KIND = ("coordination.k8s.io/v1", "Lease")
NAMESPACE = "kube-system"
NAME = "pytest-istio"
KEPT = "pytest-istio.dev/kept"
VERSION = "pytest-istio.dev/istio-version"
USE_INSTALLED = "pytest-istio.dev/use-installed"
_SECONDS = 60
_RENEWAL = 15.0


@dataclass(frozen=True)
class Owner:
    """Who a Lease says uses the cluster.

    Attributes:
        uid: The Lease's, which tells it from a later one.
        run: The run's name.
        holder: The user and the process.
        since: When it began.
        left: Seconds until its claim ends unless it renews its Lease.
        kept: Whether what it installed was told to stay.
        istio_version: What it installed.
        use_installed: Whether it installed nothing, and tested what was there.
    """

    uid: str
    run: str
    holder: str
    since: str
    left: float
    kept: bool
    istio_version: str
    use_installed: bool = False

    @property
    def alive(self) -> bool:
        """Whether the run goes on, for all that is known."""
        return not self.kept and self.left > 0


class Lease:
    """A run's Lease. Renewed by a thread until it is given back.

    Attributes:
        run: The run's name.
        since: When it began.
        trouble: Why the cluster is not the run's any more; None while its claim stands.
    """

    def __init__(self, kube: Kube, run: str, made: Object) -> None:
        self.run = run
        self.since: str = made["metadata"]["creationTimestamp"]
        self.trouble: str | None = None
        self._uid: str = made["metadata"]["uid"]
        self._kube = kube
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, kube: Kube, run: str, istio_version: str, *, use_installed: bool = False) -> Lease:
        """Make the Lease of a run, which says what the run installs, or that it tests what is there.

        Raises:
            ClusterError: Another run was quicker.
        """
        now = _now(kube)
        lease = {
            "apiVersion": KIND[0],
            "kind": KIND[1],
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                # Not a label: it goes after all that bears the run's.
                "annotations": {
                    RUN_LABEL: run,
                    VERSION: istio_version,
                    **({USE_INSTALLED: "true"} if use_installed else {}),
                },
            },
            "spec": {
                "holderIdentity": f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}",
                "leaseDurationSeconds": _SECONDS,
                "acquireTime": now,
                "renewTime": now,
            },
        }
        try:
            made = kube.create(lease)
        except ConflictError as error:
            found = owner(kube)
            raise ClusterError(in_use(found) if found else str(error)) from error
        except BaseException:
            # Interrupted while the answer was under way, or the answer got lost.
            with suppress(KubeError):
                if (found := owner(kube)) and found.run == run:
                    remove_lease(kube, found.uid)
            raise
        return cls(kube, run, made)

    def keep(self) -> None:
        """Note that what the run installed stays, and stop renewing."""
        self._stop()
        self._patch({"metadata": {"annotations": {KEPT: "true"}}})

    def give_back(self) -> None:
        """Remove the Lease."""
        self._stop()
        remove_lease(self._kube, self._uid)

    def abandon(self) -> None:
        """Let the Lease run out, on a cluster that does not answer."""
        self._over.set()

    def _stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self.trouble and not self._over.wait(_RENEWAL):
            # The next turn may come through; who looks takes the run for dead only after four.
            with suppress(PytestIstioError):
                found = self._kube.find(*KIND, NAME, NAMESPACE)
                if found and found["metadata"]["uid"] == self._uid:
                    self._patch({"spec": {"renewTime": _now(self._kube)}})
                else:
                    self.trouble = _lost(found)

    def _patch(self, change: Object) -> None:
        # Refused where the Lease is another run's by now, which took this one for dead.
        metadata = {**change.get("metadata", {}), "uid": self._uid}
        self._kube.patch(*KIND, NAME, NAMESPACE, {**change, "metadata": metadata})


def owner(kube: Kube) -> Owner | None:
    """Return the run that uses the cluster, or did so last and left something; None if there is none."""
    lease = kube.find(*KIND, NAME, NAMESPACE)
    if lease is None:
        return None
    metadata, spec = lease["metadata"], lease["spec"]
    annotations = metadata["annotations"]
    renewed = datetime.fromisoformat(spec["renewTime"].replace("Z", "+00:00"))
    return Owner(
        uid=metadata["uid"],
        run=annotations[RUN_LABEL],
        holder=spec["holderIdentity"],
        since=metadata["creationTimestamp"],
        left=(renewed + timedelta(seconds=spec["leaseDurationSeconds"]) - kube.now()).total_seconds(),
        kept=KEPT in annotations,
        istio_version=annotations[VERSION],
        use_installed=USE_INSTALLED in annotations,
    )


def remove_lease(kube: Kube, uid: str) -> None:
    """Remove a Lease, but none that another run has made in its place."""
    with suppress(ConflictError):
        kube.delete(*KIND, NAME, NAMESPACE, uid=uid)


def in_use(found: Owner) -> str:
    """Return the message that a cluster belongs to another run."""
    return (
        f"The cluster is in use: {found.holder} began {found.run} on it at {found.since}; wait for its end. "
        f"If it was killed, try again in {max(found.left, 0) + 1:.0f} s, when its claim has run out: what it "
        "has left is then taken away. "
        f"See: kubectl -n {NAMESPACE} get lease {NAME} -o yaml"
    )


def _lost(found: Object | None) -> str:
    """Return the message that a run's claim is void, with the Lease that is there instead."""
    seen = f"is now that of {found['spec'].get('holderIdentity')}" if found else "is gone"
    return (
        f"The cluster is lost: Lease {NAMESPACE}/{NAME}, this run's claim to it, {seen}. "
        f"A run that does not renew it for {_SECONDS} s, such as while its machine sleeps, is taken for "
        "dead, and what it has made is taken away. "
        f"See: kubectl -n {NAMESPACE} get lease {NAME} -o yaml"
    )


def _now(kube: Kube) -> str:
    return kube.now().astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
