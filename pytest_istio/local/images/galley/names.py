"""Checks of single values that several kinds share; each yields what is wrong, in upstream's words."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "cidr",
    "duration",
    "fqdn",
    "header_name",
    "host",
    "is_label",
    "labels",
    "percent",
    "port",
    "subset_name",
]

_LABEL = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
_WILDCARD = re.compile(r"\*|(\*|\*-)?[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
_TAG = re.compile(r"[-A-Za-z0-9_./]*")
_UNITS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}
_LONGEST_LABEL, _LONGEST_NAME, _HIGHEST_PORT, _ALL = 63, 255, 65535, 100


def is_label(text: str) -> bool:
    """Whether a text is a DNS label (RFC 1123)."""
    return len(text) <= _LONGEST_LABEL and _LABEL.fullmatch(text) is not None


def fqdn(name: str) -> Iterator[str]:
    """Check a domain name without wildcards."""
    yield from _domain(name, wildcard=False)


def host(name: str | None) -> Iterator[str]:
    """Check a host: a domain name whose first label may be a wildcard, or an IPv4 address or subnet."""
    name = name or ""
    problems = list(_domain(name, wildcard=True))
    if problems and any(cidr(name)):
        yield from problems


def cidr(text: str) -> Iterator[str]:
    """Check an IPv4 address or subnet."""
    try:
        ipaddress.IPv4Interface(text)
    except ValueError:
        yield f"{text} is not a valid IPv4 address or CIDR"


def port(number: int | None) -> Iterator[str]:
    """Check a TCP port."""
    if not 1 <= (number or 0) <= _HIGHEST_PORT:
        yield f"port number {number or 0} must be in the range 1..65535"


def percent(value: int | None) -> Iterator[str]:
    """Check a percentage; an absent one counts as 0."""
    if not 0 <= (value or 0) <= _ALL:
        yield f"percentage {value} is not in range 0..100"


def labels(given: Mapping[str, Any] | None) -> Iterator[str]:
    """Check the labels of a subset, an endpoint or a workload."""
    for key, value in (given or {}).items():
        if not _TAG.fullmatch(key):
            yield f'invalid tag key: "{key}"'
        if not _TAG.fullmatch(str(value)):
            yield f'invalid tag value: "{value}"'


def duration(text: str | None) -> Iterator[str]:
    """Check a duration: a millisecond or longer, and whole milliseconds; an absent one is fine."""
    if text is None:
        return
    milliseconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d*)?)([a-zµ]+)", text))
    if text.startswith("-") or milliseconds < 1:
        yield "duration must be greater than 1ms"
    elif abs(milliseconds - round(milliseconds)) > 1e-9 * milliseconds:
        yield "only durations to ms precision are supported"


def header_name(name: str) -> Iterator[str]:
    """Check the name of an HTTP header: Envoy compares them in lower case."""
    if not name:
        yield "header name cannot be empty"
    elif name != name.lower():
        yield f'header name "{name}" must be in lower case'


def subset_name(name: str | None) -> Iterator[str]:
    """Check the name of a subset."""
    if not name:
        yield "subset name cannot be empty"
    elif not is_label(name):
        yield f"subset name is invalid: {name}"


def _domain(name: str, *, wildcard: bool) -> Iterator[str]:
    if not name:
        yield "empty domain name not allowed"
        return
    if len(name) > _LONGEST_NAME:
        yield f'domain name "{name}" too long (max 255)'
        return
    for number, label in enumerate(name.split(".")):
        good = _WILDCARD.fullmatch(label) if wildcard and number == 0 else is_label(label)
        if not good:
            yield f'domain name "{name}" invalid (label "{label}" invalid)'
            return
