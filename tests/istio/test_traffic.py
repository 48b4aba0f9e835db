"""The size of a sample comes from stated error bounds."""

from __future__ import annotations

import math
import random

import pytest

from pytest_istio.traffic import SplitTest, _masses, why_otherwise

EVEN = {"v1": 0.5, "v3": 0.5}


def counts(share: float, requests: int, random_: random.Random) -> dict[str, int]:
    hits = sum(random_.random() < share for _ in range(requests))
    return {"v1": hits, "v3": requests - hits}


@pytest.mark.parametrize("shares", [EVEN, {"v1": 0.8, "v2": 0.2}, {"v1": 0.9, "v2": 0.1}])
def test_the_number_of_requests_keeps_both_promises(shares: dict[str, float]) -> None:
    test = SplitTest(shares, alpha=1e-6, power=0.99, off_by=0.15)
    count, largest = test.requests, max(shares.values())
    version = max(shares, key=lambda key: shares[key])
    other = next(key for key in shares if key != version)

    def accepted(share: float) -> float:
        masses = _masses(count, share)
        return math.fsum(
            mass for hits, mass in enumerate(masses) if test.accepts({version: hits, other: count - hits})
        )

    assert 1 - accepted(largest) <= 1e-6 + 1e-9
    assert accepted(largest - 0.15) <= 0.01
    if largest + 0.15 <= 1:
        assert accepted(largest + 0.15) <= 0.01
    assert 50 < count < 2000


def test_masses_are_the_binomial_distribution() -> None:
    exact = [math.comb(20, hits) * 0.3**hits * 0.7 ** (20 - hits) for hits in range(21)]
    assert _masses(20, 0.3) == pytest.approx(exact)
    assert math.fsum(_masses(5000, 0.9)) == pytest.approx(1)
    assert _masses(3, 1.0) == [0, 0, 0, 1]


def test_a_right_split_is_accepted_and_a_wrong_one_noticed() -> None:
    test, random_ = SplitTest(EVEN, alpha=1e-6, power=0.99, off_by=0.15), random.Random(7)
    assert all(test.accepts(counts(0.5, test.requests, random_)) for _ in range(200))
    noticed = sum(not test.accepts(counts(0.7, test.requests, random_)) for _ in range(200))
    assert noticed >= 195


def test_the_expectation_names_versions_limits_and_number() -> None:
    test = SplitTest(EVEN, alpha=1e-6, power=0.99, off_by=0.15)
    assert "of v1" in test.expectation
    assert "of v3" in test.expectation
    assert f"in {test.requests} requests" in test.expectation


def test_shares_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be told apart"):
        _ = SplitTest(EVEN, alpha=1e-6, power=0.99, off_by=0.001).requests


@pytest.mark.parametrize(
    ("kind", "where"), [("no reviews", "the gateway and reviews"), ("no ratings", "reviews and ratings")]
)
def test_requests_that_met_no_version_have_another_cause(kind: str, where: str) -> None:
    assert where in why_otherwise({"v1": 9, kind: 1}, "a rule")
    assert why_otherwise({"v1": 9}, "a rule") == "a rule"
