"""An Istio that is on the cluster already: recognised, read, and tested without being changed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding
from pytest_istio.istio import preflight, sources
from pytest_istio.istio.catalog import minors, release
from pytest_istio.istio.mesh import Mesh
from pytest_istio.kube.manifests import Manifests, load
from pytest_istio.kube.migrate import migrate
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.istio.catalog import Release
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings

__all__ = ["check", "expected", "gateway", "look", "version"]

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
MUTATING = ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration")
VALIDATING = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
TAG = re.compile(r":v?(\d+\.\d+\.\d+)(?:[-.@].*)?$")


def expected(settings: Settings) -> Release:
    """Return what is expected of the release that a run tests, with the ingress gateway that it names.

    Raises:
        UnknownVersionError: The catalogue does not know the version.
    """
    assert settings.istio_version is not None
    known = release(settings.istio_version)
    if settings.gateway is None:
        return known
    usual, (_, name) = known.gateway, settings.gateway
    return replace(
        known,
        gateway=replace(usual, service=name, deployment=name),
        components=tuple(each for each in known.components if each.name != usual.deployment),
        successors={**known.successors, usual.deployment: name},
    )


def version(kube: Kube, settings: Settings) -> str:
    """Return the version of the Istio on the cluster, by the image of its discovery.

    Raises:
        ClusterError: There is none in the namespace, or its image does not tell.
    """
    for name in _usual_names():
        found = kube.find("apps/v1", "Deployment", name, settings.namespace)
        if found is None:
            continue
        images = [each["image"] for each in found["spec"]["template"]["spec"]["containers"]]
        tags = [tag.group(1) for image in images if (tag := TAG.search(image))]
        if tags:
            return tags[0]
        raise ClusterError(
            f"--istio-use-installed: the version of Deployment {settings.namespace}/{name} cannot be told by "
            f"its image {images[0]}; say it with --istio-version."
        )
    raise ClusterError(_no_control_plane(kube, settings.namespace))


def _usual_names() -> set[str]:
    """Return what the Deployment of a control plane without a revision is called in any release."""
    return {release(f"{minor}.0").discovery_service for minor in minors()}


def _no_control_plane(kube: Kube, namespace: str) -> str:
    """Say which control planes there are, where the one that is looked for is not among them."""
    there = [each for each in kube.list("apps/v1", "Deployment") if _is_control_plane(each)]
    elsewhere = [each for each in there if each["metadata"]["name"] in _usual_names()]
    if elsewhere:
        cause = f"it is in another namespace: --istio-namespace={elsewhere[0]['metadata']['namespace']}"
    elif there:
        cause = (
            "so far only a control plane without a revision can be tested, whose Deployment is "
            + " or ".join(sorted(_usual_names()))
        )
    else:
        cause = "there is none, or it bears neither the label istio=pilot nor app=istiod"
    return finding(
        f"namespace {namespace}",
        expected="an installed Istio, as --istio-use-installed says",
        seen=", ".join(_with_revision(each) for each in there) or "no Deployment of a control plane",
        cause=cause,
        look="kubectl get deployments --all-namespaces -L app,istio,istio.io/rev",
    )


def _is_control_plane(deployment: Object) -> bool:
    """Return whether its labels are those that Istio's charts give, with a revision or without."""
    labels = deployment["metadata"].get("labels") or {}
    return labels.get("istio") == "pilot" or labels.get("app") == "istiod"


def _with_revision(deployment: Object) -> str:
    revision = (deployment["metadata"].get("labels") or {}).get("istio.io/rev", "default")
    return f"Deployment {'/'.join(_place(deployment))}, revision {revision}"


def gateway(kube: Kube, settings: Settings) -> tuple[str, str] | None:
    """Return namespace and name of the ingress gateway where it is not the usual one.

    It is recognised as istioctl and the gateway's own chart make it: a Service that the outside reaches, with
    the port of plain HTTP, and a Deployment of the same name whose pods are proxies.

    Returns:
        None where the usual one is there, or none at all, which is the checks' to say.

    Raises:
        ClusterError: Several could be meant.
    """
    assert settings.istio_version is not None
    usual = release(settings.istio_version).gateway
    if kube.find("v1", "Service", usual.service, settings.namespace):
        return None
    routers = {_place(each) for each in kube.list("apps/v1", "Deployment") if _is_router(each)}
    found = sorted(
        _place(each)
        for each in kube.list("v1", "Service")
        if each["spec"].get("type") in ("LoadBalancer", "NodePort")
        and any(port.get("name") == usual.http for port in each["spec"].get("ports") or [])
        and _place(each) in routers
    )
    if len(found) > 1:
        raise ClusterError(
            f"There is no Service {settings.namespace}/{usual.service}, and several others could be the "
            f"ingress gateway: {', '.join('/'.join(each) for each in found)}. Say which, with "
            f"--istio-gateway={'/'.join(found[0])} or another."
        )
    return found[0] if found else None


