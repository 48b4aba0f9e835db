"""The data of an injection template: pod and mesh configuration under the names that Go gives their fields.

A template asks for ``.ProxyConfig.DrainDuration`` where the ConfigMap says ``drainDuration``, and expects a
value for what the ConfigMap leaves out. The defaults are those of Istio 1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.istio.template_values import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["mesh_structs", "pod_structs"]

PROXY_CONFIG: Mapping[str, object] = {
    "configPath": "/etc/istio/proxy",
    "binaryPath": "/usr/local/bin/envoy",
    "serviceCluster": "istio-proxy",
    "availabilityZone": "",
    "drainDuration": "2s",
    "parentShutdownDuration": "3s",
    "discoveryAddress": "",
    "discoveryRefreshDelay": "1s",
    "zipkinAddress": "",
    "connectTimeout": "1s",
    "statsdUdpAddress": "",
    "proxyAdminPort": 15000,
    "controlPlaneAuthPolicy": "NONE",
    "customConfigFile": "",
    "statNameLength": 189,
    "concurrency": 0,
    "proxyBootstrapTemplatePath": "",
    "interceptionMode": "REDIRECT",
}
MESH_CONFIG: Mapping[str, object] = {
    "mixerCheckServer": "",
    "mixerReportServer": "",
    "disablePolicyChecks": False,
    "policyCheckFailOpen": False,
    "proxyListenPort": 15001,
    "proxyHttpPort": 0,
    "connectTimeout": "1s",
    "ingressClass": "istio",
    "ingressService": "istio-ingress",
    "ingressControllerMode": "STRICT",
    "authPolicy": "NONE",
    "rdsRefreshDelay": "1s",
    "enableTracing": True,
    "accessLogFile": "/dev/stdout",
    "sdsUdsPath": "",
    "sdsRefreshDelay": "15s",
    "rootNamespace": "",
    "trustDomain": "",
}
OBJECT_META: Mapping[str, object] = {
    "name": "", "generateName": "", "namespace": "", "uid": "", "labels": {}, "annotations": {},
    "ownerReferences": [], "finalizers": [],
}  # fmt: skip
POD_SPEC: Mapping[str, object] = {
    "volumes": [], "initContainers": [], "containers": [], "restartPolicy": "", "dnsPolicy": "",
    "nodeSelector": {}, "serviceAccountName": "", "nodeName": "", "hostNetwork": False, "hostPID": False,
    "hostIPC": False, "securityContext": {}, "imagePullSecrets": [], "hostname": "", "subdomain": "",
    "schedulerName": "", "priorityClassName": "",
}  # fmt: skip


def mesh_structs(mesh: Mapping[str, Any]) -> dict[str, object]:
    """Return ``.MeshConfig`` and ``.ProxyConfig`` for a mesh configuration."""
    proxy = mesh.get("defaultConfig") or {}
    return {"MeshConfig": _struct(MESH_CONFIG, mesh), "ProxyConfig": _struct(PROXY_CONFIG, proxy)}


def pod_structs(pod: Mapping[str, Any]) -> dict[str, object]:
    """Return ``.ObjectMeta`` and ``.Spec`` for a pod or a pod template."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    return {"ObjectMeta": _struct(OBJECT_META, metadata), "Spec": _struct(POD_SPEC, spec)}


def _struct(defaults: Mapping[str, object], given: Mapping[str, Any]) -> Struct:
    """Return `given` over `defaults`, under Go's names; an explicit null stands for the default."""
    values = {**defaults, **{key: value for key, value in given.items() if value is not None}}
    return Struct({_go_name(key): value for key, value in values.items()})


def _go_name(name: str) -> str:
    return "UID" if name == "uid" else name[:1].upper() + name[1:]
