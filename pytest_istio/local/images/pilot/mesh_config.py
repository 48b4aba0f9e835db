"""The mesh configuration, as Pilot reads it once at its start."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from pytest_istio.local.images.environment import inside, log

__all__ = ["mesh_config"]

_FILE = "/etc/istio/config/mesh"


@cache
def mesh_config() -> dict[str, Any]:
    """Return the mesh configuration; empty, so that all defaults count, where it cannot be read."""
    try:
        found = yaml.safe_load(inside(_FILE).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        log("mesh configuration not read, defaults are used", level="warning", error=str(error))
        return {}
    return found if isinstance(found, dict) else {}
