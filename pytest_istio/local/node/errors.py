"""What keeps a container from being created, and how the system's errors are told."""

from __future__ import annotations

import os

from pytest_istio.errors import ClusterError

__all__ = ["CannotStartError", "cause"]


class CannotStartError(ClusterError):
    """A container cannot be created at the moment.

    Attributes:
        reason: The reason that the container's state shows while it waits, such as ``ErrImagePull``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def cause(error: OSError) -> str:
    """Return what went wrong in the system's own words; asyncio puts addresses of the wire in their place."""
    return os.strerror(error.errno) if error.errno else str(error)
