"""The watchdog: sees the supervisor end, whatever way, and takes away everything that it leaves.

It is the supervisor's parent, and the kernel makes it the parent of every process below whose own parent
ends. So once the supervisor is gone, all that was ever started for the cluster becomes its child, in
whatever process group it may be. An orderly end takes the same way: there the supervisor just exits.
"""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_istio.local.processes import adopt_orphans, children, die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_watched"]


def run_watched(supervise: Callable[[], None], clean_up: Callable[[], None]) -> None:
    """Run `supervise` in a child process; return when nothing is left of it.

    Args:
        supervise: Called in the child; may start any processes and leave them behind.
        clean_up: Called when none of them is left.
    """
    adopt_orphans()
    watchdog = os.getpid()
    supervisor = os.fork()
    if supervisor == 0:
        try:
            _be_supervisor(watchdog, supervise, clean_up)
        except Exception:  # noqa: BLE001  # whatever it is, the child must not go on as if it were the parent
            traceback.print_exc()
        finally:
            os._exit(0)
    # The supervisor alone holds the pipes to the owner, so that their other ends see it end.
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(supervisor, signal.SIGTERM))
    while os.waitpid(-1, 0)[0] != supervisor:
        pass
    signal.signal(signal.SIGTERM, lambda *_: None)
    _kill_descendants()
    clean_up()


def _be_supervisor(watchdog: int, supervise: Callable[[], None], clean_up: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setpgid(0, 0)
    # Should the watchdog be killed, the supervisor ends and does the watchdog's work itself.
    die_with_parent(signal.SIGTERM)
    if os.getppid() == watchdog:
        supervise()
    if os.getppid() != watchdog:
        adopt_orphans()
        _kill_descendants()
        clean_up()


def _kill_descendants() -> None:
    """Kill this process's children until there are none, each time with those of the killed ones."""
    while left := children():
        # All before any is waited for: on a busy machine the end of a big process takes a while.
        for pid in left:
            # The event loop may have waited for it already.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
