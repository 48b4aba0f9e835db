"""Serves ``/file/PATH`` and ``/env/NAME``; any other path answers 200 if it is / or a file."""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pytest_istio.local.addresses import wire_port


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        root = Path(os.environ["PODROOT"])
        kind, _, name = self.path[1:].partition("/")
        if kind == "env":
            self._answer(os.environ.get(name))
        elif kind == "file":
            self._answer((root / name).read_text() if (root / name).exists() else None)
        else:
            self._answer("ok\n" if self.path == "/" or (root / self.path[1:]).exists() else None)

    def _answer(self, text: str | None) -> None:
        self.send_response(200 if text is not None else 503)
        self.end_headers()
        self.wfile.write((text or "").encode())


port = int(sys.argv[1])
print(f"listening on {port}")
ThreadingHTTPServer((os.environ["LOCAL_LISTEN"], wire_port(port)), Handler).serve_forever()
