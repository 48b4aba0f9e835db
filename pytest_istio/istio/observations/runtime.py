"""What is on the cluster: what the manifests name, and what the control plane makes itself once it runs."""

from __future__ import annotations

import base64
import operator
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pytest_istio.findings import finding
from pytest_istio.kube import readiness
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

__all__ = ["objects_exist", "runtime_objects"]

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
GRANTING = {
    "ClusterRole": ("rules",),
    "ClusterRoleBinding": ("roleRef", "subjects"),
    "Role": ("rules",),
    "RoleBinding": ("roleRef", "subjects"),
}
"""What says who may do what: nothing but their user changes it, and Kubernetes adds no more than defaults."""
VALIDATION = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
CERTIFICATE = "ca-cert.pem"
ROOT = "root-cert.pem"
AUTHORITY = ("istio.io/ca-root", (CERTIFICATE, "ca-key.pem"))
WORKLOAD = ("istio.io/key-and-cert", (ROOT, "cert-chain.pem", "key.pem"))
"""What Citadel makes: types of Secrets, and the keys that are filled (security/pkg/k8s/controller)."""


def objects_exist(mesh: Mesh) -> tuple[str, ...]:
    """Return which objects of the manifests are not on the cluster, and which roles grant something else."""
    wanted: dict[tuple[str, str], dict[Ref, Object]] = defaultdict(dict)
    for obj in mesh.objects:
        wanted[obj["apiVersion"], obj["kind"]][Ref.of(obj)] = obj
    problems: list[str] = []
    for (api_version, kind), objects in sorted(wanted.items()):
        there = _existing(mesh, api_version, kind)
        for ref in sorted(objects):
            problems += _missing_or_changed(ref, objects[ref], there.get(ref))
    return tuple(problems)


def _missing_or_changed(ref: Ref, wanted: Object, found: Object | None) -> Iterator[str]:
    resource = f"{ref.kind}.{ref.api_version.rpartition('/')[0]}".rstrip(".")
    if found is None:
        yield finding(
            str(ref),
            expected="exists, as the manifests say",
            seen="not on the cluster",
            cause="deleted after the installation, or its kind's definition was",
            look=f"kubectl get {resource} --all-namespaces",
        )
        return
    # The rules of a role that gathers others' are its controller's.
    parts = () if wanted.get("aggregationRule") else GRANTING.get(ref.kind, ())
    changed = [part for part in parts if not _kept(wanted.get(part), found.get(part))]
    if changed:
        where = f"-n {ref.namespace} " if ref.namespace else ""
        yield finding(
            str(ref),
            expected=f"{' and '.join(changed)} as the manifests say",
            seen="others",
            cause="changed after the installation",
            look=f"kubectl {where}get {resource} {ref.name} -o yaml",
        )


def _kept(wanted: Any, found: Any) -> bool:  # noqa: ANN401  # JSON values
    """Return whether what was applied is there; the API server may have added defaults."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(_kept(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_kept, wanted, found))
    return wanted == found or not (wanted or found)


def _existing(mesh: Mesh, api_version: str, kind: str) -> dict[Ref, Object]:
    if (api_version, kind) not in mesh.kube.served():
        return {}
    return {Ref.of(obj): obj for obj in mesh.kube.list(api_version, kind)}


def runtime_objects(mesh: Mesh) -> tuple[str, ...]:
    """Return what of the run-time objects is still missing after the bound ``webhook_live``.

    These are the validating webhook and the definitions that discovery makes, whether the control plane has
    made them or the run in its stead; the authority's Secret; and a certificate for the default service
    account of each namespace. Where the authority hands certificates out as Secrets, its own is the one that
    they, and the webhook, name. Contents of Secrets are compared, and never told.
    """

    def look() -> tuple[str, ...]:
        authority = _authority(mesh)
        return (*_validation(mesh, authority), *_definitions(mesh), *_secrets(mesh, authority))

    return until(look, operator.not_, timeout=mesh.timeouts.webhook_live)


def _authority(mesh: Mesh) -> Object | None:
    name = mesh.release.authority_secret
    return mesh.kube.find("v1", "Secret", name, mesh.namespace) if name else None


def _file(secret: Object | None, key: str) -> bytes:
    """Return what a Secret has under a key; nothing where it is not there."""
    return _decoded(((secret or {}).get("data") or {}).get(key))


def _decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "").strip()


def _validation(mesh: Mesh, authority: Object | None) -> Iterator[str]:
    name = mesh.release.validation_webhook
    found = mesh.kube.find(*VALIDATION, name)
    webhooks = (found.get("webhooks") or []) if found else []
    # A server that has its certificate from such a Secret is known by the same authority as the workloads.
    root = _file(authority, CERTIFICATE) if mesh.release.workload_secret else b""
    trusted = [_decoded(each["clientConfig"].get("caBundle")) for each in webhooks]
    if found is None:
        seen = "not on the cluster"
    elif not webhooks:
        seen = "no webhook in it"
    elif not all(trusted):
        seen = "a webhook without caBundle"
    elif root and any(each != root for each in trusted):
        seen = "a webhook with another caBundle"
    else:
        return
    yield finding(
        f"ValidatingWebhookConfiguration {name}",
        expected="exists, with the certificate authority of its server",
        seen=seen,
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


def _secrets(mesh: Mesh, authority: Object | None) -> Iterator[str]:
    if mesh.release.authority_secret is not None:
        seen = _wanting(authority, AUTHORITY)
        yield from _secret(mesh, mesh.namespace, mesh.release.authority_secret, seen)
    if mesh.release.workload_secret is None:
        return
    root = _file(authority, CERTIFICATE)
    name = mesh.release.workload_secret.replace("{account}", "default")
    for each in mesh.kube.list("v1", "Namespace"):
        if readiness.problem(each) is not None:
            continue
        namespace = each["metadata"]["name"]
        found = mesh.kube.find("v1", "Secret", name, namespace)
        seen = _wanting(found, WORKLOAD)
        if seen is None and root and _file(found, ROOT) != root:
            seen = f"{ROOT} is not {CERTIFICATE} of Secret {mesh.namespace}/{mesh.release.authority_secret}"
        yield from _secret(mesh, namespace, name, seen)


def _wanting(secret: Object | None, wanted: tuple[str, tuple[str, ...]]) -> str | None:
    """Return what a Secret of a type and with certain keys lacks; None if it is as it should be."""
    kind, keys = wanted
    if secret is None:
        return "not on the cluster"
    if secret.get("type") != kind:
        return f"of the type {secret.get('type')}, not {kind}"
    missing = [key for key in keys if not _file(secret, key)]
    return f"nothing as {' and '.join(missing)}" if missing else None


def _secret(mesh: Mesh, namespace: str, name: str, seen: str | None) -> Iterator[str]:
    if seen is not None:
        yield finding(
            f"Secret {namespace}/{name}",
            expected="made by the certificate authority, with its certificate",
            seen=seen,
            cause="the authority does not run, or may not write Secrets, or somebody has changed one since",
            look=f"kubectl -n {mesh.namespace} logs -l istio=citadel --tail=20; "
            f"kubectl -n {namespace} describe secret {name}",
        )
