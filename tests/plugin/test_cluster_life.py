"""The cluster of a run: when it is started, and that it always ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import FakeCluster

USES_CLUSTER = """
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_it(istio_cluster, number):
        assert istio_cluster.name == "fake-0"
"""
STARTED_AND_ENDED = ["start", "starting", "stop keep=False", "stopped"]


def test_starts_once_and_ends(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    result = fake_cluster.run()
    result.assert_outcomes(passed=4)
    assert fake_cluster.notes == STARTED_AND_ENDED


def test_workers_share_the_controllers_cluster(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    result = fake_cluster.run_apart("-n2")
    result.assert_outcomes(passed=4)
    assert fake_cluster.notes == STARTED_AND_ENDED


@pytest.mark.parametrize("dry", ["--collect-only", "--setup-plan"])
@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_dry_run_starts_nothing(fake_cluster: FakeCluster, dry: str, workers: tuple[str, ...]) -> None:
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    assert fake_cluster.run_apart(dry, *workers).ret == 0
    assert fake_cluster.notes == []


@pytest.mark.parametrize("arguments", [("-k", "no_such_test"), ("--co", "-q")])
def test_nothing_starts_for_tests_that_do_not_run(
    fake_cluster: FakeCluster, arguments: tuple[str, ...]
) -> None:
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    fake_cluster.run(*arguments)
    assert fake_cluster.notes == []


def test_who_has_no_tests_is_told_of_the_checks(fake_cluster: FakeCluster) -> None:
    result = fake_cluster.run()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["istio: there are no tests here; *, add: /*/suites"])
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    fake_cluster.run("-k", "no_such_test").stdout.no_fnmatch_line("*there are no tests here*")


def test_nothing_starts_when_no_test_needs_it(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile("def test_it(istio_settings): pass")
    fake_cluster.run().assert_outcomes(passed=1)
    assert fake_cluster.notes == []


def test_nothing_starts_when_the_collection_fails(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(USES_CLUSTER, test_broken="import missing")
    assert fake_cluster.run().ret == pytest.ExitCode.INTERRUPTED
    assert fake_cluster.notes == []


def test_asking_too_late_is_explained(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile("def test_it(request): request.getfixturevalue('istio_cluster')")
    result = fake_cluster.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["There is no cluster: it is started when *"])


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_trouble_is_one_message_and_exit_code_4(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_TROUBLE", "No engine answers; start one.")
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    result = fake_cluster.run_apart(*workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert list(filter(None, result.errlines)) == ["ERROR: No engine answers; start one."]
    result.stdout.no_fnmatch_line("*Traceback*")
    assert fake_cluster.notes == ["start", "starting"]


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_unusable_manifests_are_found_out_before_the_cluster_starts(
    fake_cluster: FakeCluster, workers: tuple[str, ...]
) -> None:
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    fake_cluster.pytester.path.joinpath("istio.yaml").write_text("kind: [unfinished")
    result = fake_cluster.run_apart("--istio-manifests=istio.yaml", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *istio.yaml*"])
    assert fake_cluster.notes == []


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_ends_after_a_failure(fake_cluster: FakeCluster, workers: tuple[str, ...]) -> None:
    fake_cluster.pytester.makepyfile("def test_it(istio_cluster): assert False")
    assert fake_cluster.run_apart(*workers).ret == pytest.ExitCode.TESTS_FAILED
    assert fake_cluster.notes == STARTED_AND_ENDED


@pytest.mark.parametrize(
    ("keep", "test", "kept"),
    [
        ("never", "assert False", False),
        ("failed", "assert True", False),
        ("failed", "assert False", True),
        ("always", "assert True", True),
    ],
)
def test_keep(fake_cluster: FakeCluster, keep: str, test: str, kept: bool) -> None:
    fake_cluster.pytester.makepyfile(f"def test_it(istio_cluster): {test}")
    result = fake_cluster.run(f"--istio-keep={keep}")
    assert fake_cluster.notes[2] == f"stop keep={kept}"
    explained = (
        "  export KUBECONFIG=/nowhere/kubeconfig; kubectl get pods --all-namespaces" in result.outlines
    )
    assert explained is kept
    assert ("  pytest-istio cleanup" in result.outlines) is kept


def test_cluster_that_does_not_end_fails_the_run(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_STOP_TROUBLE", "It does not end.")
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    for arguments in ([], ["-q"]):
        result = fake_cluster.run(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stdout.fnmatch_lines(["ERROR: It does not end."])


def test_full_disk_at_the_end_is_one_message(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_STOP_ERROR", "No space left on device")
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    result = fake_cluster.run_apart("--istio-report=report.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *No space left on device; finish it with: pytest-istio cleanup *"])
    result.stderr.no_fnmatch_line("*Traceback*")
    assert fake_cluster.pytester.path.joinpath("report.json").exists()


def test_without_a_terminal_trouble_goes_to_stderr(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    assert fake_cluster.run_apart("-p", "no:terminal").ret == 0
    monkeypatch.setenv("FAKE_CLUSTER_STOP_TROUBLE", "It does not end.")
    result = fake_cluster.run_apart("-p", "no:terminal")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines == ["ERROR: It does not end."]


SLEEPS = """
    import os, time

    def test_it(istio_cluster):
        with open(os.environ["FAKE_CLUSTER_LOG"], "a") as log:
            log.write("testing\\n")
        time.sleep(60)
