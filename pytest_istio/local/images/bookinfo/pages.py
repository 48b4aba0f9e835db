"""The HTML of productpage; self-contained, since a browser in a test has nowhere to load the rest from."""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["PRODUCT", "front_page", "product_page"]

PRODUCT: dict[str, Any] = {
    "id": 0,
    "title": "The Comedy of Errors",
    "descriptionHtml": "Two pairs of twins, separated at birth, meet in one town without knowing it; "
    "everybody takes everybody for somebody else. One of <b>William Shakespeare's</b> early plays.",
}

_STARS = 5

# Stars by the end of their class only: people look for the whole name in a page to see if it has stars.
_STYLE = """
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: #24292f; background: #f6f7f9 }
nav { background: #1f3a5f; color: #fff; padding: .7rem 1.5rem; display: flex; align-items: center }
nav a { color: #fff; font-weight: 600; text-decoration: none; margin-right: auto }
nav form { margin: 0 } nav input, nav button { font: inherit; padding: .15rem .5rem; border-radius: 4px;
  border: 1px solid #ccd }
main { max-width: 60rem; margin: 1.5rem auto; padding: 0 1.5rem }
h1, .center { text-align: center } .parts { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)) }
section { background: #fff; border: 1px solid #dde1e6; border-radius: 8px; padding: .5rem 1.5rem 1.5rem }
dl { display: grid; grid-template-columns: auto 1fr; gap: .2rem 1.2rem; margin: 0 }
dt { font-weight: 600 } dd { margin: 0 } .missing { color: #a4262c }
blockquote { margin: 0 0 1.2rem; padding-left: 1rem; border-left: 3px solid #dde1e6 }
blockquote p { margin: 0 } small { color: #667 }
font span { font-size: 1.2rem } font [class$="-star"]::before { content: "\\2605" }
font [class$="-empty"]::before { content: "\\2606" }
"""
_DETAILS = {
    "type": "Type",
    "pages": "Pages",
    "publisher": "Publisher",
    "language": "Language",
    "ISBN-10": "ISBN-10",
    "ISBN-13": "ISBN-13",
}


def _document(body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Simple Bookstore App</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _session(user: str) -> str:
    if user:
        leave = '<button type="submit">Sign out</button>'
        return f'<form method="get" action="/logout">{escape(user)} {leave}</form>'
    return (
        '<form method="post" action="/login"><input name="username" placeholder="User name" required '
        'aria-label="User name"> <input name="passwd" type="password" placeholder="Password" '
        'aria-label="Password"> <button type="submit">Sign in</button></form>'
    )


def _error(part: str, message: str) -> str:
    heading = f'<h4 class="center missing">Error fetching product {part}!</h4>'
    return f'{heading}\n<p class="center">{escape(message)}</p>'


def _details(details: dict[str, Any]) -> str:
    if "error" in details:
        return _error("details", details["error"])
    rows = "\n".join(
        f"<dt>{label}:</dt><dd>{escape(str(details.get(field, '')))}</dd>"
        for field, label in _DETAILS.items()
    )
    return f'<h4 class="center">Book Details</h4>\n<dl>\n{rows}\n</dl>'


def _rating(rating: dict[str, Any] | None) -> str:
    if rating is None:
        return ""
    if "error" in rating:
        return f"<p><i>{escape(rating['error'])}</i></p>"
    stars = max(0, min(_STARS, int(rating["stars"])))
    full = '<span class="glyphicon glyphicon-star"></span>' * stars
    empty = '<span class="glyphicon glyphicon-star-empty"></span>' * (_STARS - stars)
    return f'<font color="{escape(rating["color"])}">\n{full}{empty}\n</font>'


def _reviews(reviews: dict[str, Any]) -> str:
    if "error" in reviews:
        return _error("reviews", reviews["error"])
    quotes = "\n".join(
        f"<blockquote>\n<p>{escape(review['text'])}</p>\n<small>{escape(review['reviewer'])}</small>\n"
        f"{_rating(review.get('rating'))}\n</blockquote>"
        for review in reviews["reviews"]
    )
    return f'<h4 class="center">Book Reviews</h4>\n{quotes}'


def product_page(user: str, details: dict[str, Any], reviews: dict[str, Any]) -> str:
    """Return the page of the book.

    Args:
        user: Who is signed in; empty for nobody.
        details: The details service's answer, or an object with an ``error``.
        reviews: The reviews service's answer, or an object with an ``error``.
    """
    return _document(
        f'<nav><a href="/productpage">BookInfo Sample</a>{_session(user)}</nav>\n'
        f"<main>\n<h1>{PRODUCT['title']}</h1>\n"
        f'<p class="center">Summary: {PRODUCT["descriptionHtml"]}</p>\n'
        f'<div class="parts">\n<section>\n{_details(details)}\n</section>\n'
        f"<section>\n{_reviews(reviews)}\n</section>\n</div>\n</main>"
    )


def front_page() -> str:
    """Return the page that leads to the book's, as one user or another."""
    return _document(
        '<nav><a href="/">BookInfo Sample</a></nav>\n<main>\n<h1>A bookstore made of services</h1>\n'
        '<p class="center"><a href="/productpage">Go to the book</a></p>\n</main>'
    )
