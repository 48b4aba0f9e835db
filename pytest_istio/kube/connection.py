"""Connections to one API server: where it is, how to log in, and sending it requests that may be retried.

The official client knows kubeconfig files, ways of logging in, proxies and TLS; from there on bodies are
raw, since its typed models cost ten times as much and cannot hold API groups of Istio's early days.
"""

from __future__ import annotations

import json
import os
import shlex
import ssl
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies

import tenacity
import urllib3
from kubernetes.client.rest import RESTClientObject

from pytest_istio.errors import ClusterError
from pytest_istio.kube.errors import KubeError, UnreachableError, from_answer
from pytest_istio.kube.kubeconfig import bounded, load, unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from kubernetes.client import Configuration

    from pytest_istio.kube.objects import Body

__all__ = ["NOT_SENT", "RETRY_SECONDS", "TOO_LONG", "TRANSIENT", "Connection"]

T = TypeVar("T")

POOL_SIZE = 32
"""Connections kept open: eight that apply, and the watches beside them."""

RETRY_SECONDS = 10.0
"""How long a request that failed in passing is tried again; what is longer down is down."""

UNTOUCHED = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Answers that may pass and say that nothing was done."""

TRANSIENT = UNTOUCHED | {
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
}
"""Answers that may pass, and may hide that the request was carried out."""

NOT_SENT = "NotSent"
"""The reason of an `UnreachableError` when the server cannot have seen the request."""


HEADERS = {"Accept": "application/json", "User-Agent": "pytest-istio"}
"""Sent with each request; whoever writes without a field manager is recorded by the name of the agent."""

TOO_LONG = "TooLong"
"""The reason of an `UnreachableError` when the whole time for it was over; another try has none left."""

ANSWER_BYTES = 256 * 2**20
"""The size of one answer that is not streamed; a page of 500 objects is far below it."""


class Connection:
    """Sends requests to the API server of one kubeconfig context; safe to share between threads."""

    def __init__(self, kubeconfig: Path | None, context: str | None, *, request_timeout: float) -> None:
        """Read the configuration; nothing is sent yet.

        Args:
            kubeconfig: The file; None for ``KUBECONFIG`` or the one in the home folder.
            context: A context of the file; None for its current one.
            request_timeout: Seconds that the server may be silent during one request.

        Raises:
            ClusterError: The file cannot be read, or has no such context.
        """
        self._kubeconfig = kubeconfig
        self._context = context
        self.request_timeout = request_timeout
        with self.configuration() as configuration:
            self._configuration = configuration
            try:
                self._pool = _pool(configuration)
            except (
                OSError, ValueError, LookupError, TypeError, AttributeError, urllib3.exceptions.HTTPError,
            ) as error:  # fmt: skip
                # What is wrong with certificates, or with the proxy, shows only here.
                raise ClusterError(unusable(kubeconfig, context, error)) from error
        self.server: str = configuration.host

    @contextmanager
    def configuration(self) -> Iterator[Configuration]:
        """Give the official client's configuration; its certificate files exist only inside the context.

        Raises:
            ClusterError: The kubeconfig cannot be used, as in `kubeconfig.load`.
        """
        # The client writes certificates and keys that a kubeconfig embeds to files and removes them when the
        # interpreter ends in good order; a key must not outlive a killed run.
        with tempfile.TemporaryDirectory(prefix="kubeconfig-") as folder:
            configuration = load(self._kubeconfig, self._context, folder)
            configuration.connection_pool_maxsize = POOL_SIZE
            if _is_loopback(configuration.host) and configuration.proxy in getproxies().values():
                configuration.proxy = None
            yield configuration

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> bytes:
        """Return the body of the answer, trying again what failed in passing.

        Args:
            method: Such as ``GET``.
            path: Below the server's URL.
            query: Parameters.
            body: A JSON value, or bytes that are sent as they are.
            headers: Sent in addition.
            timeout: Seconds that the server may be silent; None for the usual bound.
            repeatable: Whether sending it twice does no more than sending it once; None to go by the method.

        Raises:
            KubeError: The server answered with an error, or did not answer.
        """
        headers = headers or {}
        if repeatable is None:
            repeatable = method != "POST" and "json-patch" not in headers.get("Content-Type", "")
        request = _Request(method, path, query or {}, body, headers, timeout or self.request_timeout)
        return self.retried(lambda: self._sent(request, _content), repeatable=repeatable)

    def retried(self, attempt: Callable[[], T], *, repeatable: bool) -> T:
        """Return what `attempt` returns, tried again for `RETRY_SECONDS` while it fails in passing.

        Args:
            attempt: Asks the server; whatever goes there and may be tried again goes through here.
            repeatable: Whether doing it twice does no more than doing it once; else it is tried again only
                where the server cannot have done it.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: _may_pass(error, repeatable=repeatable)),
            wait=_pause,
            stop=tenacity.stop_before_delay(RETRY_SECONDS),
            reraise=True,
        )
        return retrying(attempt)

    def ask(
        self, path: str, *, query: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Send one GET, once, and return the answer with its body still to be read.

        Raises:
            KubeError: The server answered with an error, or did not answer.
        """
        request = _Request("GET", path, query or {}, timeout=timeout or self.request_timeout)
        return self._sent(request, lambda response: response)

    def authorization(self) -> dict[str, str]:
        """Return the headers that log in; a token that has run out is renewed on the way.

        Raises:
            ClusterError: It cannot be renewed in time, or is none that can be sent.
        """

        def read() -> dict[str, dict[str, str]]:
            return cast("dict[str, dict[str, str]]", self._configuration.auth_settings())

        renews = self._configuration.refresh_api_key_hook is not None
        settings = bounded(self._kubeconfig, self._context, read) if renews else read()
        headers = {
            way["key"]: way["value"] for way in settings.values() if way["in"] == "header" and way["value"]
        }
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            # Told without the value, which is a secret.
            odd = ValueError("its token holds a line break, or another character that none can have")
            raise ClusterError(unusable(self._kubeconfig, self._context, odd))
        return headers

    def close(self) -> None:
        """Close the connections that nobody uses at the moment."""
        self._pool.clear()

    def _sent(self, request: _Request, taken: Callable[[urllib3.BaseHTTPResponse], T]) -> T:
        """Return what is taken of the answer to a request that the server grants."""
        query = f"?{urlencode(request.query, doseq=True)}" if request.query else ""
        body = request.body
        try:
            response = self._pool.request(
                request.method,
                f"{self.server}{request.path}{query}",
                body=body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
                headers={**HEADERS, **self.authorization(), **request.headers},
                timeout=request.timeout,
                retries=False,
                preload_content=False,
            )
            if response.status < HTTPStatus.MULTIPLE_CHOICES:
                return taken(response)
            answer = _content(response)
        except urllib3.exceptions.HTTPError as error:
            kubectl = _kubectl(self._kubeconfig, self._context)
            raise _unreachable(self.server, request, error, kubectl) from error
        raise from_answer(str(request), response.status, answer, response.headers.get("Retry-After"))


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: Mapping[str, Any]
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _content(response: urllib3.BaseHTTPResponse) -> bytes:
    content = response.read(ANSWER_BYTES + 1)
    if len(content) > ANSWER_BYTES:
        response.close()
        msg = f"the answer is longer than {ANSWER_BYTES // 2**20} MiB"
        raise urllib3.exceptions.ProtocolError(msg)
    return content


def _may_pass(error: BaseException, *, repeatable: bool) -> bool:
    if isinstance(error, UnreachableError):
        return error.reason == NOT_SENT or (repeatable and error.reason != TOO_LONG)
    return isinstance(error, KubeError) and error.status in (TRANSIENT if repeatable else UNTOUCHED)


def _pause(state: tenacity.RetryCallState) -> float:
    """Return the seconds to wait before the next try: what the server asks for, else a growing time."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, KubeError) and error.retry_after is not None:
        return error.retry_after
    return tenacity.wait_random_exponential(multiplier=0.1, max=1.0)(state)


def _pool(configuration: Configuration) -> urllib3.PoolManager:
    """Return the official client's connection pool, with the certificates held in memory."""
    pool = _made(configuration)
    if not configuration.host.startswith("https"):
        return pool
    settings = pool.connection_pool_kw
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    # From Python 3.13 on; refuses certificates of real clusters that kubectl takes.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not configuration.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        tls.load_cert_chain(configuration.cert_file, configuration.key_file, password=_no_passphrase)
    for name in ("ca_certs", "cert_file", "key_file", "ca_cert_data"):
        settings.pop(name, None)
    settings["ssl_context"] = tls
    return pool


def _made(configuration: Configuration) -> urllib3.PoolManager:
    try:
        with warnings.catch_warnings():
            # Says beside the error what is missing.
            warnings.simplefilter("ignore", urllib3.exceptions.DependencyWarning)
            return RESTClientObject(configuration).pool_manager
    except ImportError as error:
        msg = "its proxy is one of SOCKS, which needs `pip install pysocks`"
        raise ValueError(msg) from error


def _no_passphrase() -> str:
    # OpenSSL would ask for it at the terminal, and wait.
    msg = "its client key is encrypted; give it without a passphrase, as kubectl needs it, too"
    raise ValueError(msg)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _kubectl(kubeconfig: Path | None, context: str | None) -> str:
    """Return the command that asks the same cluster."""
    words = ["kubectl"]
    if context:
        words += ["--context", context]
    # Several files can only come from the environment, where kubectl finds them, too.
    if kubeconfig and os.pathsep not in str(kubeconfig):
        words += ["--kubeconfig", str(kubeconfig)]
    return shlex.join(words)


def _unreachable(
    server: str, request: _Request, error: urllib3.exceptions.HTTPError, kubectl: str
) -> UnreachableError:
    sent = not isinstance(error, urllib3.exceptions.NewConnectionError)
    text = str(error) if sent else str(error).rpartition(": ")[2]
    if isinstance(error, urllib3.exceptions.SSLError):
        likely = "the kubeconfig belongs to another cluster, or its certificates have expired"
    elif isinstance(error, urllib3.exceptions.ReadTimeoutError):
        likely = "the API server is overloaded or hangs"
    else:
        likely = "the cluster is not running, or is not reached from here"
    return UnreachableError(
        f"{request}: no answer from the API server at {server}: {text}. "
        f"Likely {likely}; try `{kubectl} cluster-info`.",
        reason="NoAnswer" if sent else NOT_SENT,
        path=str(request),
    )
