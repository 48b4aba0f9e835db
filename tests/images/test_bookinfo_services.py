"""Bookinfo's services, asked one by one and together."""

from __future__ import annotations

import json
from email.message import Message
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.local.images.bookinfo import details, productpage, ratings, reviews
from pytest_istio.local.images.web import Request, Response, text_response

if TYPE_CHECKING:
    from pytest_istio.local.images.web import Handler

Json = dict[str, Any]


def ask(handler: Handler, path: str, headers: dict[str, str] | None = None) -> Response:
    return send(handler, "GET", path, b"", headers)


def send(
    handler: Handler, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
) -> Response:
    message = Message()
    for name, value in (headers or {}).items():
        message[name] = value
    return handler(Request(method, path, "", message, body, "127.0.0.1"))


class Network:
    """What services ask of each other, answered in this process; a handler in place of one may fail."""

    def __init__(self) -> None:
        self.services: dict[str, Handler] = {
            "details": details.answer,
            "ratings": ratings.answer,
            "reviews": reviews.answer_as(reviews.V2),
        }
        self.asked: list[tuple[str, dict[str, str]]] = []

    def fetch(self, url: str, *, headers: dict[str, str], timeout: float) -> Response:
        assert timeout > 0
        service, _, path = url.removeprefix("http://").partition(":9080")
        self.asked.append((service, dict(headers)))
        return ask(self.services[service], path, headers)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    for module in (productpage, reviews):
        monkeypatch.setattr(module, "fetch", made.fetch)
    return made


def broken(_: Request) -> Response:
    return text_response("fault filter abort", 500)


def page(**headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = ask(productpage.answer, "/productpage", named)
    assert response.status == 200
    return response.body.decode()


@pytest.mark.parametrize(
    ("version", "stars"),
    [(reviews.V1, None), (reviews.V2, '<font color="black">'), (reviews.V3, '<font color="red">')],
    ids=["v1", "v2", "v3"],
)
def test_stars_tell_the_version(network: Network, version: reviews.Version, stars: str | None) -> None:
    network.services["reviews"] = reviews.answer_as(version)
    html = page()
    assert "<title>Simple Bookstore App</title>" in html
    assert "Error fetching" not in html
    if stars:
        assert html.count(stars) == 2
        assert html.count('<span class="glyphicon glyphicon-star"></span>') == 9
    else:
        assert "glyphicon" not in html
        assert ("ratings" in [service for service, _ in network.asked]) is False


def test_page_says_what_is_missing(network: Network) -> None:
    network.services["ratings"] = broken
    assert "Ratings service is currently unavailable" in page()
    network.services["reviews"] = broken
    html = page()
    assert "Error fetching product reviews!" in html
    assert "Sorry, product reviews are currently unavailable for this book." in html
    network.services["details"] = broken
    assert "Error fetching product details!" in page()


def test_reviews_are_asked_for_twice(network: Network) -> None:
    network.services["reviews"] = broken
    page()
    assert [service for service, _ in network.asked].count("reviews") == 2


def test_headers_of_a_trace_travel_to_the_last_service(network: Network) -> None:
    page(x_request_id="one", x_b3_traceid="two", other="three")
    service, headers = network.asked[-1]
    assert service == "ratings"
    assert headers["x-request-id"] == "one"
    assert headers["x-b3-traceid"] == "two"
    assert "other" not in headers


def test_only_who_is_signed_in_is_the_end_user(network: Network) -> None:
    page(end_user="somebody")
    assert all("end-user" not in headers for _, headers in network.asked)
    signed_in = send(productpage.answer, "POST", "/login", b"username=jason&passwd=")
    assert (signed_in.status, signed_in.headers["Location"]) == (302, "/productpage")
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    network.asked.clear()
    assert "jason" in page(cookie=cookie)
    assert {service for service, headers in network.asked if headers.get("end-user") == "jason"} == {
        "details",
        "reviews",
        "ratings",
    }
    assert "Max-Age=0" in ask(productpage.answer, "/logout").headers["Set-Cookie"]


def test_user_name_cannot_break_page_or_headers(network: Network) -> None:
    name = "<script>\r\nx: y"
    signed_in = send(productpage.answer, "POST", "/login", b"username=%3Cscript%3E%0D%0Ax: y")
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    assert name not in cookie
    html = page(cookie=cookie)
    assert "<script>" not in html
    assert all("\n" not in headers["end-user"] for _, headers in network.asked)


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/products", 200),
        ("/api/v1/products/0", 200),
        ("/api/v1/products/0/reviews", 200),
        ("/api/v1/products/0/ratings", 200),
        ("/health", 200),
        ("/", 200),
        ("/details/0", 404),
    ],
)
def test_paths_of_productpage(path: str, status: int) -> None:
    assert ask(productpage.answer, path).status == status


def test_fields_of_a_book() -> None:
    book = json.loads(ask(details.answer, "/details/0").body)
    assert book["author"] == "William Shakespeare"
    assert {"id", "year", "type", "pages", "publisher", "language", "ISBN-10", "ISBN-13"} <= set(book)
    assert ask(details.answer, "/details/x").status == 400


def test_ratings_can_be_changed() -> None:
    body = json.dumps({"Reviewer1": 1, "Reviewer2": 2}).encode()
    assert send(ratings.answer, "POST", "/ratings/7", body).status == 200
    assert json.loads(ask(ratings.answer, "/ratings/7").body)["ratings"]["Reviewer1"] == 1
    assert send(ratings.answer, "POST", "/ratings/7", b"[]").status == 400
