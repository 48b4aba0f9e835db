"""Running programs in pods and forwarding ports to them, over the official client's WebSockets."""

from __future__ import annotations

import json
import select
import socketserver
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from kubernetes.client.exceptions import ApiException
from kubernetes.stream import ws_client

from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.errors import KubeError, UnreachableError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from pytest_istio.kube.connection import Connection

__all__ = ["Executed", "execute", "forward"]

# The client carries no types here; these are the functions behind its `stream` and `portforward`, which
# would need the typed API classes (half a second to import) and cannot be used by several threads.
_websocket: Callable[..., Any] = ws_client.websocket_call
_port_forward: Callable[..., Any] = ws_client.portforward_call


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
) -> Executed:
    """Run a program in a container; see `Kube.exec`."""
    query: dict[str, object] = {"command": list(command), "stdout": "true", "stderr": "true"}
    if container is not None:
        query["container"] = container
    path = f"{_pod(namespace, pod)}/exec"
    url = f"{connection.server}{path}?{urlencode(query, doseq=True)}"
    deadline = Deadline(connection.request_timeout if timeout is None else timeout)
    with _opening(connection, path) as options:
        client = _websocket(url=url, **options, _preload_content=False)
    printed: dict[int, list[str]] = {1: [], 2: [], 3: []}
    try:
        while client.is_open() and not deadline.expired:
            client.update(timeout=deadline.remaining())
            for channel, parts in printed.items():
                parts.append(client.read_channel(channel))
        if client.is_open():
            raise UnreachableError(
                f"exec of {' '.join(command)!r} in pod {namespace}/{pod} did not end in time.", path=path
            )
    finally:
        client.close()
    stdout, stderr, status = ("".join(parts) for parts in printed.values())
    return Executed(stdout, stderr, _exit_code(status, path))


@contextmanager
def forward(connection: Connection, namespace: str, pod: str, port: int) -> Iterator[tuple[str, int]]:
    """Listen on loopback and forward each connection to a port of a pod; see `Kube.port_forward`."""
    path = f"{_pod(namespace, pod)}/portforward"
    url = f"{connection.server}{path}"

    class Forwarding(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with _opening(connection, path) as options:
                tunnel = _port_forward(url=url, **options, query_params=[("ports", str(port))])
            try:
                _pump(self.request, tunnel.socket(port))
            finally:
                tunnel.close()

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


def _pump(near: socket.socket, far: socket.socket) -> None:
    """Copy what either side sends to the other one, until one of them ends."""
    other = {near: far, far: near}
    while True:
        for ready in select.select([near, far], [], [])[0]:
            block = ready.recv(65536)
            if not block:
                return
            other[ready].sendall(block)


@contextmanager
def _opening(connection: Connection, path: str) -> Iterator[dict[str, Any]]:
    """Give what the official client needs to open a WebSocket, and translate its error."""
    try:
        with connection.configuration() as configuration:
            headers = connection.authorization()
            yield {"configuration": configuration, "_method": "GET", "headers": headers}
    except ApiException as error:
        reason = " ".join(str(error.reason).split())
        raise KubeError(f"GET {path}: the pod's stream cannot be opened: {reason}", path=path) from error


def _exit_code(status: str, path: str) -> int:
    answer = json.loads(status) if status else {}
    if answer.get("status") == "Success":
        return 0
    for cause in answer.get("details", {}).get("causes", []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise KubeError(f"GET {path}: {answer.get('message') or 'the stream ended without a status'}", path=path)


def _pod(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
