"""The sidecar injector's program: serves the webhook; ``probe`` asks whether it does."""

from __future__ import annotations

import sys

from pytest_istio.local.images import arguments, health


def main() -> None:
    """Serve until terminated, or probe a server that does."""
    given = arguments.without_program(sys.argv[1:], "sidecar-injector")
    if given[:1] == ["probe"]:
        health.probe(given[1:])
        return
    from pytest_istio.local.images.sidecar_injector.server import serve  # noqa: PLC0415 - not for each probe

    serve(given)


if __name__ == "__main__":
    main()
