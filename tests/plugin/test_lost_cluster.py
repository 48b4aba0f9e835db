"""A cluster that is lost in mid-run ends the run, in whatever test it is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters.local import LocalProvider
from pytest_istio.progress import Silent
from pytest_istio.settings import Settings
from tests.plugin.conftest import REPOSITORY
from tests.plugin.fake_cluster import LOST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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


def test_an_existing_cluster_that_is_lost_is_found_out_in_mid_test(
    pytester: pytest.Pytester, kube_binaries: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    programs = pytester.mkdir("programs")
    for name, path in kube_binaries.items():
        (programs / name).symlink_to(path)
    pytester.makepyfile(
        """
        import time

        def test_it(istio_cluster):
            print("TESTING", flush=True)
            time.sleep(600)
        """
    )
    local = LocalProvider()
    cluster = local.start(Settings(kube_binaries=programs), Silent())
    try:
        (context,) = json.loads(cluster.kubeconfig.read_text())["contexts"]
        name = context["name"]
        command = [
            *(sys.executable, "-m", "pytest", "-s", "--istio-version=1.0.5", "--istio-cluster=existing"),
            *(f"--istio-kubeconfig={cluster.kubeconfig}", f"--istio-context={name}"),
            f"--istio-allow-context={name}",
        ]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert run.stdout
        before = next((line for line in run.stdout if "TESTING" in line), None)
    finally:
        local.stop(cluster, keep=False)
    assert before, f"the run ended before its test: {run.wait()}"
    said, _ = run.communicate(timeout=180)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert said.count("ERROR: ") == 1
    assert "ERROR: The cluster is lost: GET /readyz: no answer from the API server" in said
    assert f"take it away with: pytest-istio cleanup --context {name}" in said
    assert "Traceback" not in said
