"""What is on the cluster: what the manifests name, and what the control plane makes itself once it runs."""

from __future__ import annotations

import operator
from collections import defaultdict
from typing import TYPE_CHECKING

from pytest_istio.findings import finding
from pytest_istio.kube import readiness
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.istio.mesh import Mesh

__all__ = ["objects_exist", "runtime_objects"]

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
VALIDATION = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")


def objects_exist(mesh: Mesh) -> tuple[str, ...]:
    """Return which objects of the manifests are not on the cluster."""
    wanted: dict[tuple[str, str], set[Ref]] = defaultdict(set)
    for obj in mesh.objects:
        wanted[obj["apiVersion"], obj["kind"]].add(Ref.of(obj))
    return tuple(
        finding(
            str(ref),
            expected="exists, as the manifests say",
            seen="not on the cluster",
            cause="deleted after the installation, or its kind's definition was",
            look=f"kubectl get {kind}.{api_version.rpartition('/')[0]}".rstrip(".") + " --all-namespaces",
        )
        for (api_version, kind), refs in sorted(wanted.items())
        for ref in sorted(refs - _existing(mesh, api_version, kind))
    )


def _existing(mesh: Mesh, api_version: str, kind: str) -> set[Ref]:
    if (api_version, kind) not in mesh.kube.served():
        return set()
    return {Ref.of(obj) for obj in mesh.kube.list(api_version, kind)}


def runtime_objects(mesh: Mesh) -> tuple[str, ...]:
    """Return what of the run-time objects is still missing after the bound ``webhook_live``.

    These are the validating webhook and the definitions that discovery makes, whether the control plane has
    made them or the run in its stead; the authority's Secret; and a certificate for the default service
    account of each namespace.
    """

    def look() -> tuple[str, ...]:
        return (*_validation(mesh), *_definitions(mesh), *_secrets(mesh))

    return until(look, operator.not_, timeout=mesh.timeouts.webhook_live)


def _validation(mesh: Mesh) -> Iterator[str]:
    name = mesh.release.validation_webhook
    found = mesh.kube.find(*VALIDATION, name)
    webhooks = found.get("webhooks") or [] if found else []
    if webhooks and all(each["clientConfig"].get("caBundle") for each in webhooks):
        return
    wanting = "a webhook without caBundle" if webhooks else "no webhook in it"
    yield finding(
        f"ValidatingWebhookConfiguration {name}",
        expected="exists, with the certificate authority of its server",
        seen="not on the cluster" if found is None else wanting,
        cause=mesh.registered_by_run(name)
        or "the component that registers it does not run, or the API server refuses what it sends",
        look=f"kubectl -n {mesh.namespace} logs deployment/{name} --tail=20",
    )


def _definitions(mesh: Mesh) -> Iterator[str]:
    added = {each["metadata"]["name"] for each in mesh.objects if each["kind"] == CRD[1]}
    for name in mesh.release.runtime_crds:
        found = mesh.kube.find(*CRD, name)
        seen = "not on the cluster" if found is None else readiness.problem(found)
        if seen is not None:
            yield finding(
                f"CustomResourceDefinition {name}",
                expected="made by this run" if name in added else "made by discovery when it starts",
                seen=seen,
                cause="deleted after the installation"
                if name in added
                else "discovery does not run, may not make definitions, or uses an API that is gone",
                look=f"kubectl -n {mesh.namespace} logs deployment/{mesh.release.discovery_service}",
            )


def _secrets(mesh: Mesh) -> Iterator[str]:
    wanted: list[tuple[str, str]] = []
    if mesh.release.authority_secret is not None:
        wanted.append((mesh.namespace, mesh.release.authority_secret))
    if mesh.release.workload_secret is not None:
        default = mesh.release.workload_secret.replace("{account}", "default")
        wanted += [
            (each["metadata"]["name"], default)
            for each in mesh.kube.list("v1", "Namespace")
            if readiness.problem(each) is None
        ]
    for namespace, name in wanted:
        if mesh.kube.find("v1", "Secret", name, namespace) is None:
            yield finding(
                f"Secret {namespace}/{name}",
                expected="made by the certificate authority",
                seen="not on the cluster",
                cause="the authority does not run, or may not write Secrets",
                look=f"kubectl -n {mesh.namespace} logs -l istio=citadel --tail=20",
            )
