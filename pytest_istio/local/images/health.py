"""The probe of Istio's webhook servers, which touch a health file while they serve: its age is what counts.

A kubelet runs it every few seconds and gives it one second, so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from pytest_istio.local.images.durations import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["probe"]


def probe(given: Sequence[str]) -> None:
    """Exit 0 if the server's last sign of life is recent enough, else 1.

    Args:
        given: The arguments of the subcommand ``probe``: ``--probe-path=FILE --interval=DURATION``.
    """
    options = dict(argument.partition("=")[::2] for argument in given)
    path, interval = options.get("--probe-path", ""), seconds(options.get("--interval", "0s"))
    try:
        age = time.time() - os.stat(os.environ.get("PODROOT", "") + path).st_mtime  # noqa: PTH116 - see above
    except OSError as error:
        sys.exit(f"fail on checking the health file: {error}")
    if age > interval:
        sys.exit(f"the health file is {age:.1f} s old, {interval:g} s are allowed")
