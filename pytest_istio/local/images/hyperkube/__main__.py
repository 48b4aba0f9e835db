"""Runs a job's command with the machine's shell."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_istio.local.images.host_program import execute

if __name__ == "__main__":
    # Bash reads the file of this variable before any script.
    execute(sys.argv[1:], {"BASH_ENV": str(Path(__file__).with_name("kubectl.bash"))})
