"""What is known of the embedded clusters of this user: one small file each, while they exist."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from pytest_istio.errors import ClusterError
from pytest_istio.local.instances import PREFIX
from pytest_istio.local.processes import started_at
from pytest_istio.paths import user_folder

__all__ = ["Record", "find", "records"]


@dataclass(frozen=True)
class Record:
    """A cluster that exists, or one whose end was so violent that its folder may have been left.

    Attributes:
        name: The cluster's name.
        folder: Its temporary folder.
        pid: The process that takes everything away when it is told to end.
        started: That process's start, by which it is told from a later one with the same id.
        owner: The process that started the cluster.
        owner_started: That process's start.
        kept: Whether the cluster was told to outlive its owner.
    """

    name: str
    folder: str
    pid: int
    started: int
    owner: int
    owner_started: int
    kept: bool = False

    @property
    def running(self) -> bool:
        """Whether the cluster's processes are there."""
        return started_at(self.pid) == self.started

    @property
    def in_use(self) -> bool:
        """Whether a test run that still goes on owns the cluster."""
        return self.running and not self.kept and started_at(self.owner) == self.owner_started

    @property
    def path(self) -> Path:
        """The record's file."""
        return _folder() / f"{self.name}.json"

    def write(self) -> None:
        """Write the file, or replace it as a whole."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)), encoding="utf-8")
        new.replace(self.path)

    def keep(self) -> None:
        """Note that the cluster outlives its owner."""
        replace(self, kept=True).write()

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def records() -> list[Record]:
    """Return all records of this user, by name.

    Raises:
        ClusterError: A file there is none, or one of another version of this program.
        OSError: They cannot be looked at.
    """
    try:
        # Not glob, to which a folder that may not be read is an empty one.
        paths = sorted(path for path in _folder().iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []
    return [found for path in paths if (found := _read(path))]


def find(name: str) -> Record | None:
    """Return the record of a cluster; None if there is none."""
    return _read(_folder() / f"{name}.json")


def _read(path: Path) -> Record | None:
    try:
        return _checked(path)
    except FileNotFoundError:
        # A cluster that ends meanwhile takes its record with it.
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise ClusterError(
            f"{path} is no record of a cluster of this version of pytest-istio: {error}. If no cluster of "
            "that name runs any more, remove the file."
        ) from error


def _checked(path: Path) -> Record:
    # Reading a pipe might never end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    record = Record(**json.loads(path.read_text(encoding="utf-8")))
    for field in fields(Record):
        # The annotations are text.
        if type(getattr(record, field.name)).__name__ != field.type:
            raise TypeError(f"{field.name} is not of type {field.type}")
    if record.name != path.stem:
        raise ValueError(f"its name is {record.name!r}")
    # What it names is removed as a whole.
    folder = Path(record.folder)
    if not folder.is_absolute() or not folder.name.startswith(PREFIX):
        raise ValueError(f"{record.folder!r} is no folder of a cluster")
    return record


def _folder() -> Path:
    return user_folder("XDG_STATE_HOME", ".local/state") / "clusters"
