"""The sidecar injector's program: serves the webhook; ``probe`` asks whether it does."""

from __future__ import annotations

import sys

from pytest_istio.local.images import health


def main() -> None:
    """Serve until terminated, or probe a server that does."""
    if "probe" in sys.argv[1:3]:
        health.probe(sys.argv[sys.argv.index("probe") + 1 :])
        return
    from pytest_istio.local.images import arguments  # noqa: PLC0415 - not for each probe
    from pytest_istio.local.images.sidecar_injector.server import serve  # noqa: PLC0415 - likewise

    serve(arguments.without_program(sys.argv[1:], "sidecar-injector"))


if __name__ == "__main__":
    main()
