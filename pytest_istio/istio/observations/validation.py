"""Whether the mesh takes configuration that is valid."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from pytest_istio.findings import finding
from pytest_istio.istio.namespaces import temporary_namespace
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.polling import until
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

__all__ = ["configuration_accepted"]

CONFIGURATION = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
HOST = "conformance.invalid"
"""A host that nobody has (RFC 2606)."""
NAME = "conformance-probe"
SERVER = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]}
VALID = {
    "Gateway": {"selector": {"istio": NAME}, "servers": [SERVER]},
    "VirtualService": {
        "hosts": [HOST],
        "gateways": [NAME],
        "http": [{"route": [{"destination": {"host": HOST}}]}],
    },
    "DestinationRule": {"host": HOST, "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}},
}
"""Specifications by kind that lead nobody's traffic anywhere: no proxy is this gateway's."""


def configuration_accepted(mesh: Mesh) -> tuple[str, ...]:
    """Return why valid configuration is not accepted within the bound ``consistency``.

    It is really created, in a namespace of its own, and deleted again: a dry run calls no webhook that
    declares no side effects.
    """
    with temporary_namespace(mesh, "istio-probe", injected=False, progress=Silent()) as namespace:
        seen = until(lambda: _refusal(mesh, namespace), operator.not_, timeout=mesh.timeouts.consistency)
    if seen is None:
        return ()
    name = mesh.release.validation_webhook
    problem = finding(
        f"ValidatingWebhookConfiguration {name}",
        expected=f"what is valid is accepted: {', '.join(VALID)}",
        seen=seen,
        cause=_cause(mesh, seen),
        look=f"kubectl get validatingwebhookconfiguration {name} -o yaml",
    )
    return (problem,)


def _refusal(mesh: Mesh, namespace: str) -> str | None:
    """Create an object of each kind, delete it, and return how it was refused; None if none was."""
    for kind, spec in VALID.items():
        obj: Object = {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": kind,
            "metadata": {"name": NAME, "namespace": namespace, "labels": mesh.labels},
            "spec": spec,
        }
        try:
            mesh.kube.create(obj)
            mesh.kube.delete(obj["apiVersion"], kind, NAME, namespace)
        except KubeError as error:
            return f"the {kind} is refused: {error}"
    return None


def _cause(mesh: Mesh, seen: str) -> str:
    name = mesh.release.validation_webhook
    found = mesh.kube.find(*CONFIGURATION, name) or {}
    if not all(each["clientConfig"].get("caBundle") for each in found.get("webhooks") or []):
        done = mesh.registered_by_run(name)
        return f"caBundle is empty: {done or 'its server has not entered its certificate authority'}"
    if "denied the request" in seen:
        return "whoever validates takes what is valid for invalid, or it is a policy of the cluster"
    return "its server does not answer as it should, or its certificate is not of the authority in caBundle"
