"""The details service: what is known of a book."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_istio.local.images.bookinfo.service import run
from pytest_istio.local.images.web import json_response

if TYPE_CHECKING:
    from pytest_istio.local.images.web import Request, Response

__all__ = ["answer"]

_BOOK = {
    "author": "William Shakespeare",
    "year": 1595,
    "type": "paperback",
    "pages": 200,
    "publisher": "PublisherA",
    "language": "English",
    "ISBN-10": "1234567890",
    "ISBN-13": "123-1234567890",
}
_DETAILS = re.compile(r"/details/(\d+)")


def answer(request: Request) -> Response:
    """Answer ``/details/<id>`` and ``/health``."""
    if request.path == "/health":
        return json_response({"status": "Details is healthy"})
    asked = _DETAILS.fullmatch(request.path)
    if asked:
        return json_response({"id": int(asked[1]), **_BOOK})
    if request.path.startswith("/details"):
        return json_response({"error": "please provide numeric product id"}, 400)
    return json_response({"error": f"no such path: {request.path}"}, 404)


if __name__ == "__main__":
    run("details", answer)
