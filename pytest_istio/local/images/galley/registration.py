"""Galley's own webhook configuration, which it registers at run time and keeps as its file says."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import yaml

from pytest_istio.local.images import admission
from pytest_istio.local.images.cluster_api import ApiError
from pytest_istio.local.images.environment import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_istio.local.images.cluster_api import ClusterApi, Object

__all__ = ["Registration", "configuration"]

_API_VERSION = "admissionregistration.k8s.io/v1"
_COLLECTION = f"/apis/{_API_VERSION}/validatingwebhookconfigurations"
_LEGACY_TIMEOUT_SECONDS = 30
_PAUSE = 0.2
_OURS = ("metadata", "webhooks")


def configuration(file: Path, owner: Object | None) -> Object:
    """Return the ValidatingWebhookConfiguration of a file, for the API version that is served today.

    Args:
        file: YAML; the one of Istio 1.0 is of v1beta1, whose defaults are kept.
        owner: The Deployment that owns the configuration, if it could be read.

    Raises:
        OSError: The file cannot be read.
        yaml.YAMLError: It is not YAML.
    """
    given = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
    metadata = {key: given["metadata"][key] for key in ("name", "labels") if key in given["metadata"]}
    if owner:
        reference = {"apiVersion": "apps/v1", "kind": "Deployment"}
        reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
        metadata["ownerReferences"] = [reference]
    webhooks = given["webhooks"]
    if given["apiVersion"] != _API_VERSION:
        legacy = {"admissionReviewVersions": ["v1beta1"], "sideEffects": "None"}
        webhooks = [{**legacy, "timeoutSeconds": _LEGACY_TIMEOUT_SECONDS, **hook} for hook in webhooks]
    return {
        "apiVersion": _API_VERSION,
        "kind": "ValidatingWebhookConfiguration",
        "metadata": metadata,
        "webhooks": webhooks,
    }


class Registration:
    """Registers the webhooks once they can be reached, and again whenever they are changed or deleted."""

    def __init__(self, api: ClusterApi, file: Path, ca_bundle: Callable[[], str], namespace: str) -> None:
        """Start nothing yet.

        Args:
            api: The API server.
            file: See `configuration`.
            ca_bundle: Returns the root certificate of the webhook server, base64.
            namespace: The namespace of Galley's Deployment and Service.
        """
        self._api = api
        self._file = file
        self._ca_bundle = ca_bundle
        self._namespace = namespace
        self._owner: Object | None = None
        self._name = configuration(file, None)["metadata"]["name"]
        self._registered = admission.FollowedObject(api, _COLLECTION, self._name)

    def start(self) -> None:
        """Register and follow in threads of its own."""
        threading.Thread(target=self._begin, daemon=True).start()

    def check(self) -> None:
        """Write the configuration if what the cluster has differs from it."""
        if not self._registered.known:
            return
        wanted = configuration(self._file, self._owner)
        for hook in wanted["webhooks"]:
            hook["clientConfig"]["caBundle"] = self._ca_bundle()
        present = self._registered.current
        # Listed objects have no apiVersion and kind.
        if present is not None and all(_agrees(present.get(part), wanted[part]) for part in _OURS):
            return
        try:
            if present is None:
                self._api.request("POST", _COLLECTION, wanted)
            else:
                path = f"{_COLLECTION}/{self._name}"
                self._api.request("PATCH", path, wanted, content_type="application/merge-patch+json")
        except (ApiError, OSError) as error:
            log("webhooks not registered, will try again", level="error", error=str(error))
        else:
            log("webhooks registered", configuration=self._name, by="update" if present else "creation")

    def _begin(self) -> None:
        self._await_endpoint()
        self._owner = self._deployment()
        self._registered.start(self.check)

    def _await_endpoint(self) -> None:
        """Return when Galley's Service has an address.

        A webhook that is registered before that refuses everybody's configuration. Galley's role may get this
        one object and not watch it, so it is asked for again and again.
        """
        path = f"/api/v1/namespaces/{self._namespace}/endpoints/{self._name}"
        while True:
            try:
                subsets = self._api.request("GET", path).get("subsets") or []
            except (ApiError, OSError) as error:
                log("endpoint not known yet", level="warn", error=str(error))
            else:
                if any(subset.get("addresses") for subset in subsets):
                    return
            time.sleep(_PAUSE)

    def _deployment(self) -> Object | None:
        path = f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{self._name}"
        try:
            return self._api.request("GET", path)
        except (ApiError, OSError) as error:
            log("webhooks will have no owner", level="warn", error=str(error))
            return None


def _agrees(seen: Any, wanted: Any) -> bool:  # noqa: ANN401 - any part of an object
    """Whether an object has all that is wanted of it; the server adds defaults."""
    if isinstance(wanted, dict):
        return isinstance(seen, dict) and all(_agrees(seen.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        same_length = isinstance(seen, list) and len(seen) == len(wanted)
        return same_length and all(_agrees(one, other) for one, other in zip(seen, wanted, strict=True))
    return bool(seen == wanted)
