"""A gate passes only what proves something; what was left out on purpose is told with its reason."""

from __future__ import annotations

import json
import re

import pytest

from pytest_istio.conformance.declared import bundled
from pytest_istio.conformance.listing import listing
from tests.plugin.conftest import BROKEN_MESH, FakeCluster

CHECKS = """
    import pytest

    @pytest.mark.istio("PRE-001")
    def test_passes(istio_cluster): pass

    @pytest.mark.istio("PRE-002")
    @pytest.mark.parametrize("name", ["one", "two"])
    def test_both(istio_cluster, name): pass

    @pytest.mark.istio("BKI-005", requires=["CP-001[istio-pilot]"])
    def test_blocked(mesh): pass
"""
PASSED, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def files(fake_cluster: FakeCluster) -> FakeCluster:
    fake_cluster.pytester.makeconftest(BROKEN_MESH)
    fake_cluster.pytester.makepyfile(CHECKS)
    return fake_cluster


@pytest.mark.parametrize("workers", [(), ("-n2",)])
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("-k", "test_passes"), PASSED, "*profile core: 1 passed"),
        (("-k", "test_passes", "--istio-skip=PRE-001=no"), FAILED, "ERROR: --istio-gate: no check passed*"),
        (("-k", "nothing"), FAILED, "ERROR: --istio-gate: no check passed*"),
        ((), FAILED, "*blocked: BKI-005: by CP-001*"),
        (("-q",), FAILED, "ERROR: --istio-gate: 1 of 4 checks blocked; *"),
        (("--istio-skip=BKI-005=known",), PASSED, "skipped: BKI-005: known (--istio-skip)"),
    ],
)
def test_gate(
    files: FakeCluster,
    workers: tuple[str, ...],
    arguments: tuple[str, ...],
    code: pytest.ExitCode,
    said: str,
) -> None:
    result = files.run_apart("--istio-gate", *arguments, *workers)
    assert result.ret == code
    result.stdout.fnmatch_lines([said])


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_no_cluster_is_made_for_checks_that_are_left_out(
    files: FakeCluster, workers: tuple[str, ...]
) -> None:
    result = files.run_apart("-k", "test_passes", "--istio-skip=PRE-001=no", *workers)
    result.assert_outcomes(skipped=1)
    assert not files.notes


def test_a_rehearsal_passes_no_gate(files: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_CAPABILITIES", "")
    result = files.run_apart("--istio-gate", "-k", "test_passes")
    assert result.ret == FAILED
    result.stdout.fnmatch_lines(["ERROR: --istio-gate: a rehearsal proves nothing *"])


def test_skipped_by_id_or_by_parameter(files: FakeCluster) -> None:
    given = ("--istio-skip=PRE-001=later = never", "--istio-skip=PRE-002[two]=only one here")
    files.run("-k", "passes or both", "--istio-report=report.json", *given)
    report = json.loads((files.pytester.path / "report.json").read_text())
    assert {check["id"]: (check["outcome"], check["message"]) for check in report["checks"]} == {
        "PRE-001": ("skipped", "later = never (--istio-skip)"),
        "PRE-002[one]": ("passed", ""),
        "PRE-002[two]": ("skipped", "only one here (--istio-skip)"),
    }


@pytest.mark.parametrize("value", ["", "PRE-001", "PRE-001=", "PRE-001= ", "pre=why", "=why"])
def test_a_skip_without_check_or_reason_is_refused(files: FakeCluster, value: str) -> None:
    result = files.run(f"--istio-skip={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --istio-skip: * is not ID=REASON such as *"])
    assert files.notes == []


def test_a_gate_is_not_passed_for_want_of_a_version(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--istio-gate")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --istio-gate needs --istio-version*"])


