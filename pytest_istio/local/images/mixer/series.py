"""The series that Istio 1.0's configuration makes of reports: their names, labels and buckets."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LABELS", "Series"]

LABELS = (
    "reporter",
    "source_app",
    "source_principal",
    "source_workload",
    "source_workload_namespace",
    "source_version",
    "destination_app",
    "destination_principal",
    "destination_workload",
    "destination_workload_namespace",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_code",
    "connection_security_policy",
)
"""The labels of requests; what a report leaves out is ``unknown``."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BYTES = tuple(10**power for power in range(9))
_HISTOGRAMS = {
    "istio_request_duration_seconds": ("duration_seconds", _SECONDS),
    "istio_request_bytes": ("request_bytes", _BYTES),
    "istio_response_bytes": ("response_bytes", _BYTES),
}
_REQUESTS = "istio_requests_total"


class Series:
    """Counts what was reported; safe to use from threads."""

    def __init__(self) -> None:
        """Start with nothing: a series exists from its first report on."""
        self._lock = threading.Lock()
        self._counters: defaultdict[tuple[str, str], float] = defaultdict(float)

    def report(self, request: Mapping[str, Any]) -> None:
        """Count one request.

        Args:
            request: Values of `LABELS`, and the numbers ``duration_seconds``, ``request_bytes`` and
                ``response_bytes``.

        Raises:
            ValueError: A number is none.
        """
        labels = ",".join(f'{label}="{_escaped(request.get(label, "unknown"))}"' for label in LABELS)
        values = {name: float(request.get(field, 0)) for name, (field, _) in _HISTOGRAMS.items()}
        with self._lock:
            self._counters[_REQUESTS, labels] += 1
            for name, value in values.items():
                self._counters[f"{name}_sum", labels] += value
                self._counters[f"{name}_count", labels] += 1
                for bound in [*_HISTOGRAMS[name][1], float("inf")]:
                    text = "+Inf" if bound == float("inf") else f"{bound:g}"
                    self._counters[f"{name}_bucket", f'{labels},le="{text}"'] += value <= bound

    def text(self) -> str:
        """Return all series in Prometheus' text format."""
        return "".join(self._lines())

    def _lines(self) -> Iterator[str]:
        with self._lock:
            counters = dict(self._counters)
        for family in (_REQUESTS, *_HISTOGRAMS):
            yield f"# TYPE {family} {'counter' if family == _REQUESTS else 'histogram'}\n"
            for (name, labels), value in counters.items():
                if name.startswith(family):
                    yield f"{name}{{{labels}}} {value!r}\n"


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
