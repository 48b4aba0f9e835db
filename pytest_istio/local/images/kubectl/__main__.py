"""kubectl's command line."""

from __future__ import annotations

import argparse
import sys

from pytest_istio.local.images.cluster_api import ApiError
from pytest_istio.local.images.environment import namespace
from pytest_istio.local.images.kubectl.client import Client, UnknownResourceError
from pytest_istio.local.images.kubectl.commands import COMMANDS, UsageError


def main() -> None:
    """Run one command; exit 1 if the server refuses it."""
    parser = argparse.ArgumentParser(prog="kubectl", allow_abbrev=False)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-n", "--namespace", default=namespace())
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument("-o", "--output", default="")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("-f", "--filename", action="append", default=[])
    parser.add_argument("--no-headers", action="store_true")
    parser.add_argument("--ignore-not-found", action="store_true")
    options = parser.parse_intermixed_args()
    try:
        COMMANDS[options.command](Client(), options.words, options)
    except ApiError as error:
        message = str(error).partition(": ")[2]
        sys.exit(f"Error from server ({error.reason}): {message}")
    except (UnknownResourceError, UsageError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
