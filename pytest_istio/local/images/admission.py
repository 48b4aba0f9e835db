"""An admission webhook: its HTTPS server, the reviews it answers, and its configuration in the cluster.

Both API versions of AdmissionReview have the same form, so an answer echoes the version of the question.
"""

from __future__ import annotations

import base64
import json
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_istio.local.images.durations import seconds
from pytest_istio.local.images.environment import inside, log, pod_address
from pytest_istio.local.images.web import Request, Response, json_response, serve, text_response

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_istio.local.images.cluster_api import Object

    Decide = Callable[[Mapping[str, Any]], "Verdict"]

__all__ = ["Verdict", "Webhook", "add_options", "reviewed"]

_PORT = 443


class Verdict(NamedTuple):
    """What a webhook says to a request.

    Attributes:
        message: Why the request is denied; None allows it.
        patch: JSON Patch operations on the object of an allowed request.
    """

    message: str | None = None
    patch: tuple[Object, ...] = ()


def reviewed(review: Mapping[str, Any], decide: Decide) -> Object:
    """Return the AdmissionReview that answers another one.

    Args:
        review: What the API server sent.
        decide: Judges the review's request.
    """
    request = review["request"]
    verdict = decide(request)
    response: Object = {"uid": request["uid"], "allowed": verdict.message is None}
    if verdict.message is not None:
        response["status"] = {"message": verdict.message}
    if verdict.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(verdict.patch).encode()).decode()
    return {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that Istio's webhook servers have in common."""
    for option in ("--caCertFile", "--tlsCertFile", "--tlsKeyFile"):
        parser.add_argument(option, type=inside, required=True)
    parser.add_argument("--healthCheckInterval", type=seconds, default=1.0)
    parser.add_argument("--healthCheckFile", type=inside)


class Webhook:
    """A running webhook server, whose certificate follows the files that Citadel renews."""

    def __init__(self, options: argparse.Namespace, paths: Mapping[str, Decide]) -> None:
        """Start to answer at port 443 of this pod.

        Args:
            options: Those of `add_options`.
            paths: Who decides, by the request's path.

        Raises:
            OSError: A certificate file cannot be read, or the port is taken.
        """
        self._files: tuple[Path, ...] = (options.caCertFile, options.tlsCertFile, options.tlsKeyFile)
        self._paths = paths
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._loaded = self._changed_at()
        self._load()
        serve(self._answer, pod_address(_PORT), tls=self._tls)

    @property
    def ca_bundle(self) -> str:
        """The root certificate that clients verify this server with, as webhook configurations hold it."""
        return base64.b64encode(self._files[0].read_bytes()).decode()

    def run(self, options: argparse.Namespace, check: Callable[[], None]) -> None:
        """Report health and follow the certificate files, for ever.

        Args:
            options: Those of `add_options`.
            check: Called each time; makes the webhook's configuration right if it is not.
        """
        while True:
            if options.healthCheckFile:
                options.healthCheckFile.touch()
            try:
                self._follow_files()
                check()
            except OSError as error:
                # The kubelet replaces the files one by one; between them they may be missing or not fit.
                log("certificate not loaded, will try again", level="warn", error=str(error))
            time.sleep(options.healthCheckInterval)

    def _follow_files(self) -> None:
        changed = self._changed_at()
        if changed != self._loaded:
            self._load()
            self._loaded = changed
            log("certificate renewed")

    def _load(self) -> None:
        self._tls.load_cert_chain(self._files[1], self._files[2])

    def _changed_at(self) -> tuple[tuple[int, int], ...]:
        states = [file.stat() for file in self._files]
        return tuple((state.st_mtime_ns, state.st_ino) for state in states)

    def _answer(self, request: Request) -> Response:
        decide = self._paths.get(request.path)
        if decide is None:
            return text_response("404 page not found\n", 404)
        try:
            return json_response(reviewed(json.loads(request.body), decide))
        except (ValueError, KeyError, TypeError) as error:
            log("no AdmissionReview", level="error", path=request.path, error=repr(error))
            return text_response(f"could not decode the AdmissionReview: {error!r}\n", 400)
