"""Galley's own webhook configuration, which it registers at run time where it can.

Like the release it knows that API only as it was up to Kubernetes 1.21: on a newer API server it serves, says
again and again that it is not registered, and somebody else has to register it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from pytest_istio.local.images.cluster_api import ApiError
from pytest_istio.local.images.environment import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_istio.local.images.cluster_api import ClusterApi

__all__ = ["Registration"]

_COLLECTION = "/apis/admissionregistration.k8s.io/v1beta1/validatingwebhookconfigurations"


class Registration:
    """Registers the webhooks of a file once they can be reached."""

    def __init__(self, api: ClusterApi, file: Path, ca_bundle: Callable[[], str], namespace: str) -> None:
        """Do nothing yet.

        Args:
            api: The API server.
            file: A ValidatingWebhookConfiguration in YAML.
            ca_bundle: Returns the root certificate of the webhook server, base64.
            namespace: The namespace of Galley's Service.
        """
        self._api = api
        self._file = file
        self._ca_bundle = ca_bundle
        self._namespace = namespace
        self._registered = False

    def check(self) -> None:
        """Register if that has not been done and there is an address to be reached at."""
        if self._registered:
            return
        try:
            wanted = yaml.safe_load(self._file.read_text(encoding="utf-8"))
            if not self._reachable(wanted["metadata"]["name"]):
                return
            for hook in wanted["webhooks"]:
                hook["clientConfig"]["caBundle"] = self._ca_bundle()
            self._api.request("POST", _COLLECTION, wanted)
        except (ApiError, OSError) as error:
            log("webhooks not registered, will try again", level="error", error=str(error))
        else:
            self._registered = True
            log("webhooks registered", configuration=wanted["metadata"]["name"])

    def _reachable(self, service: str) -> bool:
        path = f"/api/v1/namespaces/{self._namespace}/endpoints/{service}"
        subsets = self._api.request("GET", path).get("subsets") or []
        return any(subset.get("addresses") for subset in subsets)
