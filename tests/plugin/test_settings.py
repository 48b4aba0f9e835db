from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters import existing
from pytest_istio.conformance.profiles import PROFILES
from pytest_istio.options import OPTIONS, Option
from pytest_istio.stash import SETTINGS
from pytest_istio.timeouts import Timeouts

if TYPE_CHECKING:
    from pytest_istio.settings import Settings

GOOD = {
    "version": ("1.0.5", "1.0.6", "1.0.7"),
    "cluster": ("existing", "auto", "existing"),
    "context": ("one", "two", "three"),
    "kubeconfig": ("one.yaml", "two.yaml", "three.yaml"),
    "namespace": ("one", "two", "three"),
    "keep": ("never", "failed", "always"),
    "manifests": ("one.yaml", "two.yaml", "three.yaml"),
    "addon": ("one", "two", "three"),
    "injection": ("manual", "automatic", "manual"),
    "profile": ("smoke", "core", "extended"),
    "report": ("one.json", "two.yaml", "three.yml"),
    "timeout-factor": ("1", "2", "0.5"),
    "kube-binaries": ("one", "two", "three"),
    "allow-context": ("one", "two", "three"),
    "kind-image": ("one", "two", "three"),
    "kind-name": ("one", "two", "three"),
    "kind-nodes": ("1", "2", "3"),
    "kind-config": ("one.yaml", "two.yaml", "three.yaml"),
    "kind-program": ("one.yaml", "two.yaml", "three.yaml"),
    "skip": ("PRE-001=ini", "PRE-001=environment", "PRE-001=option"),
    "unsupported": ("one", "two", "three"),
    "use-installed": ("yes", "no", "yes"),
    "gateway": ("a/one", "a/two", "a/three"),
    "client-image": ("one", "two", "three"),
    "image-pull-secret": ("one.json", "two.json", "three.json"),
    "reuse": ("yes", "no", "yes"),
    "image-registry": ("docker.io/istio=a.example", "docker.io=b.example:5000", "c=d/e"),
    "disruptive": ("never", "always", "auto"),
    "gate": ("yes", "no", "yes"),
}
# A gate is refused in a run without checks, an installed Istio without a cluster that it is on.
NEEDED = {
    "gate": "istio_version = 1.0.5\n",
    "use-installed": "istio_version = 1.0.5\nistio_context = mine\n",
    "gateway": "istio_version = 1.0.5\nistio_context = mine\nistio_use_installed = yes\n",
}
BY_NAME = {option.name: option for option in OPTIONS}


@pytest.fixture(autouse=True)
def _files(pytester: pytest.Pytester) -> None:
    for name in ("one", "two", "three"):
        (pytester.path / f"{name}.yaml").touch()
        (pytester.path / f"{name}.json").write_text('{"auths": {"a.example": {"auth": "eDp5"}}}')
        (pytester.path / name).mkdir()


def settings_of(pytester: pytest.Pytester, *arguments: str) -> Settings:
    return pytester.parseconfigure(*arguments).stash[SETTINGS]


def converted(option: Option, text: str, folder: Path) -> object:
    value = option.convert(text, folder)
    return (value,) if option.many else value


def test_every_option_is_tried_here() -> None:
    assert set(GOOD) == set(BY_NAME)


@pytest.mark.parametrize("name", GOOD)
def test_command_line_wins_over_environment_over_ini(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    option = BY_NAME[name]
    in_ini, in_environment, on_command_line = GOOD[name]
    needed = NEEDED.get(name, "")
    pytester.makeini(f"[pytest]\n{needed}{option.ini} = {in_ini}\n")

    settings = settings_of(pytester)
    assert getattr(settings, option.field) == converted(option, in_ini, pytester.path)
    assert settings.sources[option.field] == "ini"

    monkeypatch.setenv(option.variable, in_environment)
    settings = settings_of(pytester)
    assert getattr(settings, option.field) == converted(option, in_environment, pytester.path)
    assert settings.sources[option.field] == "environment"

    given = option.flag if option.switch else f"{option.flag}={on_command_line}"
    settings = settings_of(pytester, given)
    assert getattr(settings, option.field) == converted(option, on_command_line, pytester.path)
    assert settings.sources[option.field] == "option"


def test_help_and_version_work_whatever_the_settings(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nistio_profile = all\n")
    result = pytester.runpytest_inprocess("--help")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"*{option.flag}{'' if option.switch else '='}*" for option in OPTIONS])
    assert pytester.runpytest_inprocess("--version").ret == 0


