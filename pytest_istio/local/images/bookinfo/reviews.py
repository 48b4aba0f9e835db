"""The reviews service: two reviews of a book, with stars from version 2 on.

Version 1 shows no stars, 2 black ones, 3 red ones. How long each waits for the ratings service is part of
what people test: a delay between the two bounds breaks one version and not the other.
"""

from __future__ import annotations

import http.client
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_istio.local.images.bookinfo.service import PORT, carried_on
from pytest_istio.local.images.web import fetch, json_response

if TYPE_CHECKING:
    from pytest_istio.local.images.web import Handler, Request, Response

__all__ = ["V1", "V2", "V3", "Version", "answer_as"]


class Version(NamedTuple):
    """A version of the service.

    Attributes:
        name: As in the Deployment's label ``version``.
        color: Of the stars; None shows none and asks nobody for ratings.
        timeout: Seconds to wait for ratings.
    """

    name: str
    color: str | None
    timeout: float


V1 = Version("v1", None, 0)
V2 = Version("v2", "black", 10)
V3 = Version("v3", "red", 2.5)

_TEXTS = {
    "Reviewer1": "Two pairs of twins, one long day and not a dull page. I laughed out loud on the train.",
    "Reviewer2": "Great fun, though it lacks the depth of what the author wrote later.",
}
_REVIEWS = re.compile(r"/reviews/(\d+)")


def _ratings(product: str, version: Version, request: Request) -> dict[str, int] | None:
    """Return stars by reviewer, or None when the ratings service does not give them."""
    url = f"http://ratings:{PORT}/ratings/{product}"
    try:
        answer = fetch(url, headers=carried_on(request), timeout=version.timeout)
        ratings: dict[str, int] = json.loads(answer.body)["ratings"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return None
    return ratings if answer.status == http.client.OK else None


def _rating(reviewer: str, ratings: dict[str, int] | None, color: str) -> dict[str, Any]:
    if ratings is None:
        return {"error": "Ratings service is currently unavailable"}
    return {"stars": ratings.get(reviewer, -1), "color": color}


def answer_as(version: Version) -> Handler:
    """Return what answers ``/reviews/<id>`` and ``/health`` as one version of the service does."""

    def answer(request: Request) -> Response:
        if request.path == "/health":
            return json_response({"status": "Reviews is healthy"})
        asked = _REVIEWS.fullmatch(request.path)
        if asked is None:
            return json_response({"error": f"no such path: {request.path}"}, 404)
        reviews: list[dict[str, Any]] = [{"reviewer": who, "text": text} for who, text in _TEXTS.items()]
        if version.color is not None:
            ratings = _ratings(asked[1], version, request)
            for review in reviews:
                review["rating"] = _rating(review["reviewer"], ratings, version.color)
        return json_response({"id": asked[1], "reviews": reviews})

    return answer
