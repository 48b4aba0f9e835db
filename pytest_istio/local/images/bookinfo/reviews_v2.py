"""The reviews service, version 2: black stars."""

from __future__ import annotations

from pytest_istio.local.images.bookinfo.reviews import V2, answer_as
from pytest_istio.local.images.bookinfo.service import run

if __name__ == "__main__":
    run("reviews v2", answer_as(V2))
