"""A registry that gives images only to who has the password (the OCI distribution specification, pulls)."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.kind.containers import SAVE, ask_engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
OCTETS = "application/octet-stream"
PIECE = 1 << 20


class Registry:
    """What a registry has, and who may have it.

    Attributes:
        user: The only user.
        password: The user's.
        address: Host and port, once it serves.
    """

    def __init__(self, images: Iterable[str], folder: Path) -> None:
        """Take images of this machine's engine, under their names without the registry.

        Args:
            images: Names with registry and tag, such as ``docker.io/istio/pilot:1.0.5``.
            folder: An empty folder.
        """
        self.user, self.password, self.address = "vendor", "open sesame", ""
        self._blobs: dict[str, tuple[str, Path]] = {}
        self._tags: dict[str, str] = {}
        archive = folder / "images.tar"
        ask_engine(*SAVE, "--output", str(archive), *images)
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
        archive.unlink()
        for entry in json.loads((folder / "manifest.json").read_text()):
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": self._add(folder / entry["Config"], CONFIG),
                "layers": [self._add(folder / layer, LAYER) for layer in entry["Layers"]],
            }
            file = folder / f"{len(self._tags)}.json"
            file.write_text(json.dumps(manifest))
            digest = self._add(file, MANIFEST)["digest"]
            for name in entry["RepoTags"]:
                self._tags[_without_registry(name)] = digest

    def _add(self, path: Path, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        name = f"sha256:{digest.hexdigest()}"
        self._blobs[name] = (kind, path)
        return {"mediaType": kind, "digest": name, "size": path.stat().st_size}

    def find(self, path: str) -> tuple[str, str, Path] | None:
        """Return digest, media type and content for a path such as ``/v2/istio/pilot/manifests/1.0.5``."""
        repository, kind, reference = path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "manifests" and not reference.startswith("sha256:"):
            reference = self._tags.get(f"{repository}:{reference}", "")
        found = self._blobs.get(reference)
        return (reference, *found) if found else None

    def docker_config(self, password: str) -> str:
        """Return the docker config of the user, with some password."""
        auth = base64.b64encode(f"{self.user}:{password}".encode()).decode()
        return json.dumps({"auths": {self.address: {"auth": auth}}})

    def lets_in(self, authorization: str) -> bool:
        auth = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return authorization == f"Basic {auth}"


def _without_registry(name: str) -> str:
    host, _, rest = name.partition("/")
    return rest if "." in host else name


@contextmanager
def serving(registry: Registry, host: str) -> Iterator[Registry]:
    """Serve on a free port of an address."""
    handler = type("Handler", (_Handler,), {"registry": registry})
    with ThreadingHTTPServer((host, 0), handler) as server:
        registry.address = f"{host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield registry
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        if not self.registry.lets_in(self.headers.get("Authorization", "")):
            self._refuse(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="vendor"'})
            return
        found = self.registry.find(self.path) if self.path.count("/") > 2 else None
        if found is None:
            self._refuse(404, "MANIFEST_UNKNOWN", {})
            return
        digest, kind, path = found
        self.send_response(200)
        self.send_header("Content-Type", kind if kind == MANIFEST else OCTETS)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if with_body:
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    self.wfile.write(piece)

    def _refuse(self, status: int, code: str, headers: dict[str, str]) -> None:
        body = json.dumps({"errors": [{"code": code}]}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
