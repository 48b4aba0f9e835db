"""What a supervisor of an embedded cluster says is told from what others print in its process."""

from __future__ import annotations

import subprocess
import sys

from pytest_istio.clusters.local import _events


def test_only_what_the_supervisor_says_is_heard() -> None:
    lines = ["hello", "1", "[]", "{}", "[" * 100_000, '{"event": "ready"}', ""]
    said = [sys.executable, "-c", f"print('\\n'.join({lines}))"]
    with subprocess.Popen(said, stdout=subprocess.PIPE, text=True) as process:
        assert list(_events(process)) == [{"event": "ready"}]
