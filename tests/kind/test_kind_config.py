"""kind's configuration: the user's own words stay, the gateway's ports are added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pytest_istio.clusters.kind_config import configuration
from pytest_istio.errors import ClusterError
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED = {
    port: {"containerPort": port, "hostPort": -1, "listenAddress": "127.0.0.1"} for port in (31380, 31390)
}


def configured(**settings: Any) -> dict[str, Any]:  # noqa: ANN401 (fields of Settings)
    config: dict[str, Any] = yaml.safe_load(configuration(Settings(istio_version="1.0.5", **settings)))
    return config


def test_a_plain_cluster_publishes_the_gateways_node_ports_on_loopback() -> None:
    (node,) = configured()["nodes"]
    assert node == {"role": "control-plane", "extraPortMappings": list(PUBLISHED.values())}


def test_more_nodes_are_workers() -> None:
    assert [node["role"] for node in configured(kind_nodes=3)["nodes"]] == [
        "control-plane",
        "worker",
        "worker",
    ]


def test_what_the_users_file_publishes_stays(tmp_path: Path) -> None:
    own = {"containerPort": 31380, "hostPort": 8080}
    file = tmp_path / "kind.yaml"
    nodes = [{"role": "worker"}, {"role": "control-plane", "extraPortMappings": [own]}]
    file.write_text(yaml.safe_dump({"kind": "Cluster", "networking": {"ipFamily": "ipv6"}, "nodes": nodes}))
    config = configured(kind_config=file)
    assert config["networking"] == {"ipFamily": "ipv6"}
    assert config["nodes"][1]["extraPortMappings"] == [own, PUBLISHED[31390]]


@pytest.mark.parametrize("text", ["kind: Pod", "- a\n- b", "{", ""])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kind.yaml"
    file.write_text(text)
    with pytest.raises(ClusterError, match="--istio-kind-config"):
        configured(kind_config=file)
