"""How many requests it takes to tell one split of traffic from another, and why it may be another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SplitTest", "why_otherwise"]

FEWEST_REQUESTS, MOST_REQUESTS = 10, 20_000
UNANSWERED = {
    "no reviews": "a fault, or a part of a route that leads elsewhere, between the gateway and reviews",
    "no ratings": "a fault, or a part of a route that leads elsewhere, between reviews and ratings",
}
"""What `pytest_istio.gateway.review_version` tells instead of a version, and what most likely does it."""


def why_otherwise(seen: Mapping[str, int], usual: str) -> str:
    """Return the likely cause of what was seen: the usual one, unless some requests met no version at all.

    Args:
        seen: How often each version of reviews answered.
        usual: The likely cause where versions alone are others than the expected ones.
    """
    return next((cause for kind, cause in UNANSWERED.items() if seen.get(kind)), usual)


@dataclass(frozen=True)
class SplitTest:
    """How many requests tell the right split of traffic from a wrong one, by the exact binomial distribution.

    Attributes:
        shares: The share of each version; together 1.
        alpha: The probability of refusing the right split.
        power: The probability of noticing one in which the largest share is off.
        off_by: How much it is off, in either direction, such as 0.15.
    """

    shares: Mapping[str, float]
    alpha: float
    power: float
    off_by: float

    @property
    def requests(self) -> int:
        """How many requests have to be sent."""
        return self._plan()[0]

    @property
    def expectation(self) -> str:
        """What is expected, in words."""
        count, limits = self._plan()
        parts = [f"{low} to {high} of {version}" for version, (low, high) in limits.items()]
        return f"{', '.join(parts)} in {count} requests, and no other version"

    def accepts(self, seen: Mapping[str, int]) -> bool:
        """Return whether no other version was seen, and the counts of these speak for the right split."""
        _, limits = self._plan()
        return seen.keys() <= limits.keys() and all(
            low <= seen.get(version, 0) <= high for version, (low, high) in limits.items()
        )

    def _plan(self) -> tuple[int, dict[str, tuple[int, int]]]:
        """Return the number of requests, and the fewest and most of each version."""
        largest = max(self.shares.values())
        wrong = tuple(
            share for share in (largest - self.off_by, largest + self.off_by) if 0.0 <= share <= 1.0
        )
        alpha = self.alpha / len(self.shares)
        count = _requests(largest, wrong, alpha, 1 - self.power)
        return count, {version: _limits(count, share, alpha) for version, share in self.shares.items()}


@cache
def _requests(share: float, wrong: tuple[float, ...], alpha: float, missed: float) -> int:
    """Return how many requests it takes to notice each of the wrong shares."""
    count = FEWEST_REQUESTS
    while count <= MOST_REQUESTS:
        low, high = _limits(count, share, alpha)
        if all(sum(_masses(count, each)[low : high + 1]) <= missed for each in wrong):
            return count
        count += max(1, count // 50)
    raise ValueError(f"{share} and {wrong} cannot be told apart by {MOST_REQUESTS} requests")


@cache
def _limits(count: int, share: float, alpha: float) -> tuple[int, int]:
    """Return the fewest and the most hits that are not too unlikely, with half of `alpha` on either side."""
    masses = _masses(count, share)
    return _tail(masses, alpha / 2), count - _tail(masses[::-1], alpha / 2)


def _tail(masses: list[float], bound: float) -> int:
    """Return how many of the first masses together stay within the bound."""
    return sum(total <= bound for total in accumulate(masses))


def _masses(count: int, share: float) -> list[float]:
    """Return the probability of each number of hits."""
    if share in (0.0, 1.0):
        return [float(hits == count * share) for hits in range(count + 1)]
    log_hit, log_miss = math.log(share), math.log1p(-share)
    log_factorial = [math.lgamma(number + 1) for number in range(count + 1)]
    return [
        math.exp(
            log_factorial[count]
            - log_factorial[hits]
            - log_factorial[count - hits]
            + hits * log_hit
            + (count - hits) * log_miss
        )
        for hits in range(count + 1)
    ]
