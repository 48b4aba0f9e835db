"""The command ``pytest-istio``: chores that need no run of tests."""

from __future__ import annotations

import argparse
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

FAILED = 1
WRONG = 2

T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those of the command line; None for the process's own.

    Returns:
        The exit code: 0, 1 when the command failed, 2 when it was called in a wrong way.
    """
    parser = _Parser(prog="pytest-istio", description="Chores around the conformance checks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    listing = commands.add_parser("list", help="print the checks, and what stands in for Istio on 'local'")
    listing.set_defaults(run=_list)
    images = commands.add_parser("images", help="print the images of a run, for a registry of one's own")
    images.add_argument("version", metavar="X.Y.Z", help="the release of Istio")
    images.add_argument("--manifests", metavar="PATH", help="rendered YAML instead of the bundled set")
    images.add_argument(
        "--addon", metavar="NAME", action="append", default=[], help="what is added to that set"
    )
    images.add_argument(
        "--image-registry", metavar="PREFIX=PLACE", action="append", default=[], help="a mirror, as for a run"
    )
    images.set_defaults(run=_images)
    cleanup = commands.add_parser("cleanup", help="end the clusters that earlier runs have kept or lost")
    cleanup.add_argument(
        "--context", metavar="NAME", help="clean up the existing cluster of this context instead"
    )
    cleanup.add_argument("--kubeconfig", metavar="FILE", type=Path, help="where the context is")
    cleanup.set_defaults(run=_cleanup)
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        chosen.run(chosen)
        # What cannot be written is to be told, not left to Python's end; somebody may have closed it.
        if sys.stdout:
            sys.stdout.flush()
    except PytestIstioError as error:
        return _failed(str(error))
    except OSError as error:
        _drop_output()
        # Who reads may have seen enough, such as `head`; a full disk, wherever it shows, is another matter.
        return 0 if isinstance(error, BrokenPipeError) else _failed(str(error))
    return 0


def _drop_output() -> None:
    """Have nothing of the output tried again when Python ends."""
    # The output need not be a file.
    with suppress(AttributeError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str) -> int:
    print(f"pytest-istio: {one_line(message)}", file=sys.stderr)
    return FAILED


def _list(_chosen: argparse.Namespace) -> None:
    from pytest_istio.conformance.listing import listing
    from pytest_istio.local.images import PROGRAMS

    stand_ins = sorted({program.name for program in PROGRAMS.values() if program.stand_in})
    said = "On a local cluster these programs are stand-ins, written for this project:"
    print("\n".join([*listing(), "", said, f"  {', '.join(stand_ins)}"]))


def _images(chosen: argparse.Namespace) -> None:
    from pytest_istio.istio.images import images
    from pytest_istio.istio.sources import manifests
    from pytest_istio.settings import Settings
    from pytest_istio.values import to_existing, to_registry

    own = chosen.manifests
    asked = Settings(
        istio_version=chosen.version,
        manifests=None if own is None else _converted("--manifests", to_existing, own),
        addons=tuple(chosen.addon),
        image_registries=tuple(
            _converted("--image-registry", to_registry, each) for each in chosen.image_registry
        ),
    )
    print("\n".join(images(asked)))
    for warning in manifests(asked).warnings:
        print(f"note: {warning}", file=sys.stderr)


def _converted(flag: str, convert: Callable[[str, Path], T], given: str) -> T:
    try:
        return convert(given, Path())
    except ValueError as error:
        raise PytestIstioError(f"{flag}: {given!r} {error}") from None


def _cleanup(chosen: argparse.Namespace) -> None:
    from pytest_istio.clusters import existing, kind, local
    from pytest_istio.run.folder import remove_abandoned
    from pytest_istio.settings import Settings

    if chosen.context == "":
        raise PytestIstioError("cleanup: --context: '' is no name; nothing was touched")
    if chosen.kubeconfig and not chosen.context:
        raise PytestIstioError(
            "cleanup: --kubeconfig needs --context NAME, so that no other cluster is touched"
        )
    remove_abandoned()
    if chosen.context:
        ended = existing.cleanup(Settings(context=chosen.context, kubeconfig=chosen.kubeconfig))
    else:
        ended = [*local.cleanup(), *kind.cleanup()]
    print(f"ended: {', '.join(ended)}" if ended else "there was nothing to end")


if __name__ == "__main__":
    sys.exit(main())
