"""Putting the settings together.

Each option ``--istio-x`` has a twin ``PYTEST_ISTIO_X`` in the environment and ``istio_x`` in the ini file;
the command line wins over the environment, the environment over the ini file, and all over options of
pytest-kind's that mean the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import BadSettingError
from pytest_istio.options import OPTIONS
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from pytest_istio.options import Option

__all__ = ["add_options", "read"]


def add_options(parser: pytest.Parser) -> None:
    """Add every option and its ini twin to pytest's."""
    group = parser.getgroup(
        "istio", "Istio conformance (--istio-x, PYTEST_ISTIO_X or istio_x in the ini file)"
    )
    for option in OPTIONS:
        action = "append" if option.many else "store"
        group.addoption(option.flag, action=action, dest=option.ini, metavar=option.metavar, help=option.help)
        if option.many:
            parser.addini(option.ini, option.help, type="linelist", default=[])
        else:
            parser.addini(option.ini, option.help, type="string", default="")


def read(config: pytest.Config, environment: Mapping[str, str]) -> Settings:
    """Put the settings together.

    Raises:
        BadSettingError: A value cannot be used; the message names where it was given.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        texts, source, shown, folder = _given(option, config, environment)
        sources[option.field] = source
        if texts:
            converted = tuple(_converted(option, text, shown, folder) for text in texts)
            values[option.field] = converted if option.many else converted[0]
    settings = Settings(**values, sources=sources)
    if settings.cluster in {"kind", "local"} and (settings.context or settings.kubeconfig):
        raise BadSettingError(
            "--istio-context and --istio-kubeconfig name an existing cluster, but "
            f"--istio-cluster={settings.cluster} makes one; leave one of them out"
        )
    if settings.kind_config and settings.kind_nodes > 1:
        raise BadSettingError(
            "--istio-kind-config says how many nodes there are; leave out --istio-kind-nodes"
        )
    return settings


def _given(
    option: Option, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[list[str], str, str, Path]:
    """Return the texts of an option, their source, how to name that to a person, and where paths start."""
    here = config.invocation_params.dir
    value = config.getoption(option.ini)
    if value is not None:
        return (value if option.many else [value]), "option", option.flag, here
    value = environment.get(option.variable)
    if value:
        return (value.split(os.pathsep) if option.many else [value]), "environment", option.variable, here
    value = config.getini(option.ini)
    if value:
        folder = config.inipath.parent if config.inipath else config.rootpath
        return (value if option.many else [value]), "ini", f"{option.ini} in {config.inipath}", folder
    value = _of_pytest_kind(option, config)
    if value:
        return [value], "pytest-kind", f"pytest-kind's --{option.pytest_kind.replace('_', '-')}", here
    return [], "default", "", here


def _of_pytest_kind(option: Option, config: pytest.Config) -> str | None:
    if not option.pytest_kind or not config.pluginmanager.has_plugin("pytest-kind"):
        return None
    value = config.getoption(option.pytest_kind)
    if value is True:
        return "always"
    # The name that pytest-kind itself takes when it is told none.
    return None if value in (False, "pytest-kind") else value


def _converted(option: Option, text: str, shown: str, folder: Path) -> Any:  # noqa: ANN401 (each option has its type)
    try:
        return option.convert(text, folder)
    except ValueError as error:
        raise BadSettingError(f"{shown}: {text!r} {error}") from None
