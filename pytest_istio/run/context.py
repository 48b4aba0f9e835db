"""What the hooks and fixtures of one process know of the run that they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.conformance.selection import Selection
from pytest_istio.run.folder import RunFolder
from pytest_istio.run.live import Live, Terminal
from pytest_istio.run.lock import SharedLock
from pytest_istio.run.workers import Relay, end_with_controller

if TYPE_CHECKING:
    import pytest

    from pytest_istio.run.live import Screen
    from pytest_istio.settings import Settings

__all__ = [
    "CONTROLLER_INPUT", "FOLDER_INPUT", "VERSION_INPUT", "Run", "is_distributing", "is_dry", "worker_name",
]  # fmt: skip

FOLDER_INPUT = "istio_folder"
"""The key under which the controller hands the folder to a worker of pytest-xdist."""
CONTROLLER_INPUT = "istio_controller"
"""The key under which it hands over the id of its own process."""
VERSION_INPUT = "istio_version"
"""The key for the version, which the controller may have read off a cluster."""


@dataclass(frozen=True)
class Run:
    """One process's view of the run.

    Attributes:
        settings: What was asked for.
        folder: What the processes of the run share.
        screen: Where this process shows what it is doing.
        progress: Shows and notes the phases of the set-up.
        selection: What this process has collected; empty in a controller of pytest-xdist.
        mesh_lock: Shared by the checks that look at the mesh, held alone by those that change it.
    """

    settings: Settings
    folder: RunFolder
    screen: Screen
    progress: Live
    mesh_lock: SharedLock
    selection: Selection = field(default_factory=Selection)

    @classmethod
    def join(cls, config: pytest.Config, settings: Settings) -> Run:
        """Make the run's folder in a controller, attach to it in a worker."""
        worker = worker_name(config)
        if worker:
            given = config.workerinput  # type: ignore[attr-defined]  # of xdist
            end_with_controller(given[CONTROLLER_INPUT])
            folder = RunFolder(Path(given[FOLDER_INPUT]))
        else:
            folder = RunFolder.create()
            config.add_cleanup(folder.remove)
        screen = Relay(folder, worker) if worker else Terminal(config)
        return cls(
            settings,
            folder,
            screen,
            Live(screen, folder, worker or "controller"),
            SharedLock(folder.path, "mesh"),
        )


def worker_name(config: pytest.Config) -> str | None:
    """Return the name of this worker of pytest-xdist, None in a controller or without it."""
    return config.workerinput["workerid"] if hasattr(config, "workerinput") else None


def is_distributing(config: pytest.Config) -> bool:
    """Return whether this is a controller of pytest-xdist, whose workers run the tests."""
    return config.pluginmanager.has_plugin("dsession")


def is_dry(config: pytest.Config) -> bool:
    """Return whether pytest only shows what it would do, so that nothing may be started."""
    return bool(config.getoption("collectonly", False) or config.getoption("setupplan", False))
