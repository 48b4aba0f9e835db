"""The programs of the control plane: which versions are brought, and which are taken where they are found."""

from __future__ import annotations

import re

__all__ = ["ETCD", "KUBERNETES", "PROGRAMS", "accepted", "wanted"]

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
"""In the order in which they are started."""

KUBERNETES = "1.34.3"
ETCD = "3.6.5"

# Older ones answer no progress requests, which makes watches of quiet custom resources go stale.
_FIRST_ETCD = (3, 5, 13)

_NUMBERS = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def accepted(program: str, printed: str) -> bool:
    """Tell whether a program may be used that prints this with ``--version``."""
    found = _NUMBERS.search(printed)
    if found is None:
        return False
    numbers = tuple(map(int, found.groups()))
    if program == "etcd":
        return _FIRST_ETCD <= numbers < (4,)
    return numbers[:2] == tuple(map(int, KUBERNETES.split(".")[:2]))


def wanted(program: str) -> str:
    """Return the versions of a program that are accepted, for people."""
    if program == "etcd":
        return "{}.{}.{} or a later 3.x".format(*_FIRST_ETCD)
    return KUBERNETES.rpartition(".")[0] + ".x"
