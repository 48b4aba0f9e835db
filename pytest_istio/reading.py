"""Putting the settings together.

Each option ``--istio-x`` has a twin ``PYTEST_ISTIO_X`` in the environment and ``istio_x`` in the ini file;
the command line wins over the environment, the environment over the ini file, and all over options of
pytest-kind's that mean the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_istio.errors import BadSettingError
from pytest_istio.options import OPTIONS, Option

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from pytest_istio.settings import Settings

__all__ = ["add_options", "place", "read"]

PREFIX = "PYTEST_ISTIO_"
ALIKE = 0.85
"""How alike two names are, from 0 to 1, of which one is taken for the other misspelt."""


def add_options(parser: pytest.Parser) -> None:
    """Add every option and its ini twin to pytest's."""
    group = parser.getgroup(
        "istio", "Istio conformance (--istio-x, PYTEST_ISTIO_X or istio_x in the ini file)"
    )
    for option in OPTIONS:
        form: dict[str, str] = {"action": "append" if option.many else "store", "metavar": option.metavar}
        if option.switch:
            form = {"action": "store_const", "const": "yes"}
        group.addoption(option.flag, dest=option.ini, help=option.help, **form)
        if option.many:
            parser.addini(option.ini, option.help, type="linelist", default=[])
        else:
            parser.addini(option.ini, option.help, type="string", default="")


def read(config: pytest.Config, environment: Mapping[str, str]) -> Settings | None:
    """Put the settings together; None where nothing at all was set.

    Raises:
        BadSettingError: A value cannot be used; the message names where it was given.
    """
    _refuse_misspelt(environment)
    given = {option: found for option in OPTIONS if (found := _given(option, config, environment))}
    if not given:
        return None
    from pytest_istio.settings import Settings

    sources = {option.field: given[option].source if option in given else "default" for option in OPTIONS}
    values = {option.field: _converted(option, found, config) for option, found in given.items()}
    settings = Settings(**values, sources=sources)
    _refuse_contradictions(settings, given)
    _refuse_overwriting(settings)
    return _for_installed(settings) if settings.use_installed else settings


def _refuse_misspelt(environment: Mapping[str, str]) -> None:
    """Return if no variable is nearly an option's: what it asks for would silently not be done."""
    names = [option.variable.removeprefix(PREFIX) for option in OPTIONS]
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        if name == variable or name in names:
            continue
        from difflib import get_close_matches

        for near in get_close_matches(name, names, n=1, cutoff=ALIKE):
            raise BadSettingError(f"{variable} is no variable of pytest-istio; {PREFIX}{near} is")


def _refuse_contradictions(settings: Settings, given: Mapping[Option, _Given]) -> None:
    names_existing = bool(settings.context or settings.kubeconfig)
    if settings.cluster in {"kind", "local"} and names_existing:
        raise BadSettingError(
            "--istio-context and --istio-kubeconfig name an existing cluster, but "
            f"--istio-cluster={settings.cluster} makes one; leave one of them out"
        )
    cluster = "existing" if settings.cluster == "auto" and names_existing else settings.cluster
    for option, found in given.items():
        # What the ini file and the environment say is for all runs.
        if found.source == "option" and option.cluster and cluster not in ("auto", option.cluster):
            raise BadSettingError(
                f"{option.flag} is for --istio-cluster={option.cluster}, but this run has "
                f"--istio-cluster={cluster}; leave one of them out"
            )
    if settings.gateway and not settings.use_installed:
        raise BadSettingError("--istio-gateway is for an Istio that is installed; add --istio-use-installed")
    if settings.reuse and (settings.context or settings.cluster in {"existing", "local"}):
        raise BadSettingError(
            "--istio-reuse is for clusters of kind: local ones start in seconds, existing ones stay"
        )
    if settings.gate and settings.istio_version is None and not settings.use_installed:
        raise BadSettingError("--istio-gate needs --istio-version, without which no check runs")
    prefixes = [prefix for prefix, _ in settings.image_registries]
    if twice := next((each for each in prefixes if prefixes.count(each) > 1), None):
        raise BadSettingError(f"--istio-image-registry: {twice} is mapped twice; leave one of them out")
    if settings.kind_config and settings.kind_nodes > 1:
        raise BadSettingError(
            "--istio-kind-config says how many nodes there are; leave out --istio-kind-nodes"
        )


