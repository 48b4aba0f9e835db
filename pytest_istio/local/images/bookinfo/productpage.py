"""The productpage service: the page of the book, put together from details and reviews.

Anybody may sign in by a name, without a password: the name travels on as the header ``end-user``, by which
routes are chosen. The session cookie is that name and no more.
"""

from __future__ import annotations

import http.client
import json
import re
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote

from pytest_istio.local.images.bookinfo import pages
from pytest_istio.local.images.bookinfo.service import PORT, carried_on, run
from pytest_istio.local.images.web import Response, fetch, json_response, text_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_istio.local.images.web import Handler, Request

__all__ = ["answer"]

_API = re.compile(r"/api/v1/products(?:/(\d+)(?:/(reviews|ratings))?)?")
_SESSION = "session"
_HTML = "text/html; charset=utf-8"

# Part of what people test: a ratings service that is slower than two of these takes the reviews away.
_TIMEOUT = 3.0
_REVIEW_TRIES = 2


def _user(request: Request) -> str:
    try:
        cookie = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return ""
    return unquote(cookie[_SESSION].value) if _SESSION in cookie else ""


def _headers(request: Request) -> dict[str, str]:
    """Return the headers for the requests behind a page: the session says who the user is, nobody else."""
    user = _user(request)
    kept = {name: value for name, value in carried_on(request).items() if name != "end-user"}
    return kept | ({"end-user": quote(user)} if user else {})


def _ask(service: str, path: str, headers: Mapping[str, str], *, tries: int = 1) -> tuple[int, Any]:
    """Return status and JSON answer of a service; status 500 and an ``error`` when there is none."""
    for _ in range(tries):
        try:
            response = fetch(f"http://{service}:{PORT}{path}", headers=headers, timeout=_TIMEOUT)
            value = json.loads(response.body)
        except (OSError, http.client.HTTPException, ValueError):
            continue
        if response.status == http.client.OK:
            return response.status, value
    return 500, {"error": f"Sorry, product {service} are currently unavailable for this book."}


def _reviews(product: int, headers: Mapping[str, str]) -> tuple[int, Any]:
    return _ask("reviews", f"/reviews/{product}", headers, tries=_REVIEW_TRIES)


def _details(product: int, headers: Mapping[str, str]) -> tuple[int, Any]:
    return _ask("details", f"/details/{product}", headers)


def _page(request: Request) -> Response:
    headers = _headers(request)
    details = _details(pages.PRODUCT["id"], headers)[1]
    reviews = _reviews(pages.PRODUCT["id"], headers)[1]
    return text_response(pages.product_page(_user(request), details, reviews), content_type=_HTML)


def _login(request: Request) -> Response:
    form = parse_qs(request.body.decode(errors="replace"))
    user = form.get("username", [""])[0]
    return _to_page(f"{_SESSION}={quote(user, safe='')}; Path=/; HttpOnly; SameSite=Lax")


def _to_page(cookie: str) -> Response:
    return Response(302, b"", {"Location": "/productpage", "Set-Cookie": cookie})


def _api(product: str | None, part: str | None, request: Request) -> Response:
    if product is None:
        return json_response([pages.PRODUCT])
    headers = _headers(request)
    if part is None:
        status, value = _details(int(product), headers)
    elif part == "reviews":
        status, value = _reviews(int(product), headers)
    else:
        status, value = _ask("ratings", f"/ratings/{product}", headers)
    return json_response(value, status)


_PATHS: dict[str, Handler] = {
    "/": lambda _: text_response(pages.front_page(), content_type=_HTML),
    "/health": lambda _: text_response("Product page is healthy\n"),
    "/login": _login,
    "/logout": lambda _: _to_page(f"{_SESSION}=; Path=/; Max-Age=0"),
    "/productpage": _page,
}


def answer(request: Request) -> Response:
    """Answer for every path of the service."""
    asked = _API.fullmatch(request.path)
    if asked:
        return _api(asked[1], asked[2], request)
    page = _PATHS.get(request.path)
    return page(request) if page else text_response("Not Found\n", 404)


if __name__ == "__main__":
    run("productpage", answer)
