"""The kinds that the discovery service needs, and those whose definitions it makes itself, where it can.

Like the release it knows these APIs only as they were up to Kubernetes 1.21.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

from pytest_istio.local.images.cluster_api import ApiError
from pytest_istio.local.images.environment import log
from pytest_istio.local.images.pilot import mesh
from pytest_istio.local.images.pilot.store import Kind

if TYPE_CHECKING:
    from pytest_istio.local.images.cluster_api import ClusterApi

__all__ = ["KINDS", "install", "unserved"]

Json = dict[str, Any]

_NETWORKING = "networking.istio.io/v1alpha3"
_AUTHENTICATION = "authentication.istio.io/v1alpha1"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

KINDS = (
    Kind("Service", "/api/v1/services", mesh.service),
    Kind("Endpoints", "/api/v1/endpoints", mesh.endpoints),
    Kind("Pod", "/api/v1/pods", mesh.pod),
    # That there is a certificate is all that counts: the keys themselves are never asked for.
    Kind(
        "Secret",
        "/api/v1/secrets",
        mesh.certificate,
        query={"fieldSelector": "type=istio.io/key-and-cert"},
        accept=_METADATA_ONLY,
    ),
    Kind("VirtualService", f"/apis/{_NETWORKING}/virtualservices", mesh.rule),
    Kind("DestinationRule", f"/apis/{_NETWORKING}/destinationrules", mesh.rule),
    Kind("Gateway", f"/apis/{_NETWORKING}/gateways", mesh.rule),
    Kind("ServiceEntry", f"/apis/{_NETWORKING}/serviceentries", mesh.rule),
    Kind("Policy", f"/apis/{_AUTHENTICATION}/policies", mesh.rule),
    Kind("MeshPolicy", f"/apis/{_AUTHENTICATION}/meshpolicies", mesh.rule),
)
"""What configuration is made from."""

INGRESSES = ("extensions/v1beta1", "ingresses")
"""API version and plural of what the service follows too, unless the mesh configuration says otherwise."""

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1beta1/customresourcedefinitions"

# 1.0's discovery service is not ready before all of its kinds are there, used or not.
_ALSO_NEEDED = {
    _NETWORKING: ("envoyfilters",),
    "config.istio.io/v1alpha2": (
        "httpapispecs",
        "httpapispecbindings",
        "quotaspecs",
        "quotaspecbindings",
    ),
    "rbac.istio.io/v1alpha1": ("rbacconfigs", "serviceroles", "servicerolebindings"),
}


def unserved(api: ClusterApi, *, ingresses: bool) -> dict[str, str]:
    """Return the further kinds that the API server does not serve, by name, with the reason.

    Args:
        api: The API server.
        ingresses: Whether Ingresses are among them.
    """
    missing: dict[str, str] = {}
    also = {INGRESSES[0]: INGRESSES[1:]} if ingresses else {}
    for version, wanted in (_ALSO_NEEDED | also).items():
        try:
            served = {resource["name"] for resource in api.request("GET", f"/apis/{version}")["resources"]}
        except ApiError as error:
            if error.status != http.client.NOT_FOUND:
                raise
            served = set()
        group = version.partition("/")[0]
        missing |= {
            f"{plural}.{group}": f"not served in {version}" for plural in wanted if plural not in served
        }
    return missing


def _definition(plural: str, kind: str, scope: str) -> Json:
    group, _, version = _AUTHENTICATION.partition("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1beta1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "version": version,
        },
    }


def install(api: ClusterApi) -> None:
    """Make the two definitions that the chart of 1.0 leaves to this service; those that exist are left alone.

    Raises:
        ApiError: The API server refuses.
        OSError: It cannot be reached.
    """
    for plural, kind, scope in (
        ("policies", "Policy", "Namespaced"),
        ("meshpolicies", "MeshPolicy", "Cluster"),
    ):
        definition = _definition(plural, kind, scope)
        try:
            api.request("POST", _DEFINITIONS, definition)
            log("created a CustomResourceDefinition", name=definition["metadata"]["name"])
        except ApiError as error:
            if error.status != http.client.CONFLICT:
                raise
