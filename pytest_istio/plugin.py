"""The pytest hooks that are always there; those of an Istio run are registered when one was asked for.

Nothing heavy is imported here: an unrelated test run pays for every module.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_istio import reading
from pytest_istio.errors import PytestIstioError
from pytest_istio.fixtures import (
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
from pytest_istio.stash import RUN, SETTINGS

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

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

# Imported later on, and their asserts are to show the values that they compared.
# What somebody's own plugin has imported by then stays as it is.
for _module in {"pytest_istio.conformance", "pytest_istio.suites"}.difference(sys.modules):
    pytest.register_assert_rewrite(_module)

MARKER = (
    "istio(id, level='core', since=None, until=None, requires=(), capabilities=(), features=(), "
    "disruptive=False): "
    "a conformance check of Istio versions since..until (both included), run where the cluster has the "
    "capabilities, blocked while a required check's prerequisite is not met."
)
UNASKED = "needs --istio-version"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    reading.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, and register the hooks of a run if they ask for one."""
    config.addinivalue_line("markers", MARKER)
    if config.option.help or config.option.version:
        return
    try:
        settings = reading.read(config, os.environ)
        if settings and settings.use_installed and settings.istio_version is None:
            settings = _with_installed_version(config, settings)
        if settings:
            config.stash[SETTINGS] = settings
        if settings and settings.istio_version:
            _register_run(config, settings)
    except PytestIstioError as error:
        from pytest_istio.findings import one_line

        raise pytest.UsageError(one_line(str(error))) from error


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
    mark = metafunc.definition.get_closest_marker("istio")
    if mark is None:
        return
    from pytest_istio.conformance.check import Check

    try:
        Check.from_mark(mark)
    except ValueError as error:
        pytest.fail(f"{metafunc.definition.nodeid}: {error}", pytrace=False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs an Istio run when none was asked for."""
    if RUN in config.stash:
        return
    for item in items:
        if item.get_closest_marker("istio") or "istio_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=UNASKED))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say how to run what was skipped for want of a version."""
    skipped = sum(UNASKED in str(report.longrepr) for report in terminalreporter.getreports("skipped"))
    if skipped:
        terminalreporter.write_line(
            f"istio: {skipped} conformance tests skipped; run them with: pytest --istio-version=1.0.5"
        )


def _with_installed_version(config: pytest.Config, settings: Settings) -> Settings:
    """Return the settings with the version of the Istio on the cluster, which decides what is selected."""
    from dataclasses import replace

    from pytest_istio.clusters import existing
    from pytest_istio.run.context import VERSION_INPUT, worker_name

    # Asked once a run: a worker of pytest-xdist hears it from the controller.
    told = config.workerinput[VERSION_INPUT] if worker_name(config) else None  # type: ignore[attr-defined]
    found = told or existing.installed_version(settings)
    return replace(settings, istio_version=found, sources={**settings.sources, "istio_version": "cluster"})


def _register_run(config: pytest.Config, settings: Settings) -> None:
    from pytest_istio.conformance import outcomes
    from pytest_istio.istio.catalog import release
    from pytest_istio.run.collecting import Collecting
    from pytest_istio.run.context import Run, worker_name
    from pytest_istio.run.controller import Controller
    from pytest_istio.run.interrupts import Interrupts

    assert settings.istio_version is not None
    release(settings.istio_version)
    interrupts = None if worker_name(config) else Interrupts()
    if interrupts:
        interrupts.install()
        config.add_cleanup(interrupts.restore)
        config.pluginmanager.register(interrupts, "istio-interrupts")
    run = Run.join(config, settings)
    config.stash[RUN] = run
    config.pluginmanager.register(Collecting(run), "istio-collecting")
    config.pluginmanager.register(outcomes.Outcomes(), "istio-outcomes")
    config.pluginmanager.register(outcomes, "istio-status")
    if interrupts:
        config.pluginmanager.register(Controller(run, config, interrupts), "istio-controller")
