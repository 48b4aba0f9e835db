"""``python -m pytest_istio.local ORDER``: one cluster, for as long as its owner wants it.

Started by `pytest_istio.clusters.local`; see `pytest_istio.local.protocol` for what goes in and out.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.local.instances import allocate, make_folder
from pytest_istio.local.processes import started_at
from pytest_istio.local.protocol import Order, emit
from pytest_istio.local.records import Record
from pytest_istio.local.watchdog import run_watched

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.local.addresses import Plan


def main() -> None:
    """Run the cluster, and leave nothing of it behind."""
    order = Order.from_json(sys.argv[1])
    # Handlers and not SIG_IGN, which the programs of containers would inherit.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with allocate() as plan:
            _run(order, plan)
    except ClusterError as error:
        emit("error", text=str(error))
    except OSError as error:
        emit("error", text=f"The embedded Kubernetes cannot write its files: {error}.")


def _run(order: Order, plan: Plan) -> None:
    folder = make_folder()
    me, owner = os.getpid(), order.owner
    record = Record(folder.name, str(folder), me, started_at(me) or 0, owner, started_at(owner) or 0)

    def clean_up() -> None:
        shutil.rmtree(folder)
        record.remove()
        # Where the run was killed, its own folder is left as well.
        from pytest_istio.run.folder import remove_abandoned  # noqa: PLC0415 (the watchdog stays small)

        remove_abandoned()

    try:
        record.write()
    except OSError:
        clean_up()
        raise
    run_watched(lambda: _supervise(order, plan, folder), clean_up)


def _supervise(order: Order, plan: Plan, folder: Path) -> None:
    # Imported here so that the watchdog stays small.
    from pytest_istio.local.supervisor import supervise  # noqa: PLC0415

    supervise(order, plan, folder)


if __name__ == "__main__":
    main()
