"""The ratings service: stars by reviewer; a POST changes them until the process ends."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from pytest_istio.local.images.bookinfo.service import run
from pytest_istio.local.images.web import json_response

if TYPE_CHECKING:
    from pytest_istio.local.images.web import Request, Response

__all__ = ["answer"]

_RATINGS = re.compile(r"/ratings/(\d+)")
_INITIAL = {"Reviewer1": 5, "Reviewer2": 4}

_posted: dict[int, dict[str, int]] = {}


def answer(request: Request) -> Response:
    """Answer ``/ratings/<id>``, which takes GET and POST, and ``/health``."""
    if request.path == "/health":
        return json_response({"status": "Ratings is healthy"})
    asked = _RATINGS.fullmatch(request.path)
    if asked is None:
        if request.path.startswith("/ratings"):
            return json_response({"error": "please provide numeric product ID"}, 400)
        return json_response({"error": f"no such path: {request.path}"}, 404)
    product = int(asked[1])
    if request.method == "POST":
        try:
            _posted[product] = {str(who): int(stars) for who, stars in json.loads(request.body).items()}
        except (ValueError, TypeError, AttributeError):
            return json_response({"error": "please provide valid ratings JSON"}, 400)
    return json_response({"id": product, "ratings": _posted.get(product, _INITIAL)})


if __name__ == "__main__":
    run("ratings", answer)
