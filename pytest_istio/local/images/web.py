"""HTTP for the programs of images: a server, and asking others the way an application in a pod does."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pytest_istio.local.images.environment import connect_address, log

if TYPE_CHECKING:
    import ssl
    from email.message import Message

__all__ = ["Handler", "Request", "Response", "fetch", "json_response", "serve", "text_response"]

_BACKLOG = 128


class Request(NamedTuple):
    """A request as it came in.

    Attributes:
        method: ``GET``, ``POST``, ...
        path: The path without its query, as it was sent.
        query: What follows the question mark; empty if there is none.
        headers: The headers; look-ups ignore case.
        body: The whole body.
        client: The address of the peer.
    """

    method: str
    path: str
    query: str
    headers: Message
    body: bytes
    client: str


class Response(NamedTuple):
    """An answer, sent or received.

    Attributes:
        status: The HTTP status.
        body: The whole body.
        headers: Headers besides Content-Length and Date; names of received ones are in lower case.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


Handler = Callable[[Request], Response]


def json_response(value: object, status: int = 200) -> Response:
    """Return `value` as a JSON answer."""
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def text_response(text: str, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Response:
    """Return `text` as an answer."""
    return Response(status, text.encode(), {"Content-Type": content_type})


class _Exchange(BaseHTTPRequestHandler):
    """Hands each request of a connection to the server's handler."""

    protocol_version = "HTTP/1.1"
    # Headers and body in one segment, at once: the two halves cost 44 ms a request otherwise.
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def handle_one_request(self) -> None:
        """Read one request and answer it; leave the connection open for the next."""
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            self._answer()
            self.wfile.flush()
        except OSError:
            # The peer is gone, or never spoke our TLS: nobody is left to tell.
            self.close_connection = True

    def _answer(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self._send(text_response("send a Content-Length\n", 411))
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        client = self.client_address[0]
        request = Request(self.command, path, query, self.headers, body, client)
        try:
            response = self.server.handler(request)
        except Exception as error:  # noqa: BLE001  # a program outlives a request that it cannot serve
            log("request failed", level="error", method=self.command, path=path, error=repr(error))
            response = text_response(f"{type(error).__name__}: {error}\n", 500)
        self._send(response)

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def version_string(self) -> str:
        return self.server.software

    def log_message(self, *_: object) -> None:
        """Leave the log to the program."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _BACKLOG
    allow_reuse_address = True

    def __init__(
        self, address: tuple[str, int], handler: Handler, tls: ssl.SSLContext | None, software: str
    ) -> None:
        self.handler = handler
        self.tls = tls
        self.software = software
        super().__init__(address, _Exchange)

    def server_bind(self) -> None:
        # The library's asks the machine's resolver for the address's name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.tls is not None:
            # The handshake is left to the connection's own thread: a silent peer must not block the rest.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address


def serve(
    handler: Handler,
    address: tuple[str, int],
    *,
    tls: ssl.SSLContext | None = None,
    software: str = "pytest-istio",
) -> ThreadingHTTPServer:
    """Start to answer requests, each connection in a thread of its own, and return.

    Args:
        handler: Answers a request; called from several threads. What it raises is answered with a 500.
        address: Where to listen: host and port.
        tls: Speaks TLS when given. Certificates loaded into it later count from the next connection on.
        software: The ``Server`` header.

    Raises:
        OSError: The address is taken or not this machine's.
    """
    server = _Server(address, handler, tls, software)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 60}, daemon=True).start()
    return server


def _proxy(host: str) -> str | None:
    excluded = os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).split(",")
    if host in excluded:
        return None
    return os.environ.get("http_proxy") or os.environ.get("HTTP_PROXY")


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 10.0,
) -> Response:
    """Ask a plain-text HTTP server, through the proxy of the environment if there is one.

    Args:
        url: An ``http://`` URL whose host is named as in the cluster.
        method: The HTTP method.
        headers: Headers to send.
        body: A body to send.
        timeout: Seconds for connecting, and for each time nothing arrives.

    Raises:
        OSError: Nobody answers there in time.
        http.client.HTTPException: What answers is not HTTP.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    proxy = _proxy(host)
    if proxy:
        entry = urlsplit(proxy)
        where, target = (entry.hostname or "", entry.port or 80), url
    else:
        where = connect_address(host, port)
    connection = http.client.HTTPConnection(*where, timeout=timeout)
    try:
        connection.request(method, target, body, {"Host": parts.netloc, **(headers or {})})
        answer = connection.getresponse()
        received = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, answer.read(), received)
    finally:
        connection.close()