"""
INTERRUPTED = [*STARTED_AND_ENDED[:2], "testing", *STARTED_AND_ENDED[2:]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_interrupt_ends_the_cluster(
    fake_cluster: FakeCluster, number: signal.Signals, workers: tuple[str, ...]
) -> None:
    fake_cluster.pytester.makepyfile(SLEEPS)
    run = started(fake_cluster, *workers)
    wait_for(fake_cluster, "testing")
    run.send_signal(number)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in out
    assert fake_cluster.notes == INTERRUPTED


def test_impatient_second_interrupt_changes_nothing(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_STOP_SECONDS", "1")
    fake_cluster.pytester.makepyfile(SLEEPS)
    run = started(fake_cluster)
    wait_for(fake_cluster, "testing")
    run.send_signal(signal.SIGINT)
    wait_for(fake_cluster, "stop keep=False")
    run.send_signal(signal.SIGTERM)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert "one more interrupt leaves the rest" in out
    assert "Traceback" not in out
    assert fake_cluster.notes == INTERRUPTED


def test_third_interrupt_gives_up_and_says_what_to_do(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_STOP_SECONDS", "60")
    fake_cluster.pytester.makepyfile(SLEEPS)
    run = started(fake_cluster)
    assert run.stdout
    wait_for(fake_cluster, "testing")
    run.send_signal(signal.SIGINT)
    wait_for(fake_cluster, "stop keep=False")
    run.send_signal(signal.SIGINT)
    while "one more interrupt" not in run.stdout.readline():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert "finish it with: pytest-istio cleanup" in out
    assert "Traceback" not in out


def test_interrupt_at_the_end_is_told_by_the_exit_code_and_the_report(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_STOP_SECONDS", "1")
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    run = started(fake_cluster, "--istio-report=report.json")
    wait_for(fake_cluster, "stop keep=False")
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=30)
    report = json.loads(fake_cluster.pytester.path.joinpath("report.json").read_text())
    assert report["exit_status"] == run.returncode == pytest.ExitCode.INTERRUPTED
    assert "4 passed" in out
    assert fake_cluster.notes == STARTED_AND_ENDED


def test_interrupt_while_starting_is_told_though_clearing_up_fails(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_SECONDS", "60")
    monkeypatch.setenv("FAKE_CLUSTER_INTERRUPTED_TROUBLE", "What was started does not end.")
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    run = started(fake_cluster)
    wait_for(fake_cluster, "starting")
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert "ERROR: What was started does not end." in out
    assert "Traceback" not in out


def test_fixture_that_does_not_end_after_an_interrupt_is_one_message(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import os, signal
        import pytest
        from pytest_istio.errors import ClusterError

        @pytest.fixture
        def made(istio_cluster):
            yield
            raise ClusterError("the namespace is still there")

        @pytest.fixture
        def made_too(istio_cluster):
            yield
            pytest.fail("the routes are still there")

        def test_it(made, made_too): os.kill(os.getpid(), signal.SIGINT)
        """
    )
    result = fake_cluster.run_apart()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    for what in ("namespace is", "routes are"):
        result.stdout.fnmatch_lines([f"ERROR: After the run was broken off, *: the {what} still there"])
    result.stderr.no_fnmatch_line("*Traceback*")
    assert fake_cluster.notes == STARTED_AND_ENDED


