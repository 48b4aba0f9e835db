"""Galley's program: ``validator`` serves the webhooks, ``probe`` asks whether it does."""

from __future__ import annotations

import sys

from pytest_istio.local.images import arguments, health


def main() -> None:
    """Serve until terminated, or probe a server that does."""
    command, *given = arguments.without_program(sys.argv[1:], "galley") or [""]
    if command == "probe":
        health.probe(given)
    elif command == "validator":
        from pytest_istio.local.images.galley.validator import serve  # noqa: PLC0415 - not for each probe

        serve(given)
    else:
        sys.exit("galley: expected the subcommand validator or probe")


if __name__ == "__main__":
    main()
