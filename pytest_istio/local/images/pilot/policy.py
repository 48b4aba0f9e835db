"""Which rules apply to a destination: its DestinationRule, and the authentication policy of who serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.local.images.pilot.mesh import full_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_istio.local.images.pilot.mesh import Mesh, Port, Rule, Service

__all__ = ["DISABLE", "PERMISSIVE", "STRICT", "mutual_tls", "rules_for", "subsets", "traffic_policy"]

Json = dict[str, Any]

STRICT, PERMISSIVE, DISABLE = "STRICT", "PERMISSIVE", "DISABLE"


def rules_for(mesh: Mesh, host: str) -> tuple[Rule, ...]:
    """Return the DestinationRules of a host: those of its name, else of the longest pattern that fits."""
    if host in mesh.destination_rules:
        return mesh.destination_rules[host]
    patterns = [
        pattern
        for pattern in mesh.destination_rules
        if pattern.startswith("*") and host.endswith(pattern.removeprefix("*"))
    ]
    return mesh.destination_rules[max(patterns, key=len)] if patterns else ()


def subsets(mesh: Mesh, host: str) -> dict[str, Mapping[str, str]]:
    """Return the labels of a host's subsets, by name; of two of the same name the older rule's counts."""
    found: dict[str, Mapping[str, str]] = {}
    for rule in rules_for(mesh, host):
        for subset in rule.spec.get("subsets") or []:
            found.setdefault(subset["name"], subset.get("labels") or {})
    return found


def traffic_policy(mesh: Mesh, host: str, port: int, subset: str = "") -> Json:
    """Return the settings for a port of a host: the rule's, then the port's, then the subset's."""
    settings: Json = {}
    for rule in rules_for(mesh, host):
        settings = settings or _for_port(rule.spec.get("trafficPolicy") or {}, port)
        for one in rule.spec.get("subsets") or []:
            if subset and one["name"] == subset:
                return {**settings, **_for_port(one.get("trafficPolicy") or {}, port)}
    return settings


def _for_port(policy: Json, port: int) -> Json:
    settings = {name: value for name, value in policy.items() if name != "portLevelSettings"}
    for level in policy.get("portLevelSettings") or []:
        if (level.get("port") or {}).get("number") == port:
            settings.update({name: value for name, value in level.items() if name != "port"})
    return settings


def mutual_tls(mesh: Mesh, service: Service, port: Port) -> str:
    """Return whether a service's sidecars ask for mutual TLS at a port: STRICT, PERMISSIVE or DISABLE.

    The policy of the service counts before the one of its namespace, and that before the mesh's. Where
    there is none at all, both are taken.
    """
    beside = [rule for rule in mesh.policies if rule.namespace == service.namespace]
    for rule in beside:
        if any(_targets(target, service, port) for target in rule.spec.get("targets") or []):
            return _mode(rule.spec)
    for rule in (*beside, *mesh.mesh_policies):
        if rule.name == "default" and not rule.spec.get("targets"):
            return _mode(rule.spec)
    return PERMISSIVE


def _targets(target: Json, service: Service, port: Port) -> bool:
    ports = [one.get("number", one.get("name")) for one in target.get("ports") or []]
    named = full_name(target["name"], service.namespace) == service.host
    return named and (not ports or port.number in ports or port.name in ports)


def _mode(spec: Json) -> str:
    """Return the mode of a policy; one that names mutual TLS and no mode is strict."""
    for peer in spec.get("peers") or []:
        if "mtls" in peer:
            return str((peer["mtls"] or {}).get("mode", STRICT))
    return DISABLE
