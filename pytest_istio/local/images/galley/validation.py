"""Whether an object may enter the cluster: read strictly by its kind's fields, then judged by its rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pytest_istio.local.images.galley import mixer, networking, routes, schema, security

__all__ = ["InvalidError", "validate"]

_Rules = Callable[[Mapping[str, Any], str, str], Iterator[str]]

# By group and kind: the message whose fields the spec has, and the rules it is judged by.
_KINDS: Mapping[tuple[str, str], tuple[str, _Rules]] = MappingProxyType(
    {
        ("networking.istio.io", "VirtualService"): ("VirtualService", routes.virtual_service),
        ("networking.istio.io", "DestinationRule"): ("DestinationRule", networking.destination_rule),
        ("networking.istio.io", "Gateway"): ("Gateway", networking.gateway),
        ("networking.istio.io", "ServiceEntry"): ("ServiceEntry", networking.service_entry),
        ("networking.istio.io", "EnvoyFilter"): ("EnvoyFilter", networking.envoy_filter),
        ("authentication.istio.io", "Policy"): ("Policy", security.policy),
        ("authentication.istio.io", "MeshPolicy"): ("Policy", security.mesh_policy),
        ("rbac.istio.io", "RbacConfig"): ("RbacConfig", security.rbac_config),
        ("rbac.istio.io", "ServiceRole"): ("ServiceRole", security.service_role),
        ("rbac.istio.io", "ServiceRoleBinding"): ("ServiceRoleBinding", security.service_role_binding),
        ("config.istio.io", "HTTPAPISpec"): ("HTTPAPISpec", mixer.api_spec),
        ("config.istio.io", "HTTPAPISpecBinding"): ("HTTPAPISpecBinding", mixer.api_binding),
        ("config.istio.io", "QuotaSpec"): ("QuotaSpec", mixer.quota_spec),
        ("config.istio.io", "QuotaSpecBinding"): ("QuotaSpecBinding", mixer.quota_binding),
        ("config.istio.io", "rule"): ("Rule", mixer.mixer_rule),
        ("config.istio.io", "attributemanifest"): ("AttributeManifest", mixer.attribute_manifest),
    }
)


class InvalidError(Exception):
    """An object must not enter the cluster; the text is what the API server's client reads."""


def validate(obj: Mapping[str, Any]) -> None:
    """Return if an object may enter the cluster.

    Args:
        obj: A custom resource of one of Istio's groups; kinds without rules need a spec that is a map.

    Raises:
        InvalidError: It may not; the text begins as upstream's does.
    """
    group = str(obj.get("apiVersion", "")).partition("/")[0]
    kind = str(obj.get("kind", ""))
    spec = obj.get("spec")
    if spec is not None and not isinstance(spec, dict):
        raise InvalidError(f"error decoding configuration: spec of {kind} must be a map")
    message, rules = _KINDS.get((group, kind), ("any", None))
    try:
        read = schema.read(message, spec or {})
    except schema.DecodingError as error:
        raise InvalidError(f"error decoding configuration: {error}") from None
    metadata = obj.get("metadata") or {}
    problems = list(rules(read, metadata.get("name", ""), metadata.get("namespace", ""))) if rules else []
    if len(problems) == 1:
        raise InvalidError(f"configuration is invalid: {problems[0]}")
    if problems:
        listing = "\n".join(f"* {problem}" for problem in problems)
        raise InvalidError(f"configuration is invalid: {len(problems)} errors occurred:\n\n{listing}")
