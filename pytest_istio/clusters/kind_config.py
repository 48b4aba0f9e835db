"""kind's configuration file for a run: the user's own or a plain one, with the gateway's ports published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from pytest_istio.errors import ClusterError, ManifestError
from pytest_istio.findings import one_line
from pytest_istio.istio.catalog import release
from pytest_istio.kube import yaml_text

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.settings import Settings

__all__ = ["configuration"]


def configuration(settings: Settings) -> str:
    """Return what goes into the file.

    The ingress gateway's node ports are published on free ports of the loopback interface, since containers
    are not reached from everywhere. What the user's file publishes stays as it is.

    Raises:
        ClusterError: The user's file is no configuration of a cluster.
    """
    config = _read(settings.kind_config) if settings.kind_config else _plain(settings.kind_nodes)
    node = _first_node(config)
    mappings = node["extraPortMappings"] = node.get("extraPortMappings") or []
    # What else is written there is for kind to refuse.
    taken = {port for mapping in mappings if isinstance(port := mapping.get("containerPort"), int)}
    mappings += [
        # -1 has the engine choose, so that two runs at once never choose the same.
        {"containerPort": port, "hostPort": -1, "listenAddress": "127.0.0.1"}
        for port in _node_ports(settings)
        if port not in taken
    ]
    text: str = yaml.safe_dump(config)
    return text


def _plain(nodes: int) -> dict[str, Any]:
    roles = ["control-plane", *["worker"] * (nodes - 1)]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": role} for role in roles],
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = [document for document, _ in yaml_text.documents(text, str(path), [])]
    except (OSError, UnicodeDecodeError, ManifestError) as error:
        raise ClusterError(f"--istio-kind-config: {path} cannot be read: {one_line(str(error))}") from error
    config = found[0] if len(found) == 1 else None
    if not isinstance(config, dict) or config.get("kind") != "Cluster":
        raise ClusterError(
            f"--istio-kind-config: {path} is no configuration of kind's (expected one with `kind: Cluster`)"
        )
    nodes = config.get("nodes") or []
    if not _are_objects(nodes) or not all(
        _are_objects(each.get("extraPortMappings") or []) for each in nodes
    ):
        raise ClusterError(
            f"--istio-kind-config: {path}: nodes, and extraPortMappings of each, must be lists of objects"
        )
    return config


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _first_node(config: dict[str, Any]) -> dict[str, Any]:
    """Return the first control-plane node; without nodes in the file kind makes one."""
    nodes = config.get("nodes") or [{"role": "control-plane"}]
    config["nodes"] = nodes
    node: dict[str, Any] = next((each for each in nodes if each.get("role") != "worker"), nodes[0])
    return node


def _node_ports(settings: Settings) -> list[int]:
    assert settings.istio_version is not None
    known = release(settings.istio_version)
    ports = [
        port
        for each in known.control_plane_services
        if each.name == known.gateway.service
        for port in each.ports
    ]
    wanted = (known.gateway.http, known.gateway.https)
    return [port.node_port for port in ports if port.node_port is not None and port.name in wanted]