def test_interrupt_caught_in_executed_text_is_told_by_the_exit_code(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile("def test_it(istio_cluster): exec('raise KeyboardInterrupt')")
    assert fake_cluster.run_apart().ret == pytest.ExitCode.INTERRUPTED


def test_interrupt_where_python_notes_no_line_is_told_by_the_exit_code(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import os, signal, threading

        def test_it(istio_cluster):
            numbers = set()
            threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
            while True:
                for number in range(1000):
                    if number in numbers:
                        numbers.add(number)
        """
    )
    result = fake_cluster.run_apart()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stderr.no_fnmatch_line("*Traceback*")
    assert fake_cluster.notes == STARTED_AND_ENDED


@pytest.mark.parametrize("instead", ["pass", "raise ValueError"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_interrupt_that_gets_lost_on_its_way_ends_the_run_all_the_same(
    fake_cluster: FakeCluster, number: str, instead: str
) -> None:
    fake_cluster.pytester.makepyfile(f"""
        import os, signal

        def test_it(istio_cluster):
            try:
                os.kill(os.getpid(), signal.{number})
            except KeyboardInterrupt:
                {instead}

        def test_next(istio_cluster):
            assert False, "run although the run was to end"
    """)
    result = fake_cluster.run_apart("-p", "no:randomly")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(passed=instead == "pass", failed=instead != "pass")
    assert fake_cluster.notes == STARTED_AND_ENDED


def test_terminated_while_collecting_leaves_no_folder(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = fake_cluster.pytester.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    fake_cluster.pytester.makepyfile("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert fake_cluster.run_apart().ret == pytest.ExitCode.INTERRUPTED
    assert list(temporary.glob("pytest-istio-*")) == []


def test_folder_of_a_killed_run_is_removed_by_the_next(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = fake_cluster.pytester.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    fake_cluster.pytester.makepyfile(
        test_killed="import os, signal\ndef test_it(istio_cluster): os.kill(os.getpid(), signal.SIGKILL)",
        test_next="def test_it(istio_cluster): pass",
    )
    assert fake_cluster.run_apart("test_killed.py").ret == -signal.SIGKILL
    assert len(list(temporary.glob("pytest-istio-*"))) == 1
    fake_cluster.run_apart("test_next.py").assert_outcomes(passed=1)
    assert list(temporary.glob("pytest-istio-*")) == []


def test_run_folder_is_gone_afterwards(fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = fake_cluster.pytester.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    fake_cluster.pytester.makepyfile(USES_CLUSTER)
    fake_cluster.run_apart("-n2")
    assert list(temporary.glob("pytest-istio-*")) == []


def started(fake_cluster: FakeCluster, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", *fake_cluster.arguments(*arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(fake_cluster: FakeCluster, note: str) -> None:
    until = time.monotonic() + 30
    while note not in fake_cluster.notes:
        assert time.monotonic() < until, f"never came to {note!r}"
        time.sleep(0.05)
