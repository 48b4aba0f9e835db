"""A changed VirtualService until the gateway routes by it: configuration to its effect."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.cluster import installed
from benchmarks.table import show

if TYPE_CHECKING:
    from pytest_istio.gateway import Gateway
    from pytest_istio.kube.client import Kube

CHANGES = 40
PAUSE = 0.5
"""Seconds between two changes, so that each is on its own."""


def main() -> None:
    with installed() as (bookinfo, gateway):
        _change(bookinfo.kube, gateway, 0)
        times = [_change(bookinfo.kube, gateway, number) for number in range(1, CHANGES + 1)]
    deciles = statistics.quantiles(times, n=10)
    show(
        f"{CHANGES} changes of a VirtualService, milliseconds from the API server's answer to the effect",
        ["median", "9 of 10 within", "most"],
        [[1000 * statistics.median(times), 1000 * deciles[-1], 1000 * max(times)]],
    )


def _change(kube: Kube, gateway: Gateway, number: int) -> float:
    """Have one path of bookinfo redirected to a place not used before, and wait until it is."""
    place = f"/place-{number}"
    route = {"match": [{"uri": {"exact": "/elsewhere"}}], "redirect": {"uri": place}}
    found = kube.get("networking.istio.io/v1alpha3", "VirtualService", "bookinfo", "default")
    routes = [each for each in found["spec"]["http"] if "redirect" not in each]
    kube.replace({**found, "spec": {**found["spec"], "http": [route, *routes]}})
    began = time.monotonic()
    while not gateway.get("/elsewhere").headers.get("location", "").endswith(place):
        pass
    took = time.monotonic() - began
    time.sleep(PAUSE)
    return took


if __name__ == "__main__":
    main()
