"""Injectors beside the installed one, which do not do as Istio's own does."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from pytest_istio.istio.inject import InjectionConfig, json_patch
from pytest_istio.local.pki import Authority

if TYPE_CHECKING:
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object, Ref

__all__ = ["INJECTORS"]

LOOPBACK = "127.0.0.1"
STATUS = "sidecar.istio.io/status"

Patching = Callable[["Object", InjectionConfig], list[dict[str, Any]]]


class Injector:
    """Is asked for the same pods as a MutatingWebhookConfiguration, after it."""

    def __init__(self, kube: Kube, webhook: Ref, *, patching: Patching) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="eager-injector-")
        authority = Authority(Path(self._folder.name))
        pair = authority.issue("server", "injector", addresses=[LOOPBACK])
        config_maps = [
            kube.get("v1", "ConfigMap", name, "istio-system") for name in ("istio", "istio-sidecar-injector")
        ]
        config = InjectionConfig.from_manifests(config_maps)
        self._server = ThreadingHTTPServer((LOOPBACK, 0), partial(_Answering, config, patching))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        Thread(target=self._server.serve_forever, daemon=True).start()
        found = kube.get(webhook.api_version, webhook.kind, webhook.name)["webhooks"][0]
        url = f"https://{LOOPBACK}:{self._server.server_port}/inject"
        bundle = base64.b64encode(authority.certificate.read_bytes()).decode()
        # Beside the installed one, which stays as it is; called after it, by the name.
        configuration = {
            "apiVersion": webhook.api_version,
            "kind": webhook.kind,
            "metadata": {"name": f"{webhook.name}-too"},
            "webhooks": [{**found, "clientConfig": {"url": url, "caBundle": bundle}}],
        }
        self._remove = partial(kube.delete, webhook.api_version, webhook.kind, f"{webhook.name}-too")
        kube.create(configuration)

    def stop(self) -> None:
        self._remove()
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()


class _Answering(BaseHTTPRequestHandler):
    def __init__(self, config: InjectionConfig, patching: Patching, *args: object) -> None:
        self._config = config
        self._patching = patching
        super().__init__(*args)  # type: ignore[arg-type]  # as the server gives them

    def do_POST(self) -> None:  # as the base class calls it
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        patch = base64.b64encode(
            json.dumps(self._patching(request["object"], self._config)).encode()
        ).decode()
        response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
        answer = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: what is printed here would be in the middle of pytest's lines."""


def _unmarking(pod: Object, _: InjectionConfig) -> list[dict[str, Any]]:
    """Take away the annotation that says what was injected."""
    marked = STATUS in pod["metadata"].get("annotations", {})
    return [{"op": "remove", "path": f"/metadata/annotations/{STATUS.replace('/', '~1')}"}] if marked else []


def _unprepared(pod: Object, _: InjectionConfig) -> list[dict[str, Any]]:
    """Take away the init container that was injected."""
    names = [each["name"] for each in pod["spec"].get("initContainers") or []]
    if "istio-init" not in names:
        return []
    return [{"op": "remove", "path": f"/spec/initContainers/{names.index('istio-init')}"}]


INJECTORS = {
    # Does not ask whether a pod wants a sidecar.
    "eager": partial(Injector, patching=json_patch),
    "unmarking": partial(Injector, patching=_unmarking),
    "unprepared": partial(Injector, patching=_unprepared),
}
