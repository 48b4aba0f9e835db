"""Durations as Istio's command lines have them."""

from __future__ import annotations

__all__ = ["seconds"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Return a duration such as ``2s`` or ``500ms`` in seconds.

    Raises:
        ValueError: It is no duration; argparse makes that a message for the user.
    """
    for unit, factor in _UNITS.items():
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdecimal():
            return float(number) * factor
    raise ValueError(f"{text!r} is no duration")
