"""Mixer's program.

Real sidecars call Check and Report by gRPC. This stand-in takes reports as ``POST /report`` at the same port
9091, with a JSON body ``{"requests": [{"reporter": "destination", "response_code": 200, ...}]}`` whose
fields are those of `pytest_istio.local.images.mixer.series`; it answers 202. Nothing is counted that was
not reported. It has no Check: policies are not enforced.
"""

from __future__ import annotations

import json
import sys

from pytest_istio.local.images.environment import log, pod_address, run_until_terminated
from pytest_istio.local.images.mixer.series import Series
from pytest_istio.local.images.monitoring import metrics_response, process_metrics, serve_monitoring
from pytest_istio.local.images.web import Request, Response, json_response, serve, text_response

_REPORT_PORT = 9091
_METRICS_PORT = 42422
_SERIES = Series()


def _take_report(request: Request) -> Response:
    if (request.method, request.path) != ("POST", "/report"):
        return text_response("this stand-in for Mixer takes POST /report only\n", 404)
    try:
        reported = json.loads(request.body)["requests"]
        for each in reported:
            _SERIES.report(each)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return text_response(f"not a report: {error!r}\n", 400)
    return json_response({"counted": len(reported)}, 202)


def _metrics(request: Request) -> Response:
    if request.path != "/metrics":
        return text_response("404 page not found\n", 404)
    return metrics_response(process_metrics() + _SERIES.text())


def main() -> None:
    """Serve until terminated."""
    serve_monitoring("mixer")
    serve(_take_report, pod_address(_REPORT_PORT), software="mixer stand-in")
    serve(_metrics, pod_address(_METRICS_PORT), software="mixer stand-in")
    log("serving", options=sys.argv[1:])
    run_until_terminated()


if __name__ == "__main__":
    main()
