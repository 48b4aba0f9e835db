"""Whether pods get their sidecar, and the sidecars their configuration."""

from __future__ import annotations

import json
import operator
import re
import uuid
from typing import TYPE_CHECKING

from pytest_istio.findings import finding
from pytest_istio.istio.inject import InjectionConfig, inject_pod
from pytest_istio.istio.namespaces import INJECTION, temporary_namespace
from pytest_istio.istio.observations.control_plane import ask_pod
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.polling import until
from pytest_istio.kube.selectors import selects
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

__all__ = ["injector_live", "probe_pod", "sidecar_of", "sidecars_synced", "sync_status", "wanted_sidecar"]

SETTINGS = "istio-sidecar-injector"
"""The ConfigMap with the injector's template and policy."""
CONFIGURATION = ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration")


def probe_pod(mesh: Mesh, namespace: str) -> Object:
    """Return a pod to be created for the sake of its admission; no scheduler ever binds it to a node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"istio-probe-{uuid.uuid4().hex[:8]}",
            "namespace": namespace,
            "labels": {**mesh.labels, "app": "istio-probe"},
        },
        "spec": {
            "schedulerName": "pytest-istio.dev-nobody",
            "containers": [{"name": "probe", "image": "pytest-istio.invalid/probe:0"}],
        },
    }


def sidecar_of(mesh: Mesh, pod: Object) -> tuple[str, ...]:
    """Return what injection has given a pod: init container, sidecar, and what its annotation lists."""
    sidecar = mesh.release.sidecar
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    status = json.loads(pod["metadata"].get("annotations", {}).get(sidecar.status_annotation, "{}"))
    parts = [
        f"container {each['name']} with image {each['image']}"
        for each in containers
        if each["name"] in (sidecar.init_container, sidecar.container)
    ]
    listed = [name for key in ("initContainers", "containers") for name in status.get(key) or []]
    return (*parts, f"annotation {sidecar.status_annotation} that lists {', '.join(listed) or 'nothing'}")


def wanted_sidecar(mesh: Mesh) -> tuple[str, ...]:
    """Return what the installed template gives a pod, in the form of `sidecar_of`.

    Raises:
        InjectionError: The manifests hold no usable template.
    """
    config = InjectionConfig.from_manifests(mesh.objects)
    return sidecar_of(mesh, inject_pod(probe_pod(mesh, "default"), config))


def injector_live(mesh: Mesh) -> tuple[str, ...]:
    """Return why a pod of a labelled namespace does not get a sidecar within the bound ``webhook_live``.

    A pod is really created and deleted again: a dry run calls no webhook that declares no side effects.
    """
    look = f"kubectl get mutatingwebhookconfiguration {mesh.release.injector.webhook} -o yaml"
    subject = f"MutatingWebhookConfiguration {mesh.release.injector.webhook}"
    expected = "a pod created in a labelled namespace has a sidecar"
    if mesh.kube.find(*CONFIGURATION, mesh.release.injector.webhook) is None:
        cause = "deleted after the installation, so that no pod is injected any more"
        return (finding(subject, expected=expected, seen="not on the cluster", cause=cause, look=look),)
    with temporary_namespace(mesh, "istio-probe", injected=True, progress=Silent()) as namespace:
        seen = until(lambda: _admission(mesh, namespace), operator.not_, timeout=mesh.timeouts.webhook_live)
    if seen is None:
        return ()
    return (finding(subject, expected=expected, seen=seen, cause=_cause(mesh), look=look),)


def _admission(mesh: Mesh, namespace: str) -> str | None:
    """Create a pod, delete it, and return what was wrong with it; None if it got its sidecar."""
    wanted = mesh.release.sidecar.container
    try:
        pod = mesh.kube.create(probe_pod(mesh, namespace))
    except KubeError as error:
        return f"the pod is refused: {error}"
    mesh.kube.delete("v1", "Pod", pod["metadata"]["name"], namespace, grace=0)
    names = [each["name"] for each in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]]
    return None if wanted in names else f"the pod is admitted with {', '.join(names)}, without {wanted}"


def _cause(mesh: Mesh) -> str:
    """Return what is wrong with the webhook's registration; the likeliest cause first."""
    found = mesh.kube.find(*CONFIGURATION, mesh.release.injector.webhook) or {}
    webhooks = found.get("webhooks") or []
    if not webhooks:
        return "the configuration lists no webhook"
    if not all(each["clientConfig"].get("caBundle") for each in webhooks):
        done = mesh.registered_by_run(mesh.release.injector.webhook)
        return f"caBundle is empty: {done or 'the injector has not registered its certificate authority'}"
    service = mesh.release.injector.service
    if all((each["clientConfig"].get("service") or {}).get("name") != service for each in webhooks):
        return f"no webhook leads to Service {mesh.namespace}/{service}"
    labels = {**mesh.labels, INJECTION: "enabled"}
    if not any(selects(each.get("namespaceSelector"), labels) for each in webhooks):
        return f"no webhook's namespaceSelector takes in namespaces labelled {INJECTION}=enabled"
    if (policy := _policy(mesh)) != "enabled":
        return f"the policy in ConfigMap {mesh.namespace}/{SETTINGS} is {policy!r}"
    return "the injector does not answer, its certificate does not fit, or a selector leaves the pod out"


