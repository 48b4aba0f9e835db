"""Passed, failed, blocked and skipped are kept apart, in what is shown and in the exit code."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from tests.plugin.conftest import BROKEN_MESH, FakeCluster

CHECKS = """
    import pytest

    @pytest.mark.istio("PRE-001")
    def test_passes(istio_cluster): pass

    @pytest.mark.istio("CP-001")
    @pytest.mark.parametrize("component", ["istio-pilot", "istio-galley"])
    def test_available(mesh, component):
        assert not mesh.problems(f"CP-001[{component}]")

    @pytest.mark.istio("BKI-005", requires=["CP-001[istio-galley]", "CP-001[istio-pilot]"])
    def test_blocked(gateway): pass

    @pytest.fixture
    def gateway(mesh):
        raise RuntimeError("made before the prerequisite was looked at")

    @pytest.mark.istio("PRE-009", capabilities=["iptables", "containers"])
    def test_incapable(istio_cluster): pass
"""
OUTCOMES = {
    "PRE-001": "passed",
    "CP-001[istio-pilot]": "failed",
    "CP-001[istio-galley]": "passed",
    "BKI-005": "blocked",
    "PRE-009": "skipped",
}
BLOCKED_BY = "CP-001[istio-pilot]: Deployment istio-pilot; seen: 0 of 1 available"


@pytest.fixture
def files(fake_cluster: FakeCluster) -> FakeCluster:
    fake_cluster.pytester.makeconftest(BROKEN_MESH)
    fake_cluster.pytester.makepyfile(CHECKS)
    return fake_cluster


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_each_in_its_category(files: FakeCluster, workers: tuple[str, ...]) -> None:
    result = files.run_apart("--istio-report=report.json", "--junitxml=junit.xml", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    # pytest-xdist mixes the order of reports.
    result.stdout.re_match_lines_random(
        [
            r"all\s+2\s+1\s+1\s+1\s+0",
            rf"blocked: BKI-005: by {BLOCKED_BY}".replace("[", r"\[").replace("]", r"\]"),
            r"skipped: PRE-009: a fake cluster has no iptables",
            r"=.* 1 failed, 2 passed, 1 skipped, 1 blocked in .*=",
        ]
    )
    report = json.loads((files.pytester.path / "report.json").read_text())
    assert {check["id"]: check["outcome"] for check in report["checks"]} == OUTCOMES
    assert report["exit_status"] == 1

    junit = ET.parse(files.pytester.path / "junit.xml")
    properties = [
        {each.get("name"): each.get("value") for each in case.iter("property")}
        for case in junit.iter("testcase")
    ]
    assert {each["istio_check"]: each["istio_outcome"] for each in properties} == OUTCOMES


def test_blocked_alone_fails_the_run(files: FakeCluster) -> None:
    result = files.run("-k", "blocked")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*1 blocked*"])


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_errors_of_this_program_are_told_without_the_way_through_it(
    fake_cluster: FakeCluster, workers: tuple[str, ...]
) -> None:
    fake_cluster.pytester.makepyfile(
        test_it="""
        import pytest
        from pytest_istio.errors import ClusterError
        from pytest_istio.kube.errors import KubeError

        @pytest.mark.istio("PRE-001")
        def test_check(istio_cluster):
            try:
                raise ValueError("inside")
            except ValueError as error:
                raise KubeError("PUT /x: 503") from error

        def test_of_a_user(istio_cluster): raise ClusterError("two\\nlines")

        @pytest.fixture
        def broken():
            yield
            raise ClusterError("at the end")

        @pytest.mark.istio("PRE-004")
        def test_ends_badly(istio_cluster, broken): pass
        """
    )
    result = fake_cluster.run_apart("--istio-report=report.json", "--junitxml=junit.xml", *workers)
    result.assert_outcomes(failed=2, passed=1, errors=1)
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*test_it.py:[0-9]*")
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_check - PUT /x: 503"])
    cases = ET.parse(fake_cluster.pytester.path / "junit.xml").iter("testcase")
    told = [part.text for case in cases for part in case if part.tag in ("failure", "error")]
    assert sorted(filter(None, told)) == ["PUT /x: 503", "at the end", "two\nlines"]
    report = json.loads((fake_cluster.pytester.path / "report.json").read_text())
    assert {each["id"]: (each["outcome"], each["message"]) for each in report["checks"]} == {
        "PRE-001": ("failed", "PUT /x: 503"),
        "PRE-004": ("failed", "at the end"),
    }


@pytest.mark.parametrize("id_", ["BKI-001", "BKI-004"])
def test_where_bookinfo_cannot_be_applied_one_check_fails_and_says_so(
    fake_cluster: FakeCluster, id_: str
) -> None:
    fake_cluster.pytester.makeconftest(BROKEN_MESH)
    fake_cluster.pytester.makepyfile(
        test_it=f"""
        import pytest

        @pytest.fixture(scope="session")
        def bookinfo(mesh):
            pytest.fail("the template is broken", pytrace=False)

        @pytest.mark.istio("{id_}")
        def test_it(mesh, bookinfo): pass
        """
    )
    result = fake_cluster.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    if id_ == "BKI-001":
        result.stdout.fnmatch_lines(["*ERROR*test_it - Failed: the template is broken*"])
    else:
        result.stdout.fnmatch_lines(["blocked: BKI-004: by BKI-001: the template is broken"])


def test_an_expected_failure_is_told_with_its_reason(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import pytest

        @pytest.mark.istio("PRE-001")
        @pytest.mark.xfail(reason="known since May")
        def test_fails(istio_cluster): assert False
        """
    )
    fake_cluster.run_apart("--istio-report=report.json")
    (check,) = json.loads((fake_cluster.pytester.path / "report.json").read_text())["checks"]
    assert (check["outcome"], check["message"]) == ("skipped", "expected to fail: known since May")


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_two_checks_of_one_name_are_refused(fake_cluster: FakeCluster, workers: tuple[str, ...]) -> None:
    check = """
        import pytest

        @pytest.mark.istio("PRE-001")
        def test_it(istio_cluster): pass
        """
    fake_cluster.pytester.makepyfile(test_one=check, test_two=check)
    result = fake_cluster.run_apart(*workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    wanted = "two tests are the check PRE-001: test_one.py::test_it and test_two.py::test_it"
    result.stderr.fnmatch_lines(f"ERROR: *{wanted}*")


def test_blocked_is_shown_as_such(files: FakeCluster) -> None:
    files.run("-v", "-k", "blocked").stdout.fnmatch_lines(["*::test_blocked BLOCKED *"])


def test_skipped_alone_does_not_fail_the_run(files: FakeCluster) -> None:
    assert files.run("-k", "incapable").ret == 0


def test_what_the_prerequisite_cannot_tell_blocks_too(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import pytest
        from pytest_istio.errors import ClusterError

        @pytest.fixture(scope="session")
        def mesh(istio_cluster):
            class Mesh:
                def problems(self, check_id, *, bookinfo=None, gateway=None):
                    raise ClusterError("the API server does not answer")
            return Mesh()

        @pytest.mark.istio("CP-004", requires=["CP-001"])
        def test_it(mesh): pass
        """
    )
    result = fake_cluster.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["blocked: CP-004: by CP-001: the API server does not answer"])


def test_a_prerequisite_that_does_not_exist_is_told_as_a_fault_of_the_marker(
    fake_cluster: FakeCluster,
) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import pytest
        from pytest_istio.istio.observations import Subject, observe

        @pytest.fixture(scope="session")
        def mesh(istio_cluster):
            class Mesh:
                def problems(self, check_id, **others): return observe(check_id, Subject(self))
            return Mesh()

        @pytest.mark.istio("CP-004", requires=["CP-404"])
        def test_it(mesh): pass
        """
    )
    result = fake_cluster.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["istio marker, requires: no observation belongs to CP-404; *INV-001*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("how", ["interrupted", "never called"])
def test_a_check_that_was_broken_off_has_not_passed(fake_cluster: FakeCluster, how: str) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import os, signal
        import pytest

        @pytest.mark.istio("PRE-001")
        def test_it(istio_cluster): os.kill(os.getpid(), signal.SIGINT)
        """
    )
    only = ["--setup-only"] if how == "never called" else []
    result = fake_cluster.run_apart("--istio-gate", "--istio-report=report.json", *only)
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if only else pytest.ExitCode.INTERRUPTED)
    report = json.loads((fake_cluster.pytester.path / "report.json").read_text())
    assert report["checks"] == []


def test_the_worst_of_several_processes_counts(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import os
        import pytest
        from pytest_istio.conformance.outcomes import block

        @pytest.mark.istio("PRE-001")
        def test_it(istio_cluster, request):
            if os.environ["PYTEST_XDIST_WORKER"] == "gw0":
                block(request.node, "ING-001: no way")
        """
    )
    result = fake_cluster.run_apart("-n2", "--dist=each", "--istio-gate", "--istio-report=report.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = json.loads((fake_cluster.pytester.path / "report.json").read_text())
    assert [check["outcome"] for check in report["checks"]] == ["blocked"]


def test_asking_for_the_mesh_alone_too_late_is_explained(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makeconftest(BROKEN_MESH)
    fake_cluster.pytester.makepyfile(
        "def test_it(mesh, request): request.getfixturevalue('istio_exclusive')",
        test_next="def test_it(mesh, istio_exclusive): pass",
    )
    result = fake_cluster.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["The mesh is shared with other tests already: name istio_exclusive, *"])


def test_failure_in_teardown_is_a_failed_check(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def leaves_something(): yield; assert not "left behind"

        @pytest.mark.istio("PRE-001")
        def test_it(istio_cluster, leaves_something): pass
        """
    )
    fake_cluster.run("--istio-report=report.json")
    report = json.loads((fake_cluster.pytester.path / "report.json").read_text())
    assert report["checks"][0]["outcome"] == "failed"


def test_crashed_worker_fails_its_check(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.istio("PRE-001")
        def test_it(istio_cluster): os._exit(1)
        """
    )
    fake_cluster.run_apart("-n1", "--max-worker-restart=0", "--istio-report=report.json")
    report = json.loads((fake_cluster.pytester.path / "report.json").read_text())
    assert [(check["id"], check["outcome"]) for check in report["checks"]] == [("PRE-001", "failed")]
    assert fake_cluster.notes[-1] == "stopped"
