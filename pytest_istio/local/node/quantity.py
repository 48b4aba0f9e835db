"""Kubernetes' notation of amounts: ``500m``, ``2Gi``, ``1e3``."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["parse_quantity"]

_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}


def parse_quantity(text: str | int) -> Fraction:
    """Return the amount, in the unit that the quantity is of.

    Raises:
        ValueError: It is no quantity; the API server lets none of these pass.
    """
    number = str(text)
    for suffix, factor in _SUFFIXES.items():
        if number.endswith(suffix):
            return Fraction(number.removesuffix(suffix)) * factor
    return Fraction(number)
