"""What each of the clusters side by side has to itself: a number, hence addresses, and a folder."""

from __future__ import annotations

import errno
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.local.addresses import INSTANCES, PORT_SHIFT, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PREFIX", "allocate", "make_folder", "may_bind_low_ports"]

PREFIX = "pytest-istio-"
"""What the name of a cluster's temporary folder begins with."""

# Below the ports that the kernel hands out and those of NodePorts, and of no service that is widely known.
_PORT = 28_199

# The path of a Unix socket has room for 107 bytes; the longest one below the folder is "egress.sock".
_LONGEST_FOLDER = 90


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
            yield Plan(instance, 0 if may_bind_low_ports() else PORT_SHIFT)
            return
    raise ClusterError(
        f"All {INSTANCES} places for embedded clusters on this machine are taken, or something listens on "
        f"port {_PORT} of all addresses. `pytest-istio cleanup` ends clusters that were kept; "
        "`ss -ltnp` shows what listens."
    )


def may_bind_low_ports() -> bool:
    """Tell whether ports below 1024 may be bound: asked of the kernel, since it is not for root only."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.224.0.2", 1))
        except OSError as error:
            # Another run may ask at the same time: the kernel looks at permissions first.
            return error.errno == errno.EADDRINUSE
    return True


def make_folder() -> Path:
    """Make the private temporary folder of a cluster, with a path short enough for Unix sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    if len(str(folder).encode()) > _LONGEST_FOLDER:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    return folder
