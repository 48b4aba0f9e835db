"""The pytest hooks that are always there; those of an Istio run are registered when one was asked for.

Nothing heavy is imported here: an unrelated test run pays for every module.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

# Before they are imported, so that their asserts, too, show the values that they compared.
pytest.register_assert_rewrite("pytest_istio.conformance", "pytest_istio.suites")

from pytest_istio import reading  # noqa: E402  (after the line above)
from pytest_istio.conformance.check import MARKER, check_of  # noqa: E402
from pytest_istio.errors import PytestIstioError  # noqa: E402
from pytest_istio.fixtures import (  # noqa: E402  (a plugin's fixtures are those in its namespace)
    _istio_mesh_shared,
    _istio_prerequisites,
    bookinfo,
    gateway,
    istio_cluster,
    istio_exclusive,
    istio_kube,
    istio_namespace,
    istio_plain_namespace,
    istio_settings,
    mesh,
    routes,
)
from pytest_istio.stash import RUN, SETTINGS  # noqa: E402

if TYPE_CHECKING:
    from pytest_istio.settings import Settings

__all__ = [
    "_istio_mesh_shared",
    "_istio_prerequisites",
    "bookinfo",
    "gateway",
    "istio_cluster",
    "istio_exclusive",
    "istio_kube",
    "istio_namespace",
    "istio_plain_namespace",
    "istio_settings",
    "mesh",
    "routes",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    reading.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, and register the hooks that they call for."""
    config.addinivalue_line("markers", MARKER)
    if config.option.help or config.option.version:
        return
    try:
        settings = reading.read(config, os.environ)
        config.stash[SETTINGS] = settings
        if settings.istio_version is None:
            _register_unasked(config)
        else:
            _register_run(config, settings)
    except PytestIstioError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str | None:
    """Tell what was asked for and where; what needs the cluster is told when it is there."""
    settings = config.stash.get(SETTINGS, None)
    if settings is None or settings.istio_version is None or config.option.collectonly:
        return None
    shown = ("cluster", "profile", "injection")
    parts = (f", {name}: {getattr(settings, name)} (from {settings.sources[name]})" for name in shown)
    return f"istio: {settings.istio_version} (from {settings.sources['istio_version']}){''.join(parts)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse a malformed marker where pytest shows it as an error of the test's file."""
    try:
        check_of(metafunc.definition)
    except ValueError as error:
        pytest.fail(f"{metafunc.definition.nodeid}: {error}", pytrace=False)


def _register_unasked(config: pytest.Config) -> None:
    from pytest_istio.conformance.unasked import Unasked

    config.pluginmanager.register(Unasked(), "istio-unasked")


def _register_run(config: pytest.Config, settings: Settings) -> None:
    from pytest_istio.conformance import outcomes
    from pytest_istio.istio.catalog import release
    from pytest_istio.report import writers
    from pytest_istio.run.collecting import Collecting
    from pytest_istio.run.context import Run, worker_name
    from pytest_istio.run.controller import Controller

    assert settings.istio_version is not None
    release(settings.istio_version)
    for path in settings.reports:
        writers.check(path)
    run = Run.join(config, settings)
    config.stash[RUN] = run
    config.pluginmanager.register(Collecting(run), "istio-collecting")
    config.pluginmanager.register(outcomes.Outcomes(), "istio-outcomes")
    config.pluginmanager.register(outcomes, "istio-status")
    if worker_name(config) is None:
        config.pluginmanager.register(Controller(run, config), "istio-controller")
