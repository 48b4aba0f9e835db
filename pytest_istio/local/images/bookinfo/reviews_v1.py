"""The reviews service, version 1: no stars."""

from __future__ import annotations

from pytest_istio.local.images.bookinfo.reviews import V1, answer_as
from pytest_istio.local.images.bookinfo.service import run

if __name__ == "__main__":
    run("reviews v1", answer_as(V1))
