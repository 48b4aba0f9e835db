"""The node's own objects: Node and Lease."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_istio.local.api import ApiError
from pytest_istio.local.node.events import now

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.api import Api, Object

__all__ = ["NODE", "RUNTIME", "capacity", "keep_lease", "register"]

_log = logging.getLogger(__name__)

NODE = "local"
"""The name of the only node."""
RUNTIME = "local://processes"
"""What the node has in the place of a container runtime."""

_PODS = 500
_LEASE_SECONDS = 40
_HEARTBEAT = 10.0
_RETRY_PAUSE = 0.2
_REGISTERED_WITHIN = 30.0

# What containers ask for is meant for the real programs. Small machines run the stand-ins well, but
# would leave Pilot, which asks for 2 GiB, without a node.
_LEAST_MEMORY = 4 * 2**30
_LEAST_PROCESSORS = 2

_CONDITIONS = {
    "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID"),
    "Ready": ("True", "KubeletReady"),
}


def capacity(folder: Path) -> dict[str, str]:
    """Return what the machine has to give, as the API's quantities.

    Args:
        folder: On the disk that pods write to.
    """
    disk = os.statvfs(folder)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": str(max(os.cpu_count() or 1, _LEAST_PROCESSORS)),
        "memory": f"{max(memory, _LEAST_MEMORY) // 1024}Ki",
        "ephemeral-storage": f"{disk.f_frsize * disk.f_blocks // 1024}Ki",
        "pods": str(_PODS),
    }


async def register(api: Api, plan: Plan, resources: dict[str, str], port: int, version: str) -> None:
    """Create the Node object, ready for pods.

    Args:
        api: The client.
        plan: The cluster's addresses.
        resources: What the node has to give.
        port: Where its kubelet serves.
        version: The cluster's Kubernetes version.

    Raises:
        ApiError: The API server does not take it.
    """
    present = now()
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "lastHeartbeatTime": present,
            "lastTransitionTime": present,
        }
        for kind, (status, reason) in _CONDITIONS.items()
    ]
    labels = {f"{prefix}kubernetes.io/{key}": value
              for prefix in ("", "beta.") for key, value in (("os", "linux"), ("arch", "amd64"))}  # fmt: skip
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": labels | {"kubernetes.io/hostname": NODE}},
        "spec": {"providerID": f"pytest-istio://local/{plan.instance}"},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": plan.node},
                {"type": "Hostname", "address": NODE},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "nodeInfo": {
                "kubeletVersion": version,
                "containerRuntimeVersion": RUNTIME,
                "operatingSystem": "linux",
                "architecture": "amd64",
                "kernelVersion": platform.release(),
                "osImage": "pytest-istio local",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kubeProxyVersion": "",
            },
        },
    }
    await _create(api, node)
    # Admission taints every new node; the controller that takes the taint away is slow to start.
    await api.patch(f"/api/v1/nodes/{NODE}", {"spec": {"taints": None}})


async def _create(api: Api, node: Object) -> None:
    """Create the Node object; an API server that has only just started turns some requests away."""
    bound = time.monotonic() + _REGISTERED_WITHIN
    while True:
        try:
            await api.create("/api/v1/nodes", node)
        except ApiError as error:  # noqa: PERF203  # the loop is one request a turn
            if time.monotonic() > bound:
                raise
            _log.debug("%s", error)
            await asyncio.sleep(_RETRY_PAUSE)
        else:
            return


async def keep_lease(api: Api) -> None:
    """Renew the node's lease until cancelled, so that the control plane takes it for alive."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}"
    while True:
        renewed = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NODE, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": NODE, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": renewed},
        }
        try:
            await api.patch(path, lease, "apply")
        except ApiError as error:
            # The namespace is not there in the first second.
            _log.debug("%s", error)
            await asyncio.sleep(_RETRY_PAUSE)
        else:
            await asyncio.sleep(_HEARTBEAT)
