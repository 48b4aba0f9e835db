"""The private folder of a kind cluster: its kubeconfig and kind's files, and the record that it exists.

It is made before the cluster and removed after it, so that what a killed run has left is found. The run
holds a lock in it, which the kernel lets go of however the run ends.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pytest_istio.clusters.base import Cluster
from pytest_istio.clusters.engine import PROGRAMS, kind_environment
from pytest_istio.errors import ClusterError
from pytest_istio.paths import user_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.clusters.engine import Engine

__all__ = ["KindFolder", "folders", "state_folder"]

_OWNER = "owner"
_KEPT = "kept"
_FINGERPRINT = "fingerprint"
# kind deletes the nodes of a cluster that it could not create, and with them the reason, unless it is told
# not to; KindCluster passes no such option on.
_PROGRAM = """#!/bin/sh
case "$1 $2" in
"create cluster") exec {program} "$@" --retain ;;
*) exec {program} "$@" ;;
esac
"""


class KindFolder:
    """The folder of one cluster.

    Attributes:
        path: The folder.
        lock: Held by the run that uses the cluster.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FileLock(path / "run.lock")

    @classmethod
    def create(cls, name: str, program: Path, engine: Engine) -> KindFolder:
        """Make the folder of a new cluster, and hold its lock.

        Args:
            name: The cluster's name.
            program: kind's program.
            engine: The container engine that kind is to use.
        """
        folder = cls(state_folder() / "kind" / name)
        # A folder without an owner is what a run has left that was killed right here.
        recorded = (folder.path / f"{_OWNER}.json").exists()
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=not recorded)
        folder.lock.acquire(timeout=0)
        folder.wrap(program)
        # Last, for only then others take it for the record of a cluster.
        folder.write(_OWNER, {"pid": os.getpid(), "engine": engine.program, "place": engine.place})
        return folder

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.path.name

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that kind writes."""
        return self.path / "kubeconfig"

    @property
    def program(self) -> Path:
        """What to call as kind."""
        return self.path / "kind"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which kind uses the engine that has the cluster."""
        return kind_environment(self.engine)

    @property
    def engine(self) -> str:
        """The program of the engine that has the cluster."""
        engine = self.read(_OWNER).get("engine")
        if engine not in PROGRAMS:
            raise self._no_record(_OWNER, f"engine is {engine!r}")
        return str(engine)

    @property
    def place(self) -> str | None:
        """What tells the engine that has the cluster from others; None in records of earlier versions."""
        place: str | None = self.read(_OWNER).get("place")
        return place

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decided how the cluster and the Istio on it were made."""
        return self.read(_FINGERPRINT)

    @fingerprint.setter
    def fingerprint(self, value: dict[str, Any]) -> None:
        self.write(_FINGERPRINT, value)

    @property
    def in_use(self) -> bool:
        """Whether a run that goes on uses the cluster."""
        try:
            with self.lock.acquire(timeout=0):
                return False
        except FileNotFoundError:
            # Another run has deleted the cluster meanwhile.
            return False
        except Timeout:
            return True

    @property
    def kept(self) -> bool:
        """Whether the cluster was told to outlive its run."""
        return (self.path / f"{_KEPT}.json").exists()

    def keep(self, cluster: Cluster) -> None:
        """Note that the cluster outlives the run, and let go of it."""
        self.write(_KEPT, cluster.to_state())
        self.lock.release()

    def hold(self) -> bool:
        """Hold the lock; not if another run has it, or has deleted the cluster meanwhile.

        Returns:
            Whether it is held: what the folder tells remains so until the lock is let go of.
        """
        try:
            self.lock.acquire(timeout=0)
        except (Timeout, OSError):
            return False
        if not (self.path / f"{_OWNER}.json").exists():
            self.lock.release()
            return False
        return True

    def claim(self) -> Cluster | None:
        """Hold the lock of a kept cluster and return it as it was kept; None if another run uses it.

        Raises:
            ClusterError: Somebody else has written its record.
        """
        if not self.hold():
            return None
        # Who used it may have taken it away meanwhile.
        if not self.kept:
            self.lock.release()
            return None
        try:
            return Cluster.from_state(self.read(_KEPT))
        except (LookupError, TypeError) as error:
            raise self._no_record(_KEPT, f"{type(error).__name__} {error}") from error

    def take(self) -> None:
        """Have a claimed cluster go with this run, unless it is kept again."""
        (self.path / f"{_KEPT}.json").unlink()

    def write(self, name: str, state: dict[str, Any]) -> None:
        """Write a file of JSON values, so that a reader sees all of it or nothing."""
        draft = self.path / f"{name}.draft"
        draft.write_text(json.dumps(state), encoding="utf-8")
        draft.replace(self.path / f"{name}.json")

    def read(self, name: str) -> dict[str, Any]:
        """Return what `write` wrote.

        Raises:
            ClusterError: Somebody else has written there since.
        """
        file = self.path / f"{name}.json"
        # Reading a pipe might never end.
        if file.is_fifo():
            raise self._no_record(name, "it is a pipe")
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise self._no_record(name, str(error)) from error
        if not isinstance(state, dict):
            raise self._no_record(name, "it holds no JSON object")
        return state

    def _no_record(self, name: str, why: str) -> ClusterError:
        return ClusterError(
            f"{self.path / name}.json is no record of a cluster of kind: {why}. Delete cluster {self.name} "
            f"with kind, then remove {self.path}."
        )

    def wrap(self, program: Path) -> None:
        """Have `program` call this one of kind's."""
        self.program.write_text(_PROGRAM.format(program=shlex.quote(str(program))), encoding="utf-8")
        self.program.chmod(stat.S_IRWXU)

    def run_kind(self, *words: str, timeout: float) -> None:
        """Have kind do what KindCluster cannot.

        Raises:
            ClusterError: It fails to, or was not done in time.
        """
        shown = f"kind {' '.join(words[:2])}"
        try:
            done = subprocess.run(
                [self.program, *words], env=self.environment, capture_output=True,
                text=True, errors="replace", timeout=timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{shown}: not done after {timeout:.0f} s for cluster {self.name}") from error
        if done.returncode != 0:
            raise ClusterError(f"{shown}: failed for cluster {self.name}: {done.stderr.strip()}")

    def remove(self) -> None:
        """Remove the folder, after the cluster, and let go of the lock."""
        # Out of the way at once: others see all of it or nothing, and one of the same name is no part of it.
        with tempfile.TemporaryDirectory(
            dir=state_folder(), prefix="removed-", ignore_cleanup_errors=True
        ) as removed:
            self.path.rename(Path(removed) / self.name)
        self.lock.release()


def folders() -> Iterator[KindFolder]:
    """Return the folders of all clusters of this user.

    Raises:
        OSError: They cannot be looked at.
    """
    try:
        # Not glob, to which a folder that may not be read is an empty one.
        paths = sorted((state_folder() / "kind").iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        if (path / f"{_OWNER}.json").exists():
            yield KindFolder(path)


def state_folder() -> Path:
    """Return where this user's clusters are recorded."""
    return user_folder("XDG_STATE_HOME", ".local/state")
