"""Whether the embedded Kubernetes can run on this machine at all."""

from __future__ import annotations

import importlib.util
import platform
import sys

from pytest_istio.errors import ClusterError

__all__ = ["check_machine"]

# What Envoy's wheel is built for.
_GLIBC = (2, 31)
_MACHINE = "x86_64"
_EXTRA = ("aiohttp", "cryptography", "envoy")

_ELSEWHERE = (
    "Use a cluster of your own (--istio-cluster=existing --istio-context=NAME) "
    "or kind (--istio-cluster=kind)."
)


def check_machine() -> None:
    """Return if this machine can run the embedded Kubernetes.

    Raises:
        ClusterError: It cannot; says why.
    """
    if reason := _obstacle():
        raise ClusterError(
            f"The embedded Kubernetes (--istio-cluster=local) does not run here: {reason}. {_ELSEWHERE}"
        )
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ClusterError(
            f"The embedded Kubernetes needs packages that are not installed: {', '.join(missing)}. "
            f"Install them with: {sys.executable} -m pip install 'pytest-istio[local]'"
        )


def _obstacle() -> str | None:
    if sys.platform != "linux":
        return f"it needs Linux, where all of 127.0.0.0/8 is loopback; this is {platform.system()}"
    if platform.machine() != _MACHINE:
        return f"it needs an x86-64 processor, which Envoy's wheel is built for; this is {platform.machine()}"
    library, release = platform.libc_ver()
    if library != "glibc":
        return f"it needs glibc, which Envoy's wheel is built for; this Python uses {library or 'another'}"
    if tuple(map(int, release.split(".")[:2])) < _GLIBC:
        return f"it needs glibc {_GLIBC[0]}.{_GLIBC[1]} or newer; this is {release}"
    return None
