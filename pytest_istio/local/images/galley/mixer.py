"""What Istio 1.0 requires of Mixer's configuration and of the specs of its client.

Upstream compiles every template and adapter against its own description; those descriptions are far more
than what a rehearsal needs. Checked here is what all kinds share, and rules and attribute manifests,
which hold the rest together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_istio.local.images.galley import names

__all__ = ["api_binding", "api_spec", "attribute_manifest", "mixer_rule", "quota_binding", "quota_spec"]

_Spec = Mapping[str, Any]


def mixer_rule(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a Mixer rule's spec."""
    del name, namespace
    operations = spec.get("requestHeaderOperations") or spec.get("responseHeaderOperations")
    if not spec.get("actions") and not operations:
        yield "rule must have at least one action"
    for number, action in enumerate(spec.get("actions") or []):
        if not action.get("handler"):
            yield f"action {number}: handler is required"
        if not action.get("instances") and not operations:
            yield f"action {number}: at least one instance is required"


def attribute_manifest(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with an attributemanifest's spec."""
    del name, namespace
    for attribute, described in (spec.get("attributes") or {}).items():
        if described.get("valueType") in {None, "VALUE_TYPE_UNSPECIFIED"}:
            yield f'attribute "{attribute}" must have a value type'


def api_spec(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with an HTTPAPISpec."""
    del name, namespace
    if not spec.get("patterns"):
        yield "at least one pattern must be specified"


def quota_spec(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a QuotaSpec."""
    del name, namespace
    if not spec.get("rules"):
        yield "at least one rule must be specified"
    for rule in spec.get("rules") or []:
        if not rule.get("quotas"):
            yield "at least one quota must be specified"
        for quota in rule.get("quotas") or []:
            if not quota.get("quota"):
                yield "quota name cannot be empty"
            if (quota.get("charge") or 0) <= 0:
                yield "quota charge amount must be positive"


def api_binding(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with an HTTPAPISpecBinding."""
    del name, namespace
    yield from _binding(spec, spec.get("apiSpecs") or [])


def quota_binding(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a QuotaSpecBinding."""
    del name, namespace
    yield from _binding(spec, spec.get("quotaSpecs") or [])


def _binding(spec: _Spec, references: list[_Spec]) -> Iterator[str]:
    if not spec.get("services"):
        yield "at least one service must be specified"
    for service in spec.get("services") or []:
        if bool(service.get("name")) == bool(service.get("service")):
            yield "specify either name or service for a service reference"
    if not references:
        yield "at least one spec must be specified"
    for reference in references:
        if not names.is_label(reference.get("name") or ""):
            yield f'name "{reference.get("name") or ""}" must be a valid label'
