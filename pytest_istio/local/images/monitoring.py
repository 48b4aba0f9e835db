"""The port on which Istio's components say which version they are, and what Prometheus scrapes there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.local.images.environment import pod_address
from pytest_istio.local.images.web import Request, Response, serve, text_response

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["metrics_response", "process_metrics", "serve_monitoring"]

PORT = 9093
"""Where every component of Istio 1.0 serves ``/version`` and ``/metrics``."""

_STARTED = time.time()
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def serve_monitoring(component: str, metrics: Callable[[], str] | None = None) -> None:
    """Serve ``/version`` and ``/metrics`` at this pod's address.

    Args:
        component: What the component calls itself in ``/version``.
        metrics: Makes further metrics, in Prometheus' text format.
    """

    def answer(request: Request) -> Response:
        if request.path == "/version":
            return text_response(f"pytest-istio stand-in for {component}\n")
        if request.path == "/metrics":
            return metrics_response(process_metrics() + (metrics() if metrics else ""))
        return text_response("404 page not found\n", 404)

    serve(answer, pod_address(PORT), software=component)


def metrics_response(text: str) -> Response:
    """Return metrics in the form that Prometheus asks for."""
    return text_response(text, content_type=_EXPOSITION)


def process_metrics() -> str:
    """Return the metrics that every client library of Prometheus has, of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    used = os.times()
    values = {
        "process_cpu_seconds_total": ("counter", used.user + used.system),
        "process_open_fds": ("gauge", sum(1 for _ in Path("/proc/self/fd").iterdir())),
        "process_resident_memory_bytes": ("gauge", pages * os.sysconf("SC_PAGE_SIZE")),
        "process_start_time_seconds": ("gauge", _STARTED),
    }
    lines = [f"# TYPE {name} {kind}\n{name} {value}\n" for name, (kind, value) in values.items()]
    return "".join(lines)
