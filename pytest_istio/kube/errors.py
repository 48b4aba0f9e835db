"""What an API server, or the way to it, can answer instead of the object asked for.

Errors of the libraries below (urllib3, kubernetes) are translated here and do not leave the package.
`UnreachableError` and `UnauthorizedError` are also `ClusterError`: without a server, or without a way to
log in, there is no cluster to work with, whatever was asked.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from pytest_istio.errors import ClusterError, PytestIstioError

__all__ = [
    "ConflictError",
    "ForbiddenError",
    "KindNotServedError",
    "KubeError",
    "NotFoundError",
    "UnauthorizedError",
    "UnreachableError",
    "from_answer",
    "no_api_server",
]


class KubeError(PytestIstioError):
    """The API server refused or failed a request.

    Attributes:
        status: The HTTP status; None when no answer came.
        reason: The machine-readable reason of the answer, such as ``AlreadyExists``.
        path: What was asked, such as ``GET /api/v1/nodes``.
        details: The answer's ``Status`` object; empty when there was none.
        retry_after: Seconds that the server wants to be left alone; None when it said nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reason: str = "",
        path: str = "",
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.path = path
        self.details = details or {}
        self.retry_after = retry_after


class NotFoundError(KubeError):
    """There is no such object, or the API server does not serve such a path."""


class ConflictError(KubeError):
    """The object exists already, was changed meanwhile, or a field of it belongs to somebody else."""


class ForbiddenError(KubeError):
    """The user may not do this, or an admission check denied it."""


class UnauthorizedError(KubeError, ClusterError):
    """The API server does not know the user: no, wrong or expired credentials."""


class UnreachableError(KubeError, ClusterError):
    """No answer came: nothing listens, the connection broke, the certificate is not trusted, time was up."""


class KindNotServedError(KubeError):
    """The API server has no such kind in that API version."""


_BY_STATUS: dict[int, type[KubeError]] = {
    HTTPStatus.UNAUTHORIZED: UnauthorizedError,
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
}

_LOG_IN = (
    "The credentials in the kubeconfig are missing, wrong or expired; log in again, "
    "then try `kubectl auth whoami`."
)
_MAY_NOT = "See what this user may do with `kubectl auth can-i --list`."


def from_answer(path: str, status: int, body: bytes, retry_after: str | None) -> KubeError:
    """Return the error that says what the API server answered.

    Args:
        path: What was asked, such as ``GET /api/v1/nodes``.
        status: The HTTP status.
        body: Usually a ``Status`` object; shown shortened when it is something else.
        retry_after: The header ``Retry-After``, if there was one.
    """
    details = _status_object(body)
    text = str(details.get("message") or body.decode(errors="replace").strip()[:500] or "no explanation")
    reason = str(details.get("reason") or "")
    message = f"{path}: {status}{f' {reason}' if reason else ''}: {text.rstrip('.')}."
    if status == HTTPStatus.UNAUTHORIZED:
        message = f"{message} {_LOG_IN}"
    elif status == HTTPStatus.FORBIDDEN and "cannot " in text:
        # Words of the authorizer; what an admission check denies is explained by its own message.
        message = f"{message} {_MAY_NOT}"
    return _BY_STATUS.get(status, KubeError)(
        message,
        status=status,
        reason=reason,
        path=path,
        details=details,
        retry_after=float(retry_after) if retry_after and retry_after.isdecimal() else None,
    )


def no_api_server(server: str, path: str, seen: object) -> KubeError:
    """Return the error that says that whoever answers is no API server.

    Args:
        server: Its URL.
        path: What was asked, such as ``GET /version``.
        seen: What it answered, shown shortened.
    """
    shown = seen.decode(errors="replace") if isinstance(seen, bytes) else json.dumps(seen)
    return KubeError(
        f"{path}: {server} is no API server of Kubernetes, it answers: {' '.join(shown.split())[:100]!r}. "
        "See `kubectl config view --minify`.",
        path=path,
    )


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        details = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return details if isinstance(details, dict) and details.get("kind") == "Status" else {}
