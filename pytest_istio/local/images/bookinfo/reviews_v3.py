"""The reviews service, version 3: red stars."""

from __future__ import annotations

from pytest_istio.local.images.bookinfo.reviews import V3, answer_as
from pytest_istio.local.images.bookinfo.service import run

if __name__ == "__main__":
    run("reviews v3", answer_as(V3))
