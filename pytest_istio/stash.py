"""Where the plugin keeps its own on pytest's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_istio.run.context import Run
    from pytest_istio.settings import Settings

__all__ = ["RUN", "SETTINGS", "settings_of"]

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""What the run was asked to do; there when anything was set."""
RUN: pytest.StashKey[Run] = pytest.StashKey()
"""This process's view of the run; there when a version of Istio was given."""


def settings_of(config: pytest.Config) -> Settings:
    """Return what the run was asked to do, for hooks; tests have the fixture ``istio_settings``."""
    from pytest_istio.settings import Settings

    return config.stash.get(SETTINGS, Settings())
