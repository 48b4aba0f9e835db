"""Image name to program, as data."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any

from pytest_istio.local.images import prometheus
from pytest_istio.local.images.program import HttpProbe, Program, TcpProbe

__all__ = ["PROGRAMS", "HttpProbe", "Program", "TcpProbe", "find_program"]

_HERE = "pytest_istio.local.images"
_CURL = {"curl": f"{_HERE}.curl"}
PARTS = re.compile(r"(?:[^/]+[.:][^/]*/)?(?P<repository>[^:@]+)(?::(?P<tag>[^:@]+))?")
"""A registry's host has a dot or a port, which tells it from the first part of a repository."""


ISTIO = r"1\.0\.[0-9]{1,2}"
BOOKINFO = r"1\.8\.0"
"""The tags that there are; any other is refused, as a registry refuses what was never pushed to it."""


def _istio(name: str, module: str, **more: Any) -> Program:  # noqa: ANN401 (the fields of Program)
    return Program(name, f"{_HERE}.{module}", tags=ISTIO, **more)


def _bookinfo(name: str, module: str) -> Program:
    module = f"{_HERE}.bookinfo.{module}"
    return Program(f"bookinfo {name}", module, started=TcpProbe(), commands=_CURL, tags=BOOKINFO)


# By repository, without the registry's host.
PROGRAMS: MappingProxyType[str, Program] = MappingProxyType(
    {
        "istio/examples-bookinfo-details-v1": _bookinfo("details", "details"),
        "istio/examples-bookinfo-ratings-v1": _bookinfo("ratings", "ratings"),
        "istio/examples-bookinfo-reviews-v1": _bookinfo("reviews v1", "reviews_v1"),
        "istio/examples-bookinfo-reviews-v2": _bookinfo("reviews v2", "reviews_v2"),
        "istio/examples-bookinfo-reviews-v3": _bookinfo("reviews v3", "reviews_v3"),
        "istio/examples-bookinfo-productpage-v1": _bookinfo("productpage", "productpage"),
        "istio/proxyv2": _istio("Envoy", "proxy", started=HttpProbe(15000, "/ready"), stand_in=False),
        "istio/proxy_init": _istio("proxy_init", "proxy_init"),
        "istio/pilot": _istio("pilot", "pilot"),
        "istio/citadel": _istio("citadel", "citadel"),
        "istio/galley": _istio("galley", "galley", commands={"galley": f"{_HERE}.galley"}),
        "istio/sidecar_injector": _istio(
            "sidecar injector", "sidecar_injector", commands={"sidecar-injector": f"{_HERE}.sidecar_injector"}
        ),
        "istio/mixer": _istio("mixer", "mixer"),
        "prom/prometheus": Program(
            "prometheus",
            f"{_HERE}.prometheus",
            stand_in=prometheus.real_program() is None,
            tags=r"v2\.[0-9]{1,2}\.[0-9]{1,2}",
        ),
        "grafana/grafana": Program("grafana", f"{_HERE}.grafana", tags=r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}"),
        "coreos/hyperkube": Program(
            "hyperkube", f"{_HERE}.hyperkube", stand_in=False, commands={"kubectl": f"{_HERE}.kubectl"}
        ),
        "pstauffer/curl": Program("sleep", f"{_HERE}.sleep", commands=_CURL),
        "citizenstig/httpbin": Program("httpbin", f"{_HERE}.httpbin", started=TcpProbe(), commands=_CURL),
    }
)


def find_program(image: str) -> Program | None:
    """Return the program that stands for an image, or None where there is none.

    Args:
        image: An image as a container names it, such as ``docker.io/istio/pilot:1.0.5``. One that is named
            by a digest is not known here.
    """
    parts = PARTS.fullmatch(image)
    program = PROGRAMS.get(parts["repository"]) if parts else None
    return program if parts and program and re.fullmatch(program.tags, parts["tag"] or "latest") else None
