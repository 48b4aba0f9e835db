"""The API server as a program in a pod reaches it: by its ServiceAccount, with no other rights."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from pytest_istio.local.images.environment import connect_address, inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["ApiError", "ClusterApi", "Event", "Object"]

Object = dict[str, Any]

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_WATCH_SECONDS = 290
_TIMEOUT = 30.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.3


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        status: The HTTP status, or the ``code`` of an error that ended a watch.
        reason: The API's machine-readable reason, such as ``AlreadyExists``.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


_LOST = (ApiError, OSError, http.client.HTTPException, ValueError)


class Event(NamedTuple):
    """What a watch tells.

    Attributes:
        type: ``LISTED``, ``ADDED``, ``MODIFIED`` or ``DELETED``.
        objects: All objects there are for ``LISTED``, else the one that changed.
    """

    type: str
    objects: list[Object]


class _Connection(http.client.HTTPSConnection):
    """Connects to where the API server's Service is served; its certificate is checked for its own name."""

    def connect(self) -> None:
        plain = socket.create_connection(connect_address(self.host, self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)  # type: ignore[attr-defined]


def _checked(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if response.status < http.client.BAD_REQUEST:
        return response
    text = response.read().decode(errors="replace")
    try:
        status = json.loads(text)
    except json.JSONDecodeError:
        status = {}
    message = status.get("message", text)
    raise ApiError(response.status, status.get("reason", response.reason), message)


class ClusterApi:
    """A client of the API server with the rights of this pod's ServiceAccount; safe to use from threads."""

    def __init__(self) -> None:
        """Find the API server in the environment.

        Raises:
            KeyError: This is no pod.
            OSError: The pod has no ServiceAccount token.
        """
        self._host = os.environ["KUBERNETES_SERVICE_HOST"]
        self._port = int(os.environ["KUBERNETES_SERVICE_PORT"])
        self._token = inside(f"{_ACCOUNT}/token")
        self._tls = ssl.create_default_context(cafile=str(inside(f"{_ACCOUNT}/ca.crt")))

    def _connection(self, timeout: float) -> _Connection:
        return _Connection(self._host, self._port, timeout=timeout, context=self._tls)

    def _headers(self, accept: str) -> dict[str, str]:
        # Read anew each time: the kubelet replaces the token before it expires.
        token = self._token.read_text(encoding="utf-8").strip()
        return {"Authorization": f"Bearer {token}", "Accept": accept}

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """Send one request and return the answer's object.

        Args:
            method: The HTTP method.
            path: An API path, such as ``/api/v1/namespaces/default/secrets``.
            body: A JSON value to send.
            content_type: What the body is, for patches.
            query: Query parameters.

        Raises:
            ApiError: The server refused.
            OSError: The server cannot be reached.
        """
        connection = self._connection(_TIMEOUT)
        try:
            headers = self._headers("application/json") | {"Content-Type": content_type}
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, _target(path, query), data, headers)
            answer: Object = json.loads(_checked(connection.getresponse()).read())
            return answer
        finally:
            connection.close()

    def watch(
        self,
        path: str,
        *,
        on_error: Callable[[Exception], None],
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Iterator[Event]:
        """Follow the objects of a collection for ever, whatever happens to the server.

        Begins with ``LISTED``, and again each time that the watch had to begin anew.

        Args:
            path: The collection, such as ``/api/v1/pods``.
            on_error: Told why listing or watching failed, each time; it is tried again after a pause.
            query: Query parameters such as ``labelSelector``.
            accept: The form of objects asked for, such as their metadata only.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                for event in self._follow(path, query or {}, accept):
                    pause = _FIRST_PAUSE
                    yield event
            except _LOST as error:  # each loss is told and survived
                on_error(error)
                pause = min(pause * 2, _LONGEST_PAUSE)
            time.sleep(pause)

    def _follow(self, path: str, query: Mapping[str, str], accept: str) -> Iterator[Event]:
        """List, then watch until the server ends the watch."""
        connection = self._connection(_WATCH_SECONDS + _TIMEOUT)
        try:
            connection.request("GET", _target(path, query), headers=self._headers(accept))
            listed = json.loads(_checked(connection.getresponse()).read())
            yield Event("LISTED", listed["items"] or [])
            version = listed["metadata"]["resourceVersion"]
            following = {
                **query,
                "watch": "1",
                "resourceVersion": version,
                "timeoutSeconds": str(_WATCH_SECONDS),
            }
            connection.request("GET", _target(path, following), headers=self._headers(accept))
            stream = _checked(connection.getresponse())
            while line := stream.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(status.get("code", 0), status.get("reason", ""), status.get("message", ""))
                yield Event(event["type"], [event["object"]])
        finally:
            connection.close()


def _target(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path
