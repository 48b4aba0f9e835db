"""Which of the collected tests run, and what is said of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.conformance.check import Check

if TYPE_CHECKING:
    from tests.plugin.conftest import FakeCluster

CHECKS = """
    import pytest

    def test_of_the_users_own(): pass

    @pytest.mark.istio("PRE-001")
    def test_smoke(istio_cluster):
        '''The first promise.

        With more about it.
        '''

    @pytest.mark.istio("ING-001")
    def test_core(istio_cluster): pass

    @pytest.mark.istio("ING-005", level="extended")
    def test_extended(istio_cluster): pass

    @pytest.mark.istio("SEC-003", since="1.5")
    @pytest.mark.parametrize("mode", ["strict"])
    def test_later(istio_cluster, mode): pass
"""


@pytest.mark.parametrize(
    ("since", "until", "version", "applies"),
    [
        (None, None, "1.0.5", True),
        ("1.0", None, "1.0.5", True),
        ("1.0.6", None, "1.0.5", False),
        ("1.5", None, "1.10.0", True),
        (None, "1.4", "1.4.9", True),
        (None, "1.4", "1.5.0", False),
        (None, "1.4.3", "1.4.4", False),
        ("1.1", "1.4", "1.0.9", False),
    ],
)
def test_versions_of_a_check(since: str | None, until: str | None, version: str, applies: bool) -> None:
    assert Check("ING-001", since=since, until=until).applies_to(version) is applies


@pytest.mark.parametrize(
    ("profile", "outcomes"),
    [
        ("smoke", {"passed": 2, "deselected": 3}),
        ("core", {"passed": 3, "deselected": 2}),
        ("extended", {"passed": 4, "deselected": 1}),
    ],
)
def test_profile_chooses_among_checks_alone(
    fake_cluster: FakeCluster, profile: str, outcomes: dict[str, int]
) -> None:
    fake_cluster.pytester.makepyfile(CHECKS)
    result = fake_cluster.run("--strict-markers", f"--istio-profile={profile}")
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines(["not applicable to 1.0.5: SEC-003?strict?"])


def test_checks_outside_the_profile_are_counted(fake_cluster: FakeCluster) -> None:
    fake_cluster.pytester.makepyfile(CHECKS)
    fake_cluster.run("--istio-profile=smoke").stdout.fnmatch_lines(["2 checks are not in profile smoke"])


def test_without_a_version_one_line_says_how_to_run_the_checks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CHECKS)
    result = pytester.runpytest_inprocess("--strict-markers")
    result.assert_outcomes(passed=1, skipped=4)
    lines = [line for line in result.outlines if line.startswith("istio:")]
    assert lines == ["istio: 4 conformance tests skipped; run them with: pytest --istio-version=1.0.5"]


def test_unrelated_run_says_nothing_of_istio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    assert not [line for line in result.outlines if "istio:" in line]


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        ("istio()", "expected one argument, an id like ING-002, got ()"),
        ("istio('ingress')", "expected one argument, an id like ING-002, got ('ingress',)"),
        ("istio('ING-001', levels='core')", "istio marker of ING-001: unknown levels"),
        ("istio('ING-001', level='basic')", "level 'basic' is none of core, extended"),
        ("istio('ING-001', since='one')", "'one' is not a version such as 1.1"),
    ],
)
def test_malformed_marker_is_an_error_of_its_file(
    pytester: pytest.Pytester, marker: str, complaint: str
) -> None:
    pytester.makepyfile(f"import pytest\n\n@pytest.mark.{marker}\ndef test_it(): pass")
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert complaint in result.stdout.str()


def test_marker_is_documented(pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.istio(id, level='core', *"])
