"""An image to sleep in until somebody executes a command in it."""

from __future__ import annotations

import sys

from pytest_istio.local.images.host_program import execute

if __name__ == "__main__":
    execute(sys.argv[1:] or ["sleep", "infinity"])
