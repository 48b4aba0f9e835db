"""What the owner of a cluster and its supervisor say to each other.

The owner gives an order as argument and holds the supervisor's stdin: the end of that is the end of the
cluster, unless a line ``detach`` came before. The supervisor answers on stdout, a JSON object a line.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass

__all__ = ["DETACH", "Order", "emit"]

DETACH = "detach"
"""The line after which the cluster outlives its owner."""


@dataclass(frozen=True)
class Order:
    """What is wanted of a cluster.

    Attributes:
        owner: The id of the process that wants it.
        programs: The programs of the control plane, name to path.
        start_timeout: Seconds until the cluster must be ready.
    """

    owner: int
    programs: dict[str, str]
    start_timeout: float

    def to_json(self) -> str:
        """Return the order as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Return the order that `to_json` wrote."""
        return cls(**json.loads(text))


def emit(event: str, **values: object) -> None:
    """Tell the owner: ``progress`` with a text, ``ready`` with the cluster's data, ``error`` with a text."""
    # An owner that is gone needs no answer; that it is gone shows on stdin.
    with suppress(BrokenPipeError):
        print(json.dumps({"event": event, **values}), flush=True)
