"""What an unrelated test run pays for the plugin: nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "cryptography", "filelock", "httpx", "kubernetes", "requests", "tenacity", "yaml")


@pytest.mark.parametrize("arguments", [("--help",), ()])
def test_nothing_heavy_is_imported(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    pytester.makepyfile("def test_it(): pass")
    # Where others are installed, what they import is not this plugin's doing.
    others = ("randomly", "hypothesispytest", "anyio", "pytest-kind")
    given = [*(word for name in others for word in ("-p", f"no:{name}")), *arguments]
    script = (
        "import pytest, sys\n"
        f"pytest.main({given!r})\n"
        f"print('HEAVY', sorted(name for name in {HEAVY!r} if name in sys.modules))\n"
        "print('ROOMS', sorted(name for name in sys.modules if name.startswith('pytest_istio.')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "HEAVY []\n" in done.stdout
    (rooms,) = (line for line in done.stdout.splitlines() if line.startswith("ROOMS"))
    for room in ("kube", "istio", "clusters", "local", "report", "run"):
        assert f"'pytest_istio.{room}" not in rooms
