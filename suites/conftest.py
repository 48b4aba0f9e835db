"""What the checks share beside the plugin's fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_istio.istio.catalog import release
from pytest_istio.stash import SETTINGS

if TYPE_CHECKING:
    import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that names ``component`` once for each deployment of the release's control plane."""
    version = metafunc.config.stash[SETTINGS].istio_version
    # Without a version the test is skipped as it stands.
    if "component" in metafunc.fixturenames and version is not None:
        names = [each.name for each in release(version).components if not each.optional]
        metafunc.parametrize("component", names)
