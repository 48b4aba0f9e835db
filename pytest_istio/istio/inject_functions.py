"""The functions that Istio's injector adds to Go's for its template."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pytest_istio.istio.template_values import json_text, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FUNCTIONS"]

SECONDS = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ns": Decimal("1e-9"),
}
PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")


def _format_duration(duration: str) -> str:
    """Return a duration as Go writes it: ``60s`` is ``1m0s``, ``1500ms`` is ``1.5s``."""
    if not re.fullmatch(rf"(?:{PART.pattern})+", duration):
        raise ValueError(f"expected a duration such as 45s or 1m0s, saw {duration!r}")
    total = sum((Decimal(number) * SECONDS[unit] for number, unit in PART.findall(duration)), Decimal(0))
    if 0 < total < 1:
        unit = next(unit for unit in ("ms", "µs", "ns") if total >= SECONDS[unit] or unit == "ns")
        return f"{_plain(total / SECONDS[unit])}{unit}"
    minutes, seconds = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{_plain(seconds)}s"
    if hours:
        return f"{hours:f}h{minutes:f}m{text}"
    return f"{minutes:f}m{text}" if minutes else text


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _annotation(metadata: Mapping[str, Any], name: str, default: object) -> str:
    """Return an annotation's text, or the default's."""
    return str(metadata["Annotations"].get(name, text_of(default)))


def _exclude_inbound_port(port: object, excluded: str) -> str:
    """Return the list of excluded ports with the status port in it, if there is one."""
    wanted = text_of(port).strip()
    ports = [each.strip() for each in excluded.split(",") if each.strip()]
    if wanted in ("", "0") or wanted in ports:
        return excluded
    return ",".join([*ports, wanted])


def _ports(containers: Sequence[Mapping[str, Any]]) -> str:
    ports = [port for container in containers for port in container.get("ports") or []]
    return ",".join(str(port["containerPort"]) for port in ports)


def _application_ports(containers: Sequence[Mapping[str, Any]]) -> str:
    return _ports([container for container in containers if container["name"] != "istio-proxy"])


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "annotation": _annotation,
    "applicationPorts": _application_ports,
    "excludeInboundPort": _exclude_inbound_port,
    "formatDuration": _format_duration,
    "includeInboundPorts": _ports,
    "isset": lambda mapping, key: key in (mapping or {}),
    "toJson": lambda mapping: json_text(mapping or {}),
}
"""By the names that templates call them; as they behave in Istio 1.0 (``pilot/pkg/kube/inject``)."""
