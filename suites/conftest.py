"""What the checks share beside the plugin's fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_istio.istio.installed import expected
from pytest_istio.stash import settings_of

if TYPE_CHECKING:
    from pytest_istio.istio.catalog import Component


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that names ``component`` once for each deployment of the release's control plane.

    It is blocked where another one, or a definition, is broken that the component cannot become available
    without.
    """
    settings = settings_of(metafunc.config)
    # Without a version the test is skipped as it stands.
    if "component" in metafunc.fixturenames and settings.istio_version is not None:
        components = [each for each in expected(settings).components if not each.optional]
        metafunc.parametrize("component", [_parameter(metafunc, each) for each in components])


def _parameter(metafunc: pytest.Metafunc, component: Component) -> object:
    mark = metafunc.definition.get_closest_marker("istio")
    if mark is None:
        return pytest.param(component.name)
    needs = [f"{mark.args[0]}[{name}]" for name in component.needs]
    if component.definitions:
        needs.append(f"INV-001[{component.name}]")
    requires = [*mark.kwargs.get("requires", ()), *needs]
    return pytest.param(
        component.name, marks=pytest.mark.istio(*mark.args, **{**mark.kwargs, "requires": requires})
    )
