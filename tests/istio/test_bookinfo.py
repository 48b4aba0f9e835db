"""What bookinfo opens at an ingress gateway that others use, too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_istio import bookinfo
from pytest_istio.istio import sources
from pytest_istio.kube.manifests import load
from tests.istio.fake import FakeKube, mesh, obj


@pytest.mark.parametrize("version", ["1.0.5", "1.31.0"])
def test_nothing_but_the_runs_own_host_is_led_through_an_installed_gateway(version: str) -> None:
    service = obj("Service", "istio-ingressgateway", spec={"selector": {"istio": "theirs"}})
    given = mesh(FakeKube([service]))
    there = replace(given, settings=replace(given.settings, use_installed=True))
    assert there.host == "bookinfo-test.example.com"
    objects = load(sources.bookinfo(version) / "bookinfo-gateway.yaml").objects
    assert {host for each in objects for host in _hosts(each)} == {"*"}
    gateway, routes = (bookinfo._at_installed(there, there.host, each) for each in objects)
    assert gateway["spec"]["selector"] == {"istio": "theirs"}
    assert _hosts(gateway) == ["*.example.com"]
    assert _hosts(routes) == [there.host]
    assert given.host is None, "a gateway of the run's own is open for any host, as in Istio's documents"


def _hosts(given: dict[str, Any]) -> list[str]:
    servers = given["spec"].get("servers") or [given["spec"]]
    return [host for each in servers for host in each["hosts"]]
