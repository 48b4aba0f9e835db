"""What Istio 1.0 requires of authentication policies and role-based access control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_istio.local.images.galley import names

__all__ = ["mesh_policy", "policy", "rbac_config", "service_role", "service_role_binding"]

_Spec = Mapping[str, Any]
_DEFAULT = "default"


def policy(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with the spec of an authentication Policy."""
    del namespace
    targets = spec.get("targets") or []
    if not targets and name != _DEFAULT:
        yield f'authentication policy with no target rules must be named "{_DEFAULT}", found "{name}"'
    if targets and name == _DEFAULT:
        yield f'authentication policy with name "{name}" must not have any target rules'
    for target in targets:
        if not names.is_label(target.get("name") or ""):
            yield f'target name "{target.get("name") or ""}" must be a valid label'
        for selector in target.get("ports") or []:
            if not selector.get("name"):
                yield from names.port(selector.get("number"))
    yield from _methods(spec)


def mesh_policy(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with the spec of a MeshPolicy."""
    del namespace
    if name != _DEFAULT:
        yield f'cluster-scoped authentication policy name must be "{_DEFAULT}", found "{name}"'
    if spec.get("targets"):
        yield "cluster-scoped authentication policy must not have targets"
    yield from _methods(spec)


def _methods(spec: _Spec) -> Iterator[str]:
    methods = [*(spec.get("peers") or []), *(spec.get("origins") or [])]
    issuers: set[str] = set()
    for jwt in [method["jwt"] for method in methods if method.get("jwt")]:
        issuer = jwt.get("issuer") or ""
        if not issuer:
            yield "issuer must be set"
        if issuer in issuers:
            yield f'jwt with issuer "{issuer}" already defined'
        issuers.add(issuer)
        for field, what in (
            ("audiences", "audience"),
            ("jwtHeaders", "location header"),
            ("jwtParams", "location query"),
        ):
            if "" in (jwt.get(field) or []):
                yield f"{what} must be non-empty string"
        address = jwt.get("jwksUri") or ""
        if address and not address.startswith(("http://", "https://")):
            yield f"URI scheme of {address} is not supported"


def service_role(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a ServiceRole's spec."""
    del name, namespace
    rules = spec.get("rules") or []
    if not rules:
        yield "at least 1 rule must be specified"
    for number, rule in enumerate(rules):
        if not rule.get("services"):
            yield f"at least 1 service must be specified for rule {number}"
        for place, constraint in enumerate(rule.get("constraints") or []):
            if not constraint.get("key"):
                yield f"key cannot be empty for constraint {place} in rule {number}"
            if not constraint.get("values"):
                yield f"at least 1 value must be specified for constraint {place} in rule {number}"


def service_role_binding(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with a ServiceRoleBinding's spec."""
    del name, namespace
    subjects = spec.get("subjects") or []
    if not subjects:
        yield "at least 1 subject must be specified"
    for number, subject in enumerate(subjects):
        if not any(subject.get(field) for field in ("user", "group", "properties")):
            yield f"at least 1 of user, group or properties must be specified for subject {number}"
    role = spec.get("roleRef")
    if role is None:
        yield "roleRef must be specified"
        return
    if role.get("kind") != "ServiceRole":
        yield f'kind set to "{role.get("kind") or ""}", currently the only supported value is "ServiceRole"'
    if not role.get("name"):
        yield "name cannot be empty"


def rbac_config(spec: _Spec, name: str, namespace: str) -> Iterator[str]:
    """Yield what is wrong with an RbacConfig."""
    del spec, namespace
    if name != _DEFAULT:
        yield f"rbacConfig has invalid name({name}), name must be {_DEFAULT}"
