"""The targets of Prometheus, found for it: distributions build Prometheus without its Kubernetes discovery.

What the API has is written to files that Prometheus follows, with the labels that its own discovery would
give to the roles ``node``, ``pod`` and ``endpoints``, as far as Istio's configuration asks for them.
"""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING

from pytest_istio.local.images.environment import log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_istio.local.images.cluster_api import ClusterApi, Object

    _Targets = Iterator[tuple[str, dict[str, str]]]

__all__ = ["Query", "follow", "groups"]

Query = tuple[str, tuple[str, ...]]
"""A role and the namespaces to look in; none means all."""

_COLLECTIONS = {"nodes": "node", "pods": "pod", "endpoints": "endpoints", "services": ""}
# Changes come in bursts, and Prometheus scrapes every few seconds at most.
_SETTLE_SECONDS = 0.2


def follow(api: ClusterApi, files: Mapping[Query, Path]) -> None:
    """Keep the files up to date, for ever.

    Args:
        api: The API server.
        files: Where the targets of each query are written.
    """
    state: dict[str, dict[str, Object]] = {name: {} for name in _COLLECTIONS}
    changed = threading.Event()

    def watch(collection: str) -> None:
        for event in api.watch(f"/api/v1/{collection}", on_error=_log_watch_error):
            known = {} if event.type == "LISTED" else dict(state[collection])
            for obj in event.objects:
                uid = obj["metadata"]["uid"]
                known.pop(uid, None)
                if event.type != "DELETED":
                    known[uid] = obj
            state[collection] = known
            changed.set()

    for name in _COLLECTIONS:
        threading.Thread(target=watch, args=[name], daemon=True).start()
    settled = threading.Event()
    while changed.wait():
        settled.wait(_SETTLE_SECONDS)
        changed.clear()
        objects = {name: list(known.values()) for name, known in state.items()}
        for query, file in files.items():
            new = file.with_suffix(".new")
            new.write_text(json.dumps(list(groups(query, objects))), encoding="utf-8")
            new.rename(file.with_suffix(".json"))


def groups(query: Query, objects: Mapping[str, Sequence[Object]]) -> Iterator[Object]:
    """Yield the target groups of a query.

    Args:
        query: What is asked for.
        objects: The cluster's nodes, pods, endpoints and services.
    """
    role, namespaces = query
    if role == "node":
        found = _nodes(objects["nodes"])
    elif role == "pod":
        found = _pods(objects["pods"])
    else:
        found = _endpoints(objects)
    for address, labels in found:
        if not namespaces or labels.get("__meta_kubernetes_namespace") in namespaces:
            yield {"targets": [address], "labels": labels}


def _nodes(nodes: Sequence[Object]) -> _Targets:
    for node in nodes:
        status = node.get("status") or {}
        port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port", 10250)
        addresses = [
            each["address"] for each in status.get("addresses") or [] if each["type"] == "InternalIP"
        ]
        for address in addresses[:1]:
            yield f"{address}:{port}", _labels("node", node)


def _pods(pods: Sequence[Object]) -> _Targets:
    for pod in pods:
        address = (pod.get("status") or {}).get("podIP")
        for container in pod["spec"]["containers"] if address else []:
            for port in container.get("ports") or [{}]:
                number = port.get("containerPort")
                more = {"container_name": container["name"], "container_port_name": port.get("name", "")}
                labels = _labels("pod", pod) | {
                    f"__meta_kubernetes_pod_{key}": each for key, each in more.items()
                }
                yield f"{address}:{number}" if number else str(address), labels


def _endpoints(objects: Mapping[str, Sequence[Object]]) -> _Targets:
    services = {_key(each): each for each in objects["services"]}
    pods = {each["metadata"]["uid"]: each for each in objects["pods"]}
    for endpoints in objects["endpoints"]:
        service = services.get(_key(endpoints))
        common = _labels("service", service) if service else {}
        common["__meta_kubernetes_namespace"] = endpoints["metadata"]["namespace"]
        for subset in endpoints.get("subsets") or []:
            for address in subset.get("addresses") or []:
                pod = pods.get((address.get("targetRef") or {}).get("uid", ""))
                labels = common | (_labels("pod", pod) if pod else {})
                for port in subset.get("ports") or []:
                    named = {"__meta_kubernetes_endpoint_port_name": port.get("name", "")}
                    yield f"{address['ip']}:{port['port']}", labels | named


def _labels(role: str, obj: Object) -> dict[str, str]:
    metadata = obj["metadata"]
    labels = {f"__meta_kubernetes_{role}_name": metadata["name"]}
    if "namespace" in metadata:
        labels["__meta_kubernetes_namespace"] = metadata["namespace"]
    for kind in ("label", "annotation"):
        for name, value in (metadata.get(f"{kind}s") or {}).items():
            labels[f"__meta_kubernetes_{role}_{kind}_{re.sub('[^a-zA-Z0-9_]', '_', name)}"] = value
    return labels


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _log_watch_error(error: Exception) -> None:
    log("watch interrupted", level="warn", error=str(error))
