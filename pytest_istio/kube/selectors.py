"""Label selectors, as objects of the API server have them.

Source: Kubernetes, "Labels and Selectors": all requirements are to be met; NotIn takes what lacks the label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_istio.kube.objects import Object

__all__ = ["demands", "selects"]


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Return whether a selector takes what has these labels; an empty one, or none, takes all."""
    given = selector or {}
    equal = (given.get("matchLabels") or {}).items() <= labels.items()
    return equal and all(_meets(each, labels) for each in given.get("matchExpressions") or [])


def demands(selector: Object | None) -> bool:
    """Return whether a selector demands a label at all."""
    return not selects(selector, {})


def _meets(requirement: Object, labels: Mapping[str, str]) -> bool:
    key, how, values = requirement["key"], requirement["operator"], requirement.get("values") or []
    if how in {"Exists", "DoesNotExist"}:
        return (key in labels) is (how == "Exists")
    return (labels.get(key) in values) is (how == "In")
