"""Running a container's command with the machine's own programs, where an image has none of its own."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, NoReturn

from pytest_istio.local.images.environment import inside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["execute"]

_NOT_FOUND = 127


def execute(command: Sequence[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """Become the machine's program of the same name.

    Arguments that are paths of files in the container are replaced by where these files really are.

    Args:
        command: A program, by name or by its path in the container, and its arguments.
        environment: Variables besides the container's own.
    """
    name = command[0].rpartition("/")[2]
    program = shutil.which(name)
    if program is None:
        sys.stderr.write(f"{name}: not found; this image is run with the machine's programs\n")
        sys.exit(_NOT_FOUND)
    os.chdir(inside("/"))
    arguments = [_real(argument) for argument in command[1:]]
    os.execve(program, [name, *arguments], {**os.environ, **(environment or {})})  # noqa: S606 - no shell is wanted


def _real(argument: str) -> str:
    found = argument.startswith("/") and os.environ.get("PODROOT") and inside(argument).exists()
    return str(inside(argument)) if found else argument
