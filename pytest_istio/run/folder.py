"""The folder that the processes of one run share: the controller makes it, workers attach by its path."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pytest_istio.errors import PytestIstioError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["RunFolder", "remove_abandoned"]

PREFIX = "pytest-istio-run-"
TRIAL_FILES, TRIAL_BYTES = 32, 2**20
"""More than a run of all checks was seen to write, but for pods' logs on a local cluster."""


@dataclass(frozen=True)
class RunFolder:
    """Named states as JSON files, written at one stroke, and locks."""

    path: Path

    @classmethod
    def create(cls) -> RunFolder:
        """Make a new folder that only this user can enter, and remove those of runs that were killed.

        Raises:
            PytestIstioError: There is no room for it.
        """
        remove_abandoned()
        try:
            _try_out()
            return cls(Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")))
        except OSError as error:
            raise PytestIstioError(
                f"The folder of the run cannot be made: {error}. Free some space there, "
                "or name another folder for temporary files with the variable TMPDIR."
            ) from error

    @property
    def observed(self) -> Path:
        """Where observations are kept that several checks, in whatever process, share."""
        return self.path / "observed"

    def remove(self) -> None:
        """Remove the folder; a worker that still writes into it loses nothing that anybody reads."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, name: str, state: Any) -> None:  # noqa: ANN401 (any JSON value)
        """Write a state, so that a reader sees all of it or nothing."""
        with tempfile.NamedTemporaryFile("w", dir=self.path, suffix=".part", delete=False) as file:
            json.dump(state, file)
        Path(file.name).replace(self.path / f"{name}.json")

    def read(self, name: str) -> Any:  # noqa: ANN401 (any JSON value)
        """Return a state, None when nobody has written it."""
        try:
            return json.loads((self.path / f"{name}.json").read_text())
        except FileNotFoundError:
            return None

    def read_all(self, prefix: str) -> Iterator[Any]:
        """Return the states whose names start with `prefix`, in the order of their names."""
        for file in sorted(self.path.glob(f"{prefix}*.json")):
            yield json.loads(file.read_text())

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """Return a lock that one process of the run holds at a time."""
        return FileLock(self.path / f"{name}.lock")


def _try_out() -> None:
    """Return if there is room for what the processes of a run write: it is to be missed before, not amid."""
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as trial:
        for number in range(TRIAL_FILES):
            (Path(trial) / str(number)).write_bytes(bytes(TRIAL_BYTES // TRIAL_FILES))


def remove_abandoned() -> None:
    """Remove the folders of this user's runs whose process is not there any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not _runs(int(owner)):
            # Another user's cannot be removed, and need not be.
            shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
