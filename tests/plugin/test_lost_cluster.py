"""A cluster that is lost in mid-run ends the run, in whatever test it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.fake_cluster import LOST

if TYPE_CHECKING:
    from tests.plugin.conftest import FakeCluster

WAITS = f"""
    import os, time
    from pathlib import Path
    import pytest

    @pytest.mark.parametrize("number", range(6))
    def test_it(istio_cluster, number):
        Path(os.environ["FAKE_CLUSTER_LOG"]).with_name("{LOST}").touch()
        time.sleep(600)
"""


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_the_run_ends_with_one_message(fake_cluster: FakeCluster, workers: tuple[str, ...]) -> None:
    fake_cluster.pytester.makepyfile(WAITS)
    result = fake_cluster.pytester.runpytest_subprocess(*fake_cluster.arguments(*workers), timeout=120)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.outlines.count("ERROR: The fake is gone.") == 1
    result.stdout.fnmatch_lines(["!*the cluster is lost*!"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert fake_cluster.notes[2:] == ["stop keep=False", "stopped"]


def test_the_next_test_does_not_run_where_a_test_swallowed_the_end(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(WAITS.replace("time.sleep(600)", "swallowing()"), swallows="")
    fake_cluster.pytester.makeconftest(
        """
        import builtins, time

        def swallowing():
            try:
                time.sleep(600)
            except Exception:
                pass

        builtins.swallowing = swallowing
        """
    )
    result = fake_cluster.pytester.runpytest_subprocess(*fake_cluster.arguments(), timeout=120)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    assert result.outlines.count("ERROR: The fake is gone.") == 1