def test_value_may_follow_after_a_space(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(istio_settings): assert istio_settings.istio_version == '1.0.5'")
    result = pytester.runpytest_inprocess("--istio-version", "1.0.5", str(pytester.path), "--setup-plan")
    assert result.ret == 0


def test_reports_may_be_several(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    here = pytester.path
    given = settings_of(pytester, "--istio-report=a.yaml", "--istio-report=b.json")
    assert given.reports == (here / "a.yaml", here / "b.json")
    pytester.makeini("[pytest]\nistio_report =\n    a.yaml\n    b.json\n")
    assert settings_of(pytester).reports == (here / "a.yaml", here / "b.json")
    monkeypatch.setenv("PYTEST_ISTIO_REPORT", os.pathsep.join(["c.yaml", "d.json"]))
    assert settings_of(pytester).reports == (here / "c.yaml", here / "d.json")


def test_paths_of_the_ini_file_start_where_it_lies(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nistio_report = a.yaml\n")
    inner = pytester.mkdir("inner")
    monkeypatch.chdir(inner)
    assert settings_of(pytester).reports == (pytester.path / "a.yaml",)
    assert settings_of(pytester, "--istio-report=a.yaml").reports == (inner / "a.yaml",)


def test_factor_scales_every_bound(pytester: pytest.Pytester) -> None:
    assert settings_of(pytester, "--istio-timeout-factor=2").timeouts == Timeouts().scaled(2)


def test_profiles_are_those_that_can_be_chosen() -> None:
    assert BY_NAME["profile"].metavar == f"{{{','.join(PROFILES)}}}"
    for name in PROFILES:
        BY_NAME["profile"].convert(name, Path())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--istio-use-installed", "--istio-context=a", "--istio-manifests=one.yaml"), "installs nothing"),
        (("--istio-use-installed", "--istio-context=a", "--istio-injection=manual"), "by the webhook"),
    ],
)
def test_what_an_installed_istio_cannot_be_told(
    pytester: pytest.Pytester, arguments: tuple[str, ...], complaint: str
) -> None:
    result = pytester.runpytest_inprocess("--istio-version=1.0.5", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = filter(None, result.errlines)
    assert complaint in line


def test_an_installed_istio_tells_its_version_where_the_user_does_not(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(existing, "installed_version", lambda settings: "1.31.0")
    given = ("--istio-use-installed", "--istio-context=mine")
    settings = settings_of(pytester, *given)
    assert (settings.istio_version, settings.sources["istio_version"]) == ("1.31.0", "cluster")
    pytester.makepyfile("def test_it(istio_settings): assert istio_settings.istio_version == '1.31.0'")
    pytester.runpytest_inprocess(*given).stdout.fnmatch_lines(
        ["istio: 1.31.0 (from cluster), *", "*1 passed*"]
    )
    # A worker is a process of its own, in which the cluster would not answer.
    pytester.runpytest_inprocess(*given, "-n1").stdout.fnmatch_lines(["*1 passed*"])


def test_an_installed_istio_that_cannot_be_asked_is_one_line(pytester: pytest.Pytester) -> None:
    config = pytester.path / "config"
    config.write_text(
        "{clusters: [{name: a, cluster: {server: 'https://127.0.0.1:9'}}], users: [{name: b, user: {}}], "
        "contexts: [{name: mine, context: {cluster: a, user: b}}], current-context: mine}"
    )
    result = pytester.runpytest_inprocess(
        "--istio-use-installed", "--istio-context=mine", f"--istio-kubeconfig={config}"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = filter(None, result.errlines)
    assert "--istio-allow-context=mine" in line


def test_an_installed_istio_injects_by_its_webhook(pytester: pytest.Pytester) -> None:
    given = ("--istio-version=1.0.5", "--istio-use-installed", "--istio-context=mine")
    assert settings_of(pytester, *given).injection == "automatic"
