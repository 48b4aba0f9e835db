"""What keeps a container from being created; the kubelet reports it and tries again."""

from __future__ import annotations

from pytest_istio.errors import ClusterError

__all__ = ["CannotStartError"]


class CannotStartError(ClusterError):
    """A container cannot be created at the moment.

    Attributes:
        reason: The reason that the container's state shows while it waits, such as ``ErrImagePull``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
