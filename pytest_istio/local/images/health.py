"""The health file of a webhook server: touched while it serves; its age is what the probe looks at."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from pytest_istio.local.images import arguments
from pytest_istio.local.images.environment import inside

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["add_options", "probe"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server that has a health file."""
    parser.add_argument("--healthCheckInterval", type=arguments.seconds, default=1.0)
    parser.add_argument("--healthCheckFile", type=inside)


def probe(given: Sequence[str]) -> None:
    """Exit 0 if the server's last sign of life is recent enough, else 1.

    Args:
        given: The arguments of the subcommand ``probe``.
    """
    parser = argparse.ArgumentParser(prog="probe", allow_abbrev=False)
    parser.add_argument("--probe-path", dest="path", type=inside, required=True)
    parser.add_argument("--interval", type=arguments.seconds, required=True)
    options = arguments.parse(parser, given)
    try:
        age = time.time() - options.path.stat().st_mtime
    except OSError as error:
        sys.exit(f"fail on checking the health file: {error}")
    if age > options.interval:
        sys.exit(f"the health file is {age:.1f} s old, {options.interval:g} s are allowed")
