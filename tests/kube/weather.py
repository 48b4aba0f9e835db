"""A proxy in front of the API server that does to requests what networks and overloaded servers do."""

from __future__ import annotations

import json
import random
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FAULTS = ("throttled", "failed", "overloaded", "reset before", "reset after", "slow")
WATCH_FAULTS = ("throttled", "expired", "expired event", "cut", "ended", "ended later", "reset before")
STREAM_FAULTS = ("throttled", "failed", "overloaded", "reset before", "reset after")
EXEC_FAULTS = (*STREAM_FAULTS, "cut")
STATUS = {"throttled": 429, "failed": 500, "overloaded": 503, "expired": 410}


class Weather(ThreadingHTTPServer):
    """Passes requests on, spoiling a share of them.

    Attributes:
        seen: How often each fault was given.
        share: How many of the requests are spoiled, from 0 to 1.
    """

    daemon_threads = True

    def __init__(self, kubeconfig: Path, share: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.share = share
        self.seen: Counter[str] = Counter()
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self.server = cluster["server"]
        self.authority = cluster["certificate-authority"]
        self.token = config["users"][0]["user"]["token"]
        self.upstream = urllib3.PoolManager(ca_certs=self.authority, maxsize=32)
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def fault(self, faults: Sequence[str]) -> str:
        with self._lock:
            if self._random.random() >= self.share:
                return ""
            fault = self._random.choice(faults)
            self.seen[fault] += 1
            return fault

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # inherited
        """Say nothing of clients that are gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Weather

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        watch, stream = "watch=1" in self.path, "Upgrade" in self.headers
        faults = WATCH_FAULTS if watch else FAULTS
        if stream:
            # What a forwarded port carries is no request to the API server, and nobody's to repeat.
            faults = EXEC_FAULTS if "/exec?" in self.path else STREAM_FAULTS
        fault = self.server.fault(faults)
        if fault in STATUS:
            self._refuse(STATUS[fault])
            return
        if fault == "reset before":
            self._reset()
            return
        if stream:
            self._tunnel(fault)
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

    def _tunnel(self, fault: str) -> None:
        """Pass a WebSocket on, both ways."""
        near, address = self.connection, urlsplit(self.server.server)
        tls = ssl.create_default_context(cafile=self.server.authority)
        plain = socket.create_connection((address.hostname, address.port))
        self.close_connection = True
        with (
            tls.wrap_socket(plain, server_hostname=address.hostname) as far,
            selectors.DefaultSelector() as s,
        ):
            dropped = {"host", "authorization"}
            kept = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in dropped]
            added = [f"Host: {address.netloc}", f"Authorization: Bearer {self.server.token}"]
            far.sendall("\r\n".join([self.requestline, *kept, *added, "", ""]).encode())
            s.register(near, selectors.EVENT_READ)
            s.register(far, selectors.EVENT_READ)
            blocks = {"reset after": 0, "cut": 1}.get(fault, -1)
            while True:
                ready = {key.fileobj for key, _ in s.select(0 if far.pending() else None)}
                if near in ready:
                    if not (data := near.recv(65536)):
                        return
                    far.sendall(data)
                if far in ready or far.pending():
                    if blocks == 0:
                        self._reset()
                        return
                    if not (data := far.recv(65536)):
                        return
                    near.sendall(data)
                    blocks -= 1

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


@contextmanager
def weather(behind: Path, kubeconfig: Path, *, share: float, seed: int) -> Iterator[Weather]:
    """Run the proxy before the server of a kubeconfig, and write a kubeconfig that leads through it."""
    with Weather(behind, share, seed) as proxy:
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
