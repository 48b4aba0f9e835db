"""What can be asked of an API server by path alone, without knowing its kinds."""

from __future__ import annotations

import gc
import json
import re
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import ClusterError
from pytest_istio.kube.connection import RETRY_SECONDS, Connection
from pytest_istio.kube.deadline import OverdueError, within
from pytest_istio.kube.errors import KubeError, UnreachableError, no_api_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from typing_extensions import Self

    from pytest_istio.kube.objects import Body, Object

__all__ = ["ApiServer", "decoded"]


class ApiServer:
    """One API server, asked by path; `Kube` knows its objects, too. Safe to share between threads.

    Every method raises `KubeError`, or the subclass that fits, when the server answers with an error or not
    at all. What fails in passing (429, 5xx, resets) is tried again for ten seconds where that is safe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def connect(
        cls, kubeconfig: Path | None, context: str | None = None, *, request_timeout: float = 10.0
    ) -> Self:
        """Return a client for a kubeconfig context; nothing is sent yet.

        Args:
            kubeconfig: The file; None for ``KUBECONFIG`` or the one in the home folder.
            context: A context of the file; None for its current one.
            request_timeout: Seconds that the server may be silent during one request.

        Raises:
            ClusterError: The file cannot be read, or has no such context.
        """
        return cls(Connection(kubeconfig, context, request_timeout=request_timeout))

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return self._connection.server

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def version(self) -> Object:
        """Return what the server says of its version, ``gitVersion`` and more.

        It is the first request to a server, which may be anything; so the whole answer has a bound.

        Raises:
            KubeError: It says nothing of the kind, so it is no API server.
        """
        seconds = RETRY_SECONDS + 2 * self._connection.request_timeout
        try:
            found = within(seconds, lambda: self.json("GET", "/version"), "version")
        except OverdueError as error:
            text = (
                f"GET /version: the server at {self.server} has not answered fully within {seconds:.0f} s. "
                "Likely it is overloaded, or no API server; try `kubectl cluster-info`."
            )
            raise UnreachableError(text, path="GET /version") from error
        if not re.match(r"v\d+\.\d+\.", str(found.get("gitVersion"))):
            raise no_api_server(self.server, "GET /version", found)
        return found

    def ready(self) -> bool:
        """Return whether the server calls itself ready, asked once."""
        try:
            self._connection.ask("/readyz").close()
        except (ClusterError, KubeError):
            return False
        return True

    def now(self) -> datetime:
        """Return the time by the server's clock, to the second (RFC 9110, 6.6.1: ``Date``)."""
        answer = self._connection.retried(lambda: self._connection.ask("/version"), repeatable=True)
        answer.close()
        try:
            return parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError):
            raise no_api_server(self.server, "GET /version", dict(answer.headers)) from None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> bytes:
        """Return the answer to any request, as it came.

        Args:
            method: Such as ``GET``.
            path: Below the server's URL, such as ``/api/v1/nodes``.
            query: Parameters; a list gives a parameter several times.
            body: A JSON value, or bytes that are sent as they are.
            content_type: What the body is.
            timeout: Seconds that the server may be silent; None for the client's usual bound.
            repeatable: Whether sending it twice does no more than sending it once; None to go by the method.
        """
        headers = {"Content-Type": content_type} if body is not None else None
        return self._connection.request(
            method, path, query=query, body=body, headers=headers, timeout=timeout, repeatable=repeatable
        )

    def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> Object:
        """Return the answer to any request that is answered with a JSON object; arguments as in `request`."""
        text = self.request(
            method, path, query=query, body=body,
            content_type=content_type, timeout=timeout, repeatable=repeatable,
        )  # fmt: skip
        return decoded(self.server, f"{method} {path}", text)


def decoded(server: str, asked: str, text: bytes) -> Object:
    """Return the JSON object with which a server has answered.

    Args:
        server: Its URL.
        asked: What was asked, such as ``GET /version``.
        text: The body of its answer.

    Raises:
        KubeError: It is none, so that the server is no API server.
    """
    try:
        with _uncollected():
            answer: Object = json.loads(text)
    except (ValueError, RecursionError):
        raise no_api_server(server, asked, text) from None
    if not isinstance(answer, dict):
        raise no_api_server(server, asked, answer)
    return answer


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause Python's search for cycles, which takes as long as parsing a big answer does and finds none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
