"""What bookinfo's services have in common: the port, the log, the headers that a request carries on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

from pytest_istio.local.images.environment import listen_address, log, run_until_terminated
from pytest_istio.local.images.web import serve

if TYPE_CHECKING:
    from pytest_istio.local.images.web import Handler, Request, Response

__all__ = ["PORT", "carried_on", "run"]

PORT = 9080

# Who leaves these out breaks the trace, and routing by user, at his hop.
_CARRIED_ON = (
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-ot-span-context",
    "end-user",
    "user-agent",
)


def carried_on(request: Request) -> dict[str, str]:
    """Return the headers of a request that belong on the requests made for it."""
    headers = request.headers
    return {name: headers[name] for name in _CARRIED_ON if name in headers}


def run(name: str, answer: Handler) -> NoReturn:
    """Serve until told to end, with a line in the log for each request."""

    def logged(request: Request) -> Response:
        started = time.monotonic()
        response = answer(request)
        log(
            "request",
            method=request.method,
            path=request.path,
            status=response.status,
            ms=round((time.monotonic() - started) * 1000, 1),
            request_id=request.headers.get("x-request-id", ""),
        )
        return response

    address = listen_address(PORT)
    serve(logged, address)
    log(f"{name} listens", host=address[0], port=address[1])
    run_until_terminated()
