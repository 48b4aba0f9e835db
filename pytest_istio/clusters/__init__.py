"""Where Kubernetes comes from: one file a provider."""

from __future__ import annotations

import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pytest_istio.errors import BadSettingError

if TYPE_CHECKING:
    from pytest_istio.clusters.base import Provider
    from pytest_istio.settings import Settings

__all__ = ["PROVIDERS", "provider", "resolve"]

PROVIDERS = {"existing": "ExistingProvider", "kind": "KindProvider", "local": "LocalProvider"}
"""The class of each provider; it lies in the module of the provider's name, imported when it is used."""

# A container engine that answers does so in tenths of a second; one that hangs is none.
_ENGINE_SECONDS = 5.0


def provider(name: str) -> Provider:
    """Return the provider with a name, one of `PROVIDERS`.

    Raises:
        BadSettingError: There is no provider with this name.
    """
    if name not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise BadSettingError(f"--istio-cluster: expected auto, {known}; got {name!r}.")
    module = import_module(f"{__name__}.{name}")
    chosen: Provider = getattr(module, PROVIDERS[name])()
    return chosen


def resolve(settings: Settings) -> str:
    """Return the name of the provider that the settings lead to, working out ``auto``.

    That is ``existing`` when a context was named, ``kind`` when pytest-kind is installed and a container
    engine answers, else ``local``.
    """
    if settings.cluster != "auto":
        return settings.cluster
    if settings.context is not None:
        return "existing"
    if find_spec("pytest_kind") and any(_answers(engine) for engine in ("docker", "podman")):
        return "kind"
    return "local"


def _answers(engine: str) -> bool:
    if shutil.which(engine) is None:
        return False
    try:
        subprocess.run([engine, "info"], capture_output=True, timeout=_ENGINE_SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True
