"""Galley's program: ``validator`` serves the webhooks, ``probe`` asks whether it does."""

from __future__ import annotations

import sys

from pytest_istio.local.images import health


def main() -> None:
    """Serve until terminated, or probe a server that does."""
    if "probe" in sys.argv[1:3]:
        health.probe(sys.argv[sys.argv.index("probe") + 1 :])
        return
    from pytest_istio.local.images import arguments  # noqa: PLC0415 - not for each probe
    from pytest_istio.local.images.galley.validator import serve  # noqa: PLC0415 - likewise

    given = arguments.without_program(sys.argv[1:], "galley")
    if given[:1] != ["validator"]:
        sys.exit("galley: expected the subcommand validator or probe")
    serve(given[1:])


if __name__ == "__main__":
    main()
