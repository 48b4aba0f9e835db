"""Image name to program, as data."""

from __future__ import annotations

from types import MappingProxyType

from pytest_istio.local.images import prometheus
from pytest_istio.local.images.program import HttpProbe, Program, TcpProbe

__all__ = ["PROGRAMS", "HttpProbe", "Program", "TcpProbe", "find_program"]

_HERE = "pytest_istio.local.images"
_CURL = {"curl": f"{_HERE}.curl"}


def _bookinfo(service: str) -> Program:
    return Program(f"bookinfo {service}", f"{_HERE}.bookinfo.{service}", started=TcpProbe(), commands=_CURL)


def _reviews(version: str) -> Program:
    module = f"{_HERE}.bookinfo.reviews_{version}"
    return Program(f"bookinfo reviews {version}", module, started=TcpProbe(), commands=_CURL)


# By the last part of the image's repository: a mirror keeps that, and tags change with every release.
PROGRAMS: MappingProxyType[str, Program] = MappingProxyType(
    {
        "examples-bookinfo-details-v1": _bookinfo("details"),
        "examples-bookinfo-ratings-v1": _bookinfo("ratings"),
        "examples-bookinfo-reviews-v1": _reviews("v1"),
        "examples-bookinfo-reviews-v2": _reviews("v2"),
        "examples-bookinfo-reviews-v3": _reviews("v3"),
        "examples-bookinfo-productpage-v1": _bookinfo("productpage"),
        "proxyv2": Program("Envoy", f"{_HERE}.proxy", started=HttpProbe(15000, "/ready"), stand_in=False),
        "proxy_init": Program("proxy_init", f"{_HERE}.proxy_init"),
        "pilot": Program("pilot", f"{_HERE}.pilot"),
        "citadel": Program("citadel", f"{_HERE}.citadel"),
        "galley": Program("galley", f"{_HERE}.galley", commands={"galley": f"{_HERE}.galley"}),
        "sidecar_injector": Program(
            "sidecar injector",
            f"{_HERE}.sidecar_injector",
            commands={"sidecar-injector": f"{_HERE}.sidecar_injector"},
        ),
        "mixer": Program("mixer", f"{_HERE}.mixer"),
        "prometheus": Program(
            "prometheus", f"{_HERE}.prometheus", stand_in=prometheus.real_program() is None
        ),
        "grafana": Program("grafana", f"{_HERE}.grafana"),
        "hyperkube": Program(
            "hyperkube", f"{_HERE}.hyperkube", stand_in=False, commands={"kubectl": f"{_HERE}.kubectl"}
        ),
        "curl": Program("curl", f"{_HERE}.sleep", commands=_CURL),
        "sleep": Program("sleep", f"{_HERE}.sleep", commands=_CURL),
        "httpbin": Program("httpbin", f"{_HERE}.httpbin", started=TcpProbe(), commands=_CURL),
    }
)


def find_program(image: str) -> Program | None:
    """Return the program that stands for an image, or None where there is none.

    Args:
        image: An image as a container names it, such as ``docker.io/istio/pilot:1.0.5``.
    """
    repository = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return PROGRAMS.get(repository)
