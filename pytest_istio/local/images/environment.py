"""Where a container's program finds its files, its addresses and its log.

On the embedded Kubernetes a container is a process: PODROOT is the folder that stands for the root of its
filesystem, and addresses are those of `pytest_istio.local.addresses`. In an ordinary container none of that
is set, and everything here is what it is anywhere.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import NoReturn

from pytest_istio.local import addresses

__all__ = [
    "ANY_HOST",
    "connect_address",
    "embedded",
    "end_with_parent",
    "inside",
    "listen_address",
    "log",
    "namespace",
    "pod_address",
    "run_until_terminated",
]

ANY_HOST = "0.0.0.0"  # noqa: S104  # what a program in an ordinary container listens at
_PR_SET_PDEATHSIG = 1
_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def embedded() -> bool:
    """Tell whether this is the embedded Kubernetes, where every address is a loopback one."""
    return bool(os.environ.get("LOCAL_ADDRESSES"))


def inside(path: str) -> Path:
    """Return where the container's `path`, an absolute one, really is."""
    return Path(os.environ.get("PODROOT", "") + path)


def namespace() -> str:
    """Return the namespace of this pod."""
    given = os.environ.get("POD_NAMESPACE")
    if given:
        return given
    file = inside(_NAMESPACE_FILE)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else "default"


def listen_address(port: int) -> tuple[str, int]:
    """Return where an application listens that wants `port`: behind the sidecar if the pod has one."""
    return os.environ.get("LOCAL_LISTEN") or ANY_HOST, addresses.wire_port(port)


def pod_address(port: int) -> tuple[str, int]:
    """Return where `port` of this pod's own address is: what the pod's Service sends to."""
    pod = os.environ.get("LOCAL_POD_IP")
    return (addresses.wire_host(pod) if pod else ANY_HOST), addresses.wire_port(port)


def connect_address(host: str, port: int) -> tuple[str, int]:
    """Return where to connect to for `port` of a host, named as a program in the cluster would name it."""
    return addresses.wire(host, port, namespace())


def log(message: str, *, level: str = "info", **fields: object) -> None:
    """Write a line to the container's log: a JSON object."""
    time = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json.dumps({"time": time, "level": level, "msg": message, **fields}, default=str)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def run_until_terminated() -> NoReturn:
    """Leave the work to this program's threads until it is told to end; only the main thread may call it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _terminate)
    while True:
        signal.pause()


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, however that happens."""
    import ctypes  # noqa: PLC0415  # few programs need it, and it takes as long as all the rest

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
