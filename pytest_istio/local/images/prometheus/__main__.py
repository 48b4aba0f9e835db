"""Prometheus' program: becomes the machine's Prometheus, or serves the stand-in."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from pytest_istio.local.images.environment import (
    connect_address,
    end_with_parent,
    inside,
    listen_address,
    log,
    run_until_terminated,
)
from pytest_istio.local.images.prometheus import real_program
from pytest_istio.local.images.web import Request, Response, json_response, serve, text_response

if TYPE_CHECKING:
    from pathlib import Path

_PORT = 9090
_CONFIG = "--config.file="
_RETENTION = "--storage.tsdb.retention="
_STAND_IN = {"X-Stand-In": "pytest-istio"}
_EXPLANATION = (
    "a stand-in for Prometheus scrapes nothing; install prometheus on this machine for the real one"
)


def _become(program: str) -> None:
    import yaml  # noqa: PLC0415 - the stand-in needs none of these

    from pytest_istio.local.images.cluster_api import ClusterApi  # noqa: PLC0415 - likewise
    from pytest_istio.local.images.prometheus import configuration, discovery  # noqa: PLC0415 - likewise

    config, others = "/etc/prometheus/prometheus.yml", []
    for argument in sys.argv[1:]:
        if argument.startswith(_CONFIG):
            config = argument.removeprefix(_CONFIG)
        else:
            # The short name is gone from Prometheus 3; the long one is known since 2.7.
            others.append(argument.replace(_RETENTION, "--storage.tsdb.retention.time="))
    data = inside("/prometheus")
    data.mkdir(exist_ok=True)
    files: dict[discovery.Query, Path] = {}
    server = connect_address(
        os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    )
    own = configuration.localized(
        yaml.load(inside(config).read_text(encoding="utf-8"), yaml.CSafeLoader),
        api_server="{}:{}".format(*server),
        inside=inside,
        targets=lambda query: files.setdefault(query, data / f"targets-{len(files)}.json"),
    )
    file = data / "prometheus.json"
    file.write_text(json.dumps(own), encoding="utf-8")  # JSON is YAML
    if os.fork() == 0:
        end_with_parent()
        discovery.follow(ClusterApi(), files)
    host, port = listen_address(_PORT)
    arguments = [f"{_CONFIG}{file}", f"--storage.tsdb.path={data}", f"--web.listen-address={host}:{port}"]
    os.execv(program, [program, *others, *arguments])  # noqa: S606 - no shell is wanted


def _answer(request: Request) -> Response:
    if request.path in {"/-/healthy", "/-/ready"}:
        response = text_response("Prometheus stand-in is healthy.\n")
    elif request.path == "/api/v1/status/buildinfo":
        response = json_response({"status": "success", "data": {"version": "stand-in"}})
    elif request.path.startswith("/api/v1/"):
        error = {"status": "error", "errorType": "unavailable", "error": _EXPLANATION}
        response = json_response(error, 503)
    else:
        response = text_response(_EXPLANATION + "\n", 200 if request.path == "/" else 404)
    return response._replace(headers={**response.headers, **_STAND_IN})


def main() -> None:
    """Run until terminated."""
    program = real_program()
    if program and os.environ.get("PODROOT"):
        _become(program)
    serve(_answer, listen_address(_PORT), software="prometheus stand-in")
    log(_EXPLANATION, level="warn")
    run_until_terminated()


if __name__ == "__main__":
    main()
