"""A stand-in for Grafana: it is there, healthy, and says that it draws nothing."""

from __future__ import annotations

import os

from pytest_istio.local.images.environment import listen_address, log, run_until_terminated
from pytest_istio.local.images.web import Request, Response, json_response, serve, text_response

__all__ = ["answer"]

_PAGE = "<!doctype html><title>Grafana</title><p>A stand-in for Grafana: no dashboards are drawn.</p>\n"


def answer(request: Request) -> Response:
    """Answer the health check and show the one page."""
    if request.path == "/api/health":
        return json_response({"database": "ok", "version": "stand-in"})
    if request.path in {"/", "/login"}:
        return text_response(_PAGE, content_type="text/html; charset=utf-8")
    return text_response("a stand-in for Grafana has no such page\n", 404)


def main() -> None:
    """Serve until terminated."""
    serve(answer, listen_address(int(os.environ.get("GRAFANA_PORT", "3000"))), software="grafana stand-in")
    log("a stand-in for Grafana is serving")
    run_until_terminated()


if __name__ == "__main__":
    main()
