"""One request as curl makes it: the cluster's names and addresses, a proxy, TLS, redirects, exit codes."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from pytest_istio.local.images.environment import connect_address

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "CurlError", "Transfer"]

_MALFORMED_URL, _UNRESOLVED, _REFUSED = 3, 6, 7
_TIMED_OUT, _TOO_MANY_REDIRECTS, _EMPTY_REPLY, _RECEIVE_ERROR, _UNTRUSTED = 28, 47, 52, 56, 60
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BECOME_GET = frozenset({301, 302, 303})


class CurlError(Exception):
    """A request failed.

    Attributes:
        code: curl's exit code for it.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Answer:
    """What came back.

    Attributes:
        url: The URL that answered, the last one after redirects.
        status: The HTTP status.
        head: The status line and headers of every answer on the way, as they are printed.
        headers: Of the last answer, by lower-case name.
        body: The body of the last answer.
        peer: The address that answered.
        redirects: How many redirects were followed.
        seconds: How long all of it took.
    """

    url: str
    status: int
    head: str
    headers: dict[str, str]
    body: bytes
    peer: tuple[str, int]
    redirects: int = 0
    seconds: float = 0.0


@dataclass
class Transfer:
    """How to ask.

    Attributes:
        method: The HTTP method.
        headers: Headers besides Host, User-Agent and Accept.
        body: A body to send.
        insecure: Whether any certificate will do.
        follow: How many redirects are followed.
        timeout: Seconds for everything; None for no bound.
        connect_timeout: Seconds until there is a connection.
        resolve: Addresses by host and port, from ``--resolve``.
        log: Told each step, one line at a time.
    """

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    insecure: bool = False
    follow: int = 0
    timeout: float | None = None
    connect_timeout: float | None = None
    resolve: Mapping[tuple[str, int], str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def run(self, url: str) -> Answer:
        """Return the answer to this request.

        Raises:
            CurlError: Nothing usable came back.
        """
        started, method, head = time.monotonic(), self.method, ""
        for redirects in range(self.follow + 1):
            answer = self._ask(url if "://" in url else f"http://{url}", method, started)
            answer.head = head + answer.head
            answer.redirects, answer.seconds = redirects, time.monotonic() - started
            target = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not target or not self.follow:
                return answer
            url, head = urljoin(answer.url, target), answer.head
            if answer.status in _BECOME_GET and method != "HEAD":
                method = "GET"
        raise CurlError(_TOO_MANY_REDIRECTS, f"Maximum ({self.follow}) redirects followed")

    def _ask(self, url: str, method: str, started: float) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise CurlError(_MALFORMED_URL, f"URL rejected: {url}")
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            proxy = self._proxy(parts.scheme, parts.hostname)
            where = self._address(*(proxy or (parts.hostname, port)))
            connection = self._connect(where, started)
            if parts.scheme == "https":
                connection.sock = self._encrypted(connection.sock, parts.hostname)
            target = url if proxy else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            return self._exchange(connection, method, target, url)
        except ssl.SSLCertVerificationError as error:
            raise CurlError(_UNTRUSTED, f"SSL certificate problem: {error.verify_message}") from error
        except TimeoutError as error:
            elapsed = time.monotonic() - started
            raise CurlError(
                _TIMED_OUT, f"Operation timed out after {elapsed * 1000:.0f} milliseconds"
            ) from error
        except http.client.RemoteDisconnected as error:
            raise CurlError(_EMPTY_REPLY, "Empty reply from server") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CurlError(_RECEIVE_ERROR, f"Recv failure: {error}") from error

    def _address(self, host: str, port: int) -> tuple[str, int]:
        """Return where to connect to; on the embedded Kubernetes nothing outside the machine is asked."""
        resolved = self.resolve.get((host, port), host)
        address = connect_address(resolved, port)
        if not os.environ.get("LOCAL_ADDRESSES") or _on_this_machine(address[0]):
            return address
        raise CurlError(_UNRESOLVED, f"Could not resolve host: {host}")

    def _connect(self, where: tuple[str, int], started: float) -> http.client.HTTPConnection:
        bounds = [bound for bound in (self.connect_timeout, self._left(started)) if bound is not None]
        try:
            sock = socket.create_connection(where, min(bounds, default=None))
        except socket.gaierror as error:
            raise CurlError(_UNRESOLVED, f"Could not resolve host: {where[0]}") from error
        except TimeoutError:
            raise
        except OSError as error:
            message = f"Failed to connect to {where[0]} port {where[1]}: {error.strerror}"
            raise CurlError(_REFUSED, message) from error
        sock.settimeout(self._left(started))
        self.log.append(f"* Connected to {where[0]} port {where[1]}")
        connection = http.client.HTTPConnection(*where)
        connection.sock = sock
        return connection

    def _left(self, started: float) -> float | None:
        if self.timeout is None:
            return None
        left = self.timeout - (time.monotonic() - started)
        if left <= 0:
            raise TimeoutError
        return left

    def _encrypted(self, sock: socket.socket, host: str) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(sock, server_hostname=host)

    def _proxy(self, scheme: str, host: str) -> tuple[str, int] | None:
        """Return the proxy for a plain request: TLS would need CONNECT, which Istio's proxy port has not."""
        excluded = [name.strip() for name in os.environ.get("no_proxy", "").split(",")]
        address = os.environ.get("http_proxy") if scheme == "http" else None
        if not address or host in excluded or "*" in excluded or host == "localhost":
            return None
        parts = urlsplit(address if "://" in address else f"http://{address}")
        return parts.hostname or "", parts.port or 1080

    def _exchange(self, connection: http.client.HTTPConnection, method: str, target: str, url: str) -> Answer:
        given = {name.lower() for name in self.headers}
        standard = {"Host": urlsplit(url).netloc, "User-Agent": "curl/8.0 (pytest-istio)", "Accept": "*/*"}
        headers = {name: text for name, text in standard.items() if name.lower() not in given}
        headers |= {name: text for name, text in self.headers.items() if text}
        body = self.body if method == self.method else None
        self.log += [
            f"> {method} {target} HTTP/1.1",
            *(f"> {name}: {text}" for name, text in headers.items()),
        ]
        peer: tuple[str, int] = connection.sock.getpeername()[:2]
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, text in headers.items():
                connection.putheader(name, text)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return _answer(response, url, peer)
        finally:
            connection.close()


def _answer(response: http.client.HTTPResponse, url: str, peer: tuple[str, int]) -> Answer:
    version = "1.0" if response.version == 10 else "1.1"  # noqa: PLR2004 - as the library says it
    lines = [f"HTTP/{version} {response.status} {response.reason}".rstrip()]
    lines += [f"{name}: {text}" for name, text in response.getheaders()]
    headers = {name.lower(): text for name, text in response.getheaders()}
    head = "\r\n".join([*lines, "", ""])
    return Answer(url, response.status, head, headers, response.read(), peer)


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