def _refuse_overwriting(settings: Settings) -> None:
    """Return if no report would replace what the run is given; a refused run writes its reports, too."""
    given = {
        "--istio-manifests": settings.manifests,
        "--istio-kubeconfig": settings.kubeconfig,
        "--istio-image-pull-secret": settings.image_pull_secret,
        "--istio-kind-config": settings.kind_config,
        **({} if settings.kubeconfig else {"kubectl": Path.home() / ".kube" / "config"}),
    }
    if not settings.kubeconfig:
        files = filter(None, os.environ.get("KUBECONFIG", "").split(os.pathsep))
        given |= {f"KUBECONFIG ({each})": Path(each) for each in files}
    for report in settings.reports:
        # What cannot be followed, such as a link to itself, is told of elsewhere, and stays as it is here.
        place = Path(os.path.realpath(report))
        for flag, path in given.items():
            if path and Path(os.path.realpath(path)) in (place, *place.parents):
                raise BadSettingError(
                    f"--istio-report={report} lies where {flag} looks; write it to another place"
                )


def _for_installed(settings: Settings) -> Settings:
    """Return the settings of a run that tests an installed Istio, whose webhook injects bookinfo."""
    from dataclasses import replace

    if settings.context is None:
        raise BadSettingError("--istio-use-installed wants an existing cluster: --istio-context=NAME")
    if settings.manifests or settings.addons:
        raise BadSettingError("--istio-use-installed installs nothing; leave out manifests and add-ons")
    if settings.injection == "manual" and settings.sources["injection"] != "default":
        raise BadSettingError("--istio-use-installed has bookinfo injected by the webhook, so automatically")
    return replace(settings, injection="automatic")


def place(option: Option, source: str, config: pytest.Config) -> str:
    """Return how to name, for people, the place where an option was given."""
    overridden = [each.partition("=")[0].strip() for each in config.getoption("override_ini") or []]
    return {
        "environment": option.variable,
        "ini": f"-o {option.ini}" if option.ini in overridden else f"{option.ini} in {config.inipath}",
        "pytest-kind": f"pytest-kind's --{option.pytest_kind.replace('_', '-')}",
    }.get(source, option.flag)


class _Given(NamedTuple):
    """What was given for an option: the texts, where, and where relative paths start."""

    texts: list[str]
    source: str
    folder: Path


def _given(option: Option, config: pytest.Config, environment: Mapping[str, str]) -> _Given | None:
    here = config.invocation_params.dir
    if (value := config.getoption(option.ini)) is not None:
        return _Given(value if option.many else [value], "option", here)
    if value := environment.get(option.variable):
        texts = value.split(option.separator) if option.many else [value]
        return _Given(texts, "environment", here)
    if value := config.getini(option.ini):
        folder = config.inipath.parent if config.inipath else config.rootpath
        texts = value if option.many else [value]
        return _Given(texts, "ini", folder)
    if value := _of_pytest_kind(option, config):
        return _Given([value], "pytest-kind", here)
    return None


def _of_pytest_kind(option: Option, config: pytest.Config) -> str | None:
    if not option.pytest_kind or not config.pluginmanager.has_plugin("pytest-kind"):
        return None
    value = config.getoption(option.pytest_kind)
    if value is True:
        return "always"
    # The name that pytest-kind itself takes when it is told none.
    return None if value in (False, "pytest-kind") else value


def _converted(option: Option, given: _Given, config: pytest.Config) -> Any:  # noqa: ANN401 (each option has its type)
    values = []
    for text in given.texts:
        if not isinstance(text, str):
            # TOML has other types than text, too.
            raise BadSettingError(f"{place(option, given.source, config)}: {text!r} is no text")
        try:
            values.append(option.convert(text, given.folder))
        except ValueError as error:
            raise BadSettingError(f"{place(option, given.source, config)}: {text!r} {error}") from None
    return tuple(values) if option.many else values[0]
