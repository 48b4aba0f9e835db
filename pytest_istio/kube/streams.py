"""Running programs in pods and forwarding ports to them, over the official client's WebSockets."""

from __future__ import annotations

import json
import selectors
import socketserver
import ssl
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

from kubernetes.stream.ws_client import WSClient
from websocket import WebSocketBadStatusException, WebSocketException

from pytest_istio.kube.connection import NOT_SENT, TOO_LONG
from pytest_istio.kube.deadline import Deadline, OverdueError, within
from pytest_istio.kube.errors import KubeError, UnreachableError, from_answer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kubernetes.client import Configuration

    from pytest_istio.kube.connection import Connection

__all__ = ["Executed", "execute", "forward"]

STDOUT, STDERR, STATUS = 1, 2, 3
"""Channels of an exec."""

DATA, ERROR = 0, 1
"""Channels of a port-forward."""

PORT_BYTES = 2
"""What comes first on either channel of a port-forward: the port once more."""


class _Stream(Protocol):
    """What is used of the official client's WebSocket, which has no types."""

    sock: Any

    def is_open(self) -> bool: ...
    def update(self, timeout: float) -> None: ...
    def read_channel(self, channel: int) -> bytes: ...
    def write_channel(self, channel: int, data: bytes) -> None: ...


_connect: Callable[..., _Stream] = WSClient


@dataclass(frozen=True)
class Executed:
    """What a program in a container did.

    Attributes:
        stdout: What it printed.
        stderr: What it printed as errors.
        exit_code: 0 for success.
    """

    stdout: str
    stderr: str
    exit_code: int


def execute(
    connection: Connection,
    namespace: str,
    pod: str,
    command: Sequence[str],
    *,
    container: str | None,
    timeout: float | None,
    repeatable: bool,
) -> Executed:
    """Run a program in a container; see `Kube.exec`."""
    query: dict[str, object] = {"command": list(command), "stdout": "true", "stderr": "true"}
    if container is not None:
        query["container"] = container
    path = f"{_pod(namespace, pod)}/exec"
    deadline = Deadline(connection.request_timeout if timeout is None else timeout)
    asked = f"exec of {' '.join(command)!r} in pod {namespace}/{pod}"
    return connection.retried(
        lambda: _executed(connection, path, query, deadline, asked), repeatable=repeatable
    )


def _executed(
    connection: Connection, path: str, query: Mapping[str, object], deadline: Deadline, asked: str
) -> Executed:
    printed: dict[int, list[bytes]] = {STDOUT: [], STDERR: [], STATUS: []}
    with _open(connection, path, query, deadline.remaining()) as stream:
        while stream.is_open() and not deadline.expired:
            stream.update(timeout=deadline.remaining())
            _drain(stream, printed)
        # Reading one channel may have taken the rest of another one from the wire.
        _drain(stream, printed)
        if stream.is_open():
            raise UnreachableError(f"{asked} did not end in time.", path=path, reason=TOO_LONG)
    stdout, stderr, status = (b"".join(parts).decode(errors="replace") for parts in printed.values())
    if not status:
        raise UnreachableError(f"{asked}: the stream ended without a status.", path=path)
    return Executed(stdout, stderr, _exit_code(status, path))


def _drain(stream: _Stream, printed: Mapping[int, list[bytes]]) -> None:
    for channel, parts in printed.items():
        parts.append(_read(stream, channel))


def _read(stream: _Stream, channel: int) -> bytes:
    # An empty channel gives text in some versions of the client.
    return stream.read_channel(channel) or b""


@contextmanager
def forward(connection: Connection, namespace: str, pod: str, port: int) -> Iterator[tuple[str, int]]:
    """Listen on loopback and forward each connection to a port of a pod; see `Kube.port_forward`."""
    path = f"{_pod(namespace, pod)}/portforward"

    class Forwarding(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # Whoever connects sees a closed connection, as from a port where nobody listens.
            with suppress(KubeError), ExitStack() as held:
                stream = connection.retried(
                    lambda: held.enter_context(
                        _open(connection, path, {"ports": port}, connection.request_timeout)
                    ),
                    repeatable=True,
                )
                _pump(self.request, stream)

    with _Listener(("127.0.0.1", 0), Forwarding) as listener:
        thread = Thread(target=listener.serve_forever, name=f"port-forward {pod}:{port}", daemon=True)
        thread.start()
        try:
            yield "127.0.0.1", listener.server_address[1]
        finally:
            listener.shutdown()
            thread.join()


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _pump(near: socket.socket, stream: _Stream) -> None:
    """Copy what either side sends to the other one, until one of them ends."""
    far = stream.sock.sock
    repeated = PORT_BYTES
    with selectors.DefaultSelector() as selector:
        selector.register(near, selectors.EVENT_READ)
        selector.register(far, selectors.EVENT_READ)
        while stream.is_open():
            # TLS may have taken more from the wire than was asked for.
            buffered = isinstance(far, ssl.SSLSocket) and far.pending() > 0
            ready = {key.fileobj for key, _ in selector.select(0 if buffered else None)}
            if near in ready:
                block = near.recv(65536)
                if not block:
                    return
                stream.write_channel(DATA, block)
            if far in ready or buffered:
                stream.update(timeout=0)
                if len(_read(stream, ERROR)) > PORT_BYTES:
                    return
                block = _read(stream, DATA)
                near.sendall(block[repeated:])
                repeated = max(0, repeated - len(block))


@contextmanager
def _open(
    connection: Connection, path: str, query: Mapping[str, object], seconds: float
) -> Iterator[_Stream]:
    """Give the official client's WebSocket to a pod, closed at the end; its errors are translated.

    The client's own ways to it need the typed API classes, which take half a second to import, cannot be
    used by several threads, and leave sockets open.
    """
    asked = f"GET {path}"
    server = connection.server.replace("http", "ws", 1)
    url = f"{server}{path}?{urlencode(query, doseq=True)}"
    stream = None
    try:
        with connection.configuration() as configuration:
            headers = connection.authorization()
            stream = _opened(asked, configuration, url, headers, seconds)
        yield stream
    except WebSocketBadStatusException as error:
        raise from_answer(asked, error.status_code, error.resp_body or b"", None) from error
    except (WebSocketException, OSError) as error:
        reason = NOT_SENT if isinstance(error, ConnectionRefusedError) else ""
        text = f"{asked}: the stream to the pod broke: {error}"
        raise UnreachableError(text, path=asked, reason=reason) from error
    finally:
        if stream is not None:
            stream.sock.shutdown()


def _opened(
    asked: str, configuration: Configuration, url: str, headers: Mapping[str, str], seconds: float
) -> _Stream:
    def connect() -> _Stream:
        return _connect(configuration, url, headers, capture_all=False, binary=True)

    try:
        # The client's WebSocket knows no bound on opening; a thread that is left ends with its socket.
        return within(seconds, connect, "websocket")
    except OverdueError as error:
        text = f"{asked}: the stream to the pod did not open within {seconds:.0f} s."
        raise UnreachableError(text, path=asked, reason=TOO_LONG) from error


def _exit_code(status: str, path: str) -> int:
    answer = json.loads(status)
    if answer.get("status") == "Success":
        return 0
    for cause in answer.get("details", {}).get("causes", []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise KubeError(f"GET {path}: {answer.get('message') or status}", path=path)


def _pod(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
