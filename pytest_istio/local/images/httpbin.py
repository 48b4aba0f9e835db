"""httpbin: answers with what it was asked, or as it was told to."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from pytest_istio.local.images.environment import listen_address, log, run_until_terminated
from pytest_istio.local.images.web import Request, Response, json_response, serve, text_response

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["answer"]

# citizenstig/httpbin, which Istio 1.0's sample has, and kennethreitz/httpbin of later ones.
_PORTS = (8000, 80)
_LONGEST_DELAY = 10.0


def _described(request: Request) -> dict[str, object]:
    text = request.body.decode(errors="replace")
    form = request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
    try:
        value = json.loads(text) if text and not form else None
    except ValueError:
        value = None
    return {
        "args": dict(parse_qsl(request.query)),
        "data": "" if form else text,
        "form": dict(parse_qsl(text)) if form else {},
        "headers": dict(request.headers.items()),
        "json": value,
        "method": request.method,
        "origin": request.client,
        "url": f"http://{request.headers.get('Host', '')}{request.path}",
    }


def _status(request: Request, code: str) -> Response:
    del request
    return Response(int(code))


def _delay(request: Request, amount: str) -> Response:
    time.sleep(min(float(amount), _LONGEST_DELAY))
    return json_response(_described(request))


def _some(*fields: str) -> Callable[..., Response]:
    def response(request: Request) -> Response:
        described = _described(request)
        return json_response({field: described[field] for field in fields})

    return response


_ROUTES: tuple[tuple[str, str, Callable[..., Response]], ...] = (
    ("", r"/status/([2-5]\d\d)", _status),
    ("", r"/delay/(\d+(?:\.\d+)?)", _delay),
    ("", r"/anything(?:/.*)?", lambda request: json_response(_described(request))),
    ("GET", r"/headers", _some("headers")),
    ("GET", r"/ip", _some("origin")),
    ("GET", r"/get", _some("args", "headers", "origin", "url")),
    ("POST", r"/post", _some("args", "data", "form", "headers", "json", "origin", "url")),
    ("GET", r"/", lambda _: text_response("httpbin\n")),
)


def answer(request: Request) -> Response:
    """Answer a request by its path."""
    started = time.monotonic()
    response = text_response("not found\n", 404)
    for method, pattern, respond in _ROUTES:
        matched = re.fullmatch(pattern, request.path)
        if matched:
            allowed = method in {"", request.method, "GET" if request.method == "HEAD" else ""}
            response = respond(request, *matched.groups()) if allowed else text_response("", 405)
            break
    took = round(time.monotonic() - started, 4)
    log("request", method=request.method, path=request.path, status=response.status, seconds=took)
    return response


def main() -> None:
    """Serve until terminated."""
    for port in _PORTS:
        serve(answer, listen_address(port), software="httpbin")
    run_until_terminated()


if __name__ == "__main__":
    main()
