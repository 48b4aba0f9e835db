"""Which of the clusters side by side one is: a number that no other on this machine has."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.local.addresses import INSTANCES, PORT_SHIFT, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["allocate"]

# Below the ports that the kernel hands out and those of NodePorts, and of no service that is widely known.
_PORT = 28_199


@contextmanager
def allocate() -> Iterator[Plan]:
    """Reserve the addresses of one cluster until the context, or every process forked in it, has ended.

    The lock is a bound socket at an address of the cluster itself: what users and containers see of
    each other's locks is then exactly what they share of the network, and the kernel lets go of it
    whatever way a process dies.

    Raises:
        ClusterError: All numbers are taken.
    """
    for instance in range(INSTANCES):
        # Nobody ever connects to it, so no old connection keeps the address from being bound again.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as lock:
            try:
                lock.bind((f"127.{224 + instance}.0.2", _PORT))
            except OSError:
                continue
            yield Plan(instance, 0 if _may_bind_low_ports(instance) else PORT_SHIFT)
            return
    raise ClusterError(
        f"All {INSTANCES} places for embedded clusters on this machine are taken, or something listens on "
        f"port {_PORT} of all addresses. `pytest-istio cleanup` ends clusters that were kept; "
        "`ss -ltnp` shows what listens."
    )


def _may_bind_low_ports(instance: int) -> bool:
    """Tell whether ports below 1024 may be bound: asked of the kernel, since it is not for root only."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((f"127.{224 + instance}.0.2", 1))
        except PermissionError:
            return False
    return True