def _place(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _is_router(deployment: Object) -> bool:
    """Return whether the pods are proxies of their own, and no application's sidecars."""
    template = deployment["spec"]["template"]
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return annotations.get("inject.istio.io/templates") == "gateway" or any(
        (container.get("args") or [])[:2] == ["proxy", "router"]
        for container in template["spec"]["containers"]
    )


def check(kube: Kube, settings: Settings) -> None:
    """Return if the Istio on the cluster is the one that the run is about; nothing is changed.

    Raises:
        ClusterError: It is another one, there is none, or bookinfo cannot be deployed beside it.
    """
    assert settings.istio_version is not None
    seen = version(kube, settings)
    if seen != settings.istio_version:
        raise ClusterError(
            f"--istio-version: {settings.istio_version} was asked for, but Istio {seen} is installed in "
            f"{settings.namespace}; nothing was changed. Take --istio-version={seen}."
        )
    found = preflight.record(kube, settings, expected(settings), _ours(kube, settings), created=False)
    problems = [*found.version_problems, *found.forbidden, *found.capacity_problems]
    if problems:
        raise ClusterError(
            f"Istio {seen} cannot be tested on the cluster; nothing was changed.\n" + "\n".join(problems)
        )


def look(kube: Kube, settings: Settings, *, run: str, progress: Progress, observed: Path | None) -> Mesh:
    """Return the Istio on the cluster as a mesh; its objects are those that are there.

    Raises:
        KubeError: The API server refuses to show them.
    """
    known = expected(settings)
    with progress.phase("preflight"):
        found = preflight.record(kube, settings, known, _ours(kube, settings), created=False)
    with progress.phase("reading"):
        objects = _objects(kube, known, settings.namespace)
    spoken = json.dumps([[str(Ref.of(each)), each.get("spec"), each.get("data")] for each in objects])
    manifests = Manifests(
        objects=tuple(objects),
        source="of the Istio that is installed",
        sha256=hashlib.sha256(spoken.encode()).hexdigest(),
        warnings=("Istio was there before the run, which has not changed it",),
    )
    # That there is one is what the run was told to expect.
    return Mesh(
        kube, settings, known, manifests, manifests.objects, (), run,
        replace(found, previous_istio=()), observed=observed,
    )  # fmt: skip


def _ours(kube: Kube, settings: Settings) -> list[Object]:
    """Return what a run makes beside an installed Istio: bookinfo, and a namespace for it.

    Kinds that the API server lacks are left out: that a definition is missing is the checks' to say.
    """
    folder = sources.bookinfo(expected(settings).version)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bookinfo"}}
    files = "bookinfo.yaml", "bookinfo-gateway.yaml"
    given = [each for file in files for each in load(folder / file).objects]
    return [namespace, *migrate(given, kube.served()).objects]


def _objects(kube: Kube, known: Release, namespace: str) -> list[Object]:
    """Return what there is of the parts that the catalogue knows; what is missing is the checks' to say."""
    named = [
        *(Ref(*CRD, None, name) for name in known.crds),
        *(Ref("v1", "ConfigMap", namespace, name) for name in ("istio", "istio-sidecar-injector")),
        *(Ref("v1", "Service", namespace, each.name) for each in known.control_plane_services),
        *(Ref("apps/v1", "Deployment", namespace, each.name) for each in known.components),
        *(Ref("batch/v1", "Job", namespace, name) for name in known.jobs),
        Ref(*MUTATING, None, known.injector.webhook),
        Ref(*VALIDATING, None, known.validation_webhook),
    ]
    found = [kube.find(ref.api_version, ref.kind, ref.name, ref.namespace) for ref in named]
    return [each for each in found if each is not None]
