"""Options of kind's: pytest-kind's own count where ours are not given, and `auto` chooses once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_istio import clusters
from pytest_istio.errors import BadSettingError
from pytest_istio.settings import Settings
from pytest_istio.stash import SETTINGS

THEIRS = [
    "--kind-image=their/node:v1",
    "--cluster-name=theirs",
    "--keep-cluster",
    f"--kind-bin={__file__}",
]


def settings(pytester: pytest.Pytester, *arguments: str) -> Settings:
    return pytester.parseconfigure("--istio-version=1.0.5", *arguments).stash[SETTINGS]


@pytest.fixture
def _pytest_kind() -> None:
    pytest.importorskip("pytest_kind")


@pytest.mark.usefixtures("_pytest_kind")
def test_options_of_pytest_kind_are_honoured(pytester: pytest.Pytester) -> None:
    found = settings(pytester, *THEIRS)
    assert (found.kind_image, found.kind_name, found.keep) == ("their/node:v1", "theirs", "always")
    assert found.kind_program == Path(__file__)
    assert found.sources["kind_image"] == "pytest-kind"


@pytest.mark.usefixtures("_pytest_kind")
def test_ours_win_when_both_are_given(pytester: pytest.Pytester) -> None:
    found = settings(pytester, *THEIRS, "--istio-kind-image=our/node:v1", "--istio-keep=never")
    assert (found.kind_image, found.keep) == ("our/node:v1", "never")
    assert found.kind_name == "theirs"


@pytest.mark.usefixtures("_pytest_kind")
@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_two_clusters_of_one_name_are_refused(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    pytester.makepyfile("def test_it(kind_cluster, istio_cluster): pass")
    given = ("--istio-version=1.0.5", "--istio-cluster=kind", *THEIRS)
    result = pytester.runpytest_subprocess(*given, *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("ERROR: *its fixture kind_cluster makes a cluster theirs*--istio-kind-name*")
    result = pytester.runpytest_subprocess(*given, *workers, "--istio-kind-name=ours", "--collect-only")
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.usefixtures("_pytest_kind")
def test_what_pytest_kind_does_untold_says_nothing(pytester: pytest.Pytester) -> None:
    found = settings(pytester)
    assert (found.kind_image, found.kind_name, found.keep, found.kind_program) == (None, None, "never", None)


@pytest.mark.usefixtures("_pytest_kind")
def test_auto_is_kind_where_an_engine_answers_and_local_where_none_does(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = programs / "docker"
    stopped.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    stopped.chmod(0o755)
    asked = Settings(istio_version="1.0.5")
    assert clusters.resolve(asked) == "local"
    monkeypatch.setattr("pytest_istio.clusters.engine.find_engine", object)
    assert clusters.resolve(asked) == "kind"
    assert clusters.resolve(Settings(context="mine")) == "existing"


def test_a_stage_that_was_asked_for_is_not_exchanged(programs: Path) -> None:
    assert clusters.resolve(Settings(cluster="kind")) == "kind"
    assert clusters.resolve(Settings(cluster="existing")) == "existing"


def test_the_embedded_cluster_is_refused_where_it_has_no_stand_ins() -> None:
    assert clusters.resolve(Settings(cluster="local", istio_version="1.4.10")) == "local"
    with pytest.raises(BadSettingError, match=r"only, not for 1\.31\.0; take kind"):
        clusters.resolve(Settings(cluster="local", istio_version="1.31.0"))
