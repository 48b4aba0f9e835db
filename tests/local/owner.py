"""A run that owns a cluster: ``python -m tests.local.owner``, to be ended in all the ways that runs end.

Prints the phases it comes to and what it knows of its cluster, a JSON line each; then does nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.clusters import provider
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


class Loud:
    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield

    def waiting(self, what: str) -> None:
        print(json.dumps({"waiting": what}), flush=True)


def main(how: str) -> None:
    folder = os.environ.get("PYTEST_ISTIO_KUBE_BINARIES")
    local = provider("local")
    cluster = local.start(Settings(kube_binaries=Path(folder) if folder else None), Loud())
    try:
        print(json.dumps(cluster.to_state()), flush=True)
        if how == "hold":
            time.sleep(600)
    finally:
        local.stop(cluster, keep=how == "keep")


if __name__ == "__main__":
    main(sys.argv[1])