def test_the_gate_has_twins(files: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_CAPABILITIES", "")
    monkeypatch.setenv("PYTEST_ISTIO_GATE", "yes")
    assert files.run("-k", "test_passes").ret == FAILED
    monkeypatch.setenv("PYTEST_ISTIO_GATE", "no")
    assert files.run("-k", "test_passes").ret == PASSED


FEATURES = """
    import pytest

    @pytest.mark.istio("PRE-001", features=["frobnication"])
    def test_feature(istio_cluster): pass

    @pytest.mark.istio("RES-001", disruptive=True)
    def test_disruptive(istio_cluster): pass
"""


def outcomes(files: FakeCluster, *arguments: str) -> dict[str, tuple[str, str]]:
    """Run the checks with features, and return what each came to and why."""
    files.pytester.makepyfile(FEATURES)
    files.run("--istio-report=report.json", "-k", "feature or disruptive", *arguments)
    report = json.loads((files.pytester.path / "report.json").read_text())
    return {check["id"]: (check["outcome"], check["message"]) for check in report["checks"]}


def test_unsupported_feature_is_skipped_with_its_name(files: FakeCluster) -> None:
    assert outcomes(files, "--istio-unsupported=frobnication") == {
        "PRE-001": ("skipped", "frobnication is not supported here (--istio-unsupported)"),
        "RES-001": ("passed", ""),
    }


@pytest.mark.parametrize(
    ("disruptive", "created", "runs"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("never", True, False),
        ("always", False, True),
    ],
)
def test_disruptive(
    files: FakeCluster, monkeypatch: pytest.MonkeyPatch, disruptive: str, created: bool, runs: bool
) -> None:
    monkeypatch.setenv("FAKE_CLUSTER_CREATED", "yes" if created else "")
    outcome, message = outcomes(files, f"--istio-disruptive={disruptive}")["RES-001"]
    assert outcome == ("passed" if runs else "skipped")
    assert ("disruptive" in message) is not runs


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_what_is_no_check_or_feature_is_refused_before_the_cluster(
    files: FakeCluster, workers: tuple[str, ...]
) -> None:
    # A check that -k leaves out and one that ships with the program, which is not collected here, are known.
    known = (
        "--istio-skip=BKI-005=slow",
        "--istio-skip=ING-002=none",
        "--istio-unsupported=automatic-injection",
    )
    unknown = ("--istio-skip=PRE-002[tow]=typo", "--istio-unsupported=weighted-ruoting")
    result = files.run_apart("-k", "passes", *known, *unknown, *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = filter(None, result.errlines)
    assert line == (
        "ERROR: --istio-skip: no check is called 'PRE-002[tow]', near are PRE-002[two], PRE-002[one], "
        "PRE-002; see `pytest-istio list`; "
        "--istio-unsupported: no check is about the feature 'weighted-ruoting', "
        "near are weighted-routing; see `pytest-istio list`"
    )
    assert files.notes == []


def test_what_another_profile_or_version_holds_is_known(files: FakeCluster) -> None:
    files.pytester.makepyfile(
        """
        import pytest

        @pytest.mark.istio("OWN-001", level="extended", features=["of-mine"])
        def test_extended(istio_cluster): pass

        @pytest.mark.istio("OWN-002", since="1.5")
        def test_later(istio_cluster): pass
        """
    )
    given = ("--istio-skip=OWN-001=no", "--istio-skip=OWN-002=no", "--istio-unsupported=of-mine")
    assert files.run(*given).ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("part", ["test_one.py", "test_one.py::test_one"])
def test_the_ini_file_of_all_runs_does_not_stop_that_of_a_part(files: FakeCluster, part: str) -> None:
    files.pytester.makeini("[pytest]\nistio_skip = OWN-001=slow\n")
    files.pytester.makepyfile(test_one="def test_one(istio_cluster): pass")
    assert files.run(part).ret == PASSED
    result = files.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: istio_skip in {files.pytester.path / 'tox.ini'}: no check *OWN-001*"]
    )


def test_the_bundled_checks_are_known_without_being_collected() -> None:
    declared = bundled()
    listed = [line for line in listing() if line.strip()]
    assert declared.names == {line.split()[0] for line in listed}
    features = {feature for line in listed for feature in re.findall(r"\[(.*)\]$", line)}
    assert declared.features == {each for feature in features for each in feature.split(", ")}