def _policy(mesh: Mesh) -> str:
    """Return what becomes of pods that say nothing, by the injector's configuration as it is now."""
    found = mesh.kube.find("v1", "ConfigMap", SETTINGS, mesh.namespace) or {}
    policy = re.search(r"^policy: *(\w+)", (found.get("data") or {}).get("config", ""), re.MULTILINE)
    return policy.group(1) if policy else "enabled"


def sidecars_synced(mesh: Mesh, namespace: str) -> tuple[str, ...]:
    """Return which sidecars of a namespace have not accepted their newest configuration.

    Discovery is asked (``/debug/syncz``) until all have, for as long as the bound ``sidecar_sync``.
    """
    return until(lambda: _unsynced(mesh, namespace), operator.not_, timeout=mesh.timeouts.sidecar_sync)


def _unsynced(mesh: Mesh, namespace: str) -> tuple[str, ...]:
    discovery = mesh.release.discovery_service
    try:
        known = sync_status(mesh)
    except KubeError as error:
        look = f"kubectl -n {mesh.namespace} logs deployment/{discovery} --all-containers --tail=20"
        subject = f"Deployment {mesh.namespace}/{discovery}"
        cause = "discovery does not run, or does not answer"
        return (
            finding(subject, expected="tells its proxies' state", seen=str(error), cause=cause, look=look),
        )
    problems = []
    for pod in _injected_pods(mesh, namespace):
        name = pod["metadata"]["name"]
        seen = _out_of_sync(known.get(f"{name}.{namespace}"))
        if seen is not None:
            problems.append(
                finding(
                    f"Pod {namespace}/{name}, container {mesh.release.sidecar.container}",
                    expected="has accepted the clusters, listeners and routes that discovery sent last",
                    seen=seen,
                    cause="the sidecar cannot reach discovery, or refuses what it is sent",
                    look=f"kubectl -n {namespace} logs {name} -c {mesh.release.sidecar.container} --tail=20",
                )
            )
    return tuple(problems)


def _injected_pods(mesh: Mesh, namespace: str) -> list[Object]:
    wanted = mesh.release.sidecar.container
    return [
        pod
        for pod in mesh.kube.list("v1", "Pod", namespace)
        if "deletionTimestamp" not in pod["metadata"]
        and pod.get("status", {}).get("phase") in ("Pending", "Running")
        and wanted
        in [each["name"] for each in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]]
    ]


def sync_status(mesh: Mesh) -> dict[str, Object]:
    """Return what all pods of discovery together have sent the proxies and these have accepted, by proxy.

    Raises:
        KubeError: Discovery does not run, or does not answer.
    """
    discovery = mesh.release.discovery_service
    endpoint = mesh.release.component(discovery).sync
    deployment = mesh.kube.get("apps/v1", "Deployment", discovery, mesh.namespace)
    labels = ",".join(
        f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items()
    )
    known: dict[str, Object] = {}
    if endpoint is None:
        return known
    for pod in mesh.kube.list("v1", "Pod", mesh.namespace, labels=labels, fields="status.phase=Running"):
        known.update({each["proxy"]: each for each in json.loads(ask_pod(mesh, pod, endpoint)) or []})
    return known


def _out_of_sync(status: Object | None) -> str | None:
    """Return what a proxy has not accepted; routes and endpoints may be none at all."""
    if status is None:
        return "discovery does not know this proxy: it never connected, or has gone"
    for kind in ("cluster", "listener", "route", "endpoint"):
        sent, accepted = status.get(f"{kind}_sent", ""), status.get(f"{kind}_acked", "")
        if not sent and kind in ("cluster", "listener"):
            return f"no {kind}s were sent to it"
        if sent != accepted:
            return f"its {kind}s are stale: sent {sent!r}, accepted {accepted!r}"
    return None
