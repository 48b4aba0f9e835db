"""A proxy in front of the API server that does to requests what networks and overloaded servers do."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import urllib3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_istio.local.controlplane import ControlPlane

FAULTS = ("throttled", "failed", "overloaded", "reset before", "reset after", "slow")
WATCH_FAULTS = ("throttled", "expired", "expired event", "cut", "ended", "ended later", "reset before")
STATUS = {"throttled": 429, "failed": 500, "overloaded": 503, "expired": 410}


class Weather(ThreadingHTTPServer):
    """Passes requests on, spoiling a share of them.

    Attributes:
        seen: How often each fault was given.
        share: How many of the requests are spoiled, from 0 to 1.
    """

    daemon_threads = True

    def __init__(self, plane: ControlPlane, share: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.share = share
        self.seen: Counter[str] = Counter()
        self.upstream = urllib3.PoolManager(ca_certs=str(plane.authority.certificate), maxsize=32)
        self.server = plane.server
        self.token = plane.token
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def fault(self, *, watch: bool) -> str:
        with self._lock:
            if self._random.random() >= self.share:
                return ""
            fault = self._random.choice(WATCH_FAULTS if watch else FAULTS)
            self.seen[fault] += 1
            return fault

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # inherited
        """Say nothing of clients that are gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Weather

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        watch = "watch=1" in self.path
        fault = self.server.fault(watch=watch)
        if fault in STATUS:
            self._refuse(STATUS[fault])
            return
        if fault == "reset before":
            self._reset()
            return
        response = self._ask(body)
        if fault == "reset after":
            self._reset()
        elif watch and response.status == 200:
            self._stream(response, fault)
        else:
            self._pass_on(response, slowly=fault == "slow")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  # names of http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # inherited
        """Keep the tests' output clean."""

    def _ask(self, body: bytes) -> urllib3.BaseHTTPResponse:
        headers = {name: self.headers[name] for name in ("Accept", "Content-Type") if name in self.headers}
        return self.server.upstream.request(
            self.command,
            f"{self.server.server}{self.path}",
            body=body,
            headers={**headers, "Authorization": f"Bearer {self.server.token}"},
            preload_content=False,
            retries=False,
        )

    def _refuse(self, status: int) -> None:
        said = json.dumps(
            {"kind": "Status", "status": "Failure", "message": "weather", "code": status}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(said)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _pass_on(self, response: urllib3.BaseHTTPResponse, *, slowly: bool) -> None:
        said = response.data
        self.send_response(response.status)
        self.send_header("Content-Type", response.headers.get("Content-Type", ""))
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        step = max(1, len(said) // 4) if slowly else max(1, len(said))
        for start in range(0, len(said), step):
            self.wfile.write(said[start : start + step])
            if slowly:
                time.sleep(0.1)

    def _stream(self, response: urllib3.BaseHTTPResponse, fault: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        if fault == "expired event":
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
            self._chunk(json.dumps(gone).encode() + b"\n")
        elif fault == "cut":
            self._chunk(b'{"type": "MODIFIED", "object": {"metad')
            self._reset()
            return
        left = {"ended": 0, "expired event": 0, "ended later": 2}.get(fault, -1)
        while left and (block := response.read1()):
            self._chunk(block)
            left -= 1
        self._chunk(b"")
        response.close()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


@contextmanager
def weather(plane: ControlPlane, kubeconfig: Path, *, share: float, seed: int) -> Iterator[Weather]:
    """Run the proxy, and write a kubeconfig that leads through it."""
    with Weather(plane, share, seed) as proxy:
        config = {
            "clusters": [{"name": "w", "cluster": {"server": f"http://127.0.0.1:{proxy.server_port}"}}],
            "contexts": [{"name": "w", "context": {"cluster": "w", "user": "w"}}],
            "users": [{"name": "w", "user": {}}],
            "current-context": "w",
        }
        kubeconfig.write_text(json.dumps(config))
        thread = threading.Thread(target=proxy.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
            proxy.upstream.clear()
